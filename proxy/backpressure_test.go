package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"ftproxy/internal/ftptest"
)

// A client that pipelines without end fills its own buffers, not ours: while
// one command is under way the next is read and no more (H30).
func TestPipeliningHasBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer = 1024 // bytes per direction of a connection
		network := ftptest.NewNetwork()
		network.SetBuffer(buffer)
		running := startDialogue(dialogueConfig)(t, network.Host(
			netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::9")), "", io.Discard)
		defer running.Stop()
		server, err := network.Host(netip.MustParseAddr("10.0.0.5")).Listen(netip.MustParseAddrPort("10.0.0.5:21"))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		client, err := network.Host(netip.MustParseAddr("198.51.100.7")).
			Dial(t.Context(), netip.AddrPort{}, netip.MustParseAddrPort("203.0.113.9:21"))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		conn, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("220 ready\r\n")); err != nil {
			t.Fatal(err)
		}

		_ = client.SetWriteDeadline(time.Now().Add(30 * time.Second))
		n, err := client.Write(bytes.Repeat([]byte("NOOP\r\n"), 1<<14))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing 96 KiB of commands: %v, want %v", err, os.ErrDeadlineExceeded)
		}
		// The connection's buffer, the reader's 512 bytes, and two commands.
		if want := buffer + 512 + 2*len("NOOP\r\n"); n > want {
			t.Errorf("%d bytes of commands were taken, want no more than %d", n, want)
		}
		got := make([]byte, 100)
		if n, err := conn.Read(got); err != nil || string(got[:n]) != "NOOP\r\n" {
			t.Errorf("the server read %q, %v; want one command", got[:n], err)
		}
	})
}
