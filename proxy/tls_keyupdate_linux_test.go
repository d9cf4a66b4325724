package proxy

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ftproxy/config"
)

// TestKeyUpdate: TLS answers a peer's KeyUpdate by itself, also when the session has
// written nothing for longer than client_write.
func TestKeyUpdate(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		lack(t, "openssl is not installed; go's TLS cannot ask for a KeyUpdate")
	}
	const write = time.Second
	s := enact(t, straight("passive"), func(c *config.Config) {
		c.Frontends[0].TLS.Mode = config.TLSImplicit
		c.Timeouts.ClientWrite = write
	})
	client := exec.CommandContext(t.Context(), openssl, "s_client", "-tls1_3", "-crlf", "-connect", s.at())
	in, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = client.Wait()
	})
	s.server = newActor(t, "server", acceptOne(t, s.atDoor))
	s.server.say("220 ready")
	lines := bufio.NewScanner(out)
	hear := func(code string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), code) {
				return
			}
		}
		t.Fatalf("the connection ends before %s\n%s", code, s.logs)
	}
	hear("220")
	for range 2 {
		<-time.After(write + write/5)
		_, _ = io.WriteString(in, "K\n") // asks for a KeyUpdate of both sides
		<-time.After(write / 5)          // openssl takes it for a command only by itself
		_, _ = io.WriteString(in, "CCC\n")
		hear("534")
	}
}

// at is where the process listens.
func (s *tlsStage) at() string {
	for _, at := range s.process.Addrs() {
		return at.String()
	}
	s.t.Fatal("the proxy listens nowhere")
	return ""
}
