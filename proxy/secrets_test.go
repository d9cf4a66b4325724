package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/internal/ftp"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/logline"
	"ftproxy/internal/metrics"
	"ftproxy/internal/modes"
)

// What is wrong with the address in a reply quotes the reply, so after a password that is
// too short to look for it is withheld, as all that the server says.
func TestErrorsOfSetupsAreWithheld(t *testing.T) {
	var s *logline.Secrets
	s = s.With("xyz")
	for code, text := range map[int]string{227: "227 Entering (xyz)", 229: "229 Entering (xyz)"} {
		ex := &exchange{verb: "EPSV"}
		ex.reply.Add(ftp.ReplyLine{Code: code, Text: []byte(text)})
		_, err := modes.ServerAddr(&ex.reply)
		var log logBuffer
		logline.Log{Logger: zerolog.New(&log)}.Info().Withholding(s).Err(err).Msg("")
		if got := log.String(); !strings.Contains(got, `"error":"`+logline.Withheld+`"`) {
			t.Errorf("%q gives %s", text, got)
		}
	}
}

// echoes are the ways in which the hostile server says a secret again.
var echoes = []func(string) string{
	func(s string) string { return s },
	strings.ToUpper, strings.ToLower, strconv.Quote, strconv.QuoteToASCII, url.QueryEscape,
	func(s string) string { return ftp.Quote([]byte(s)) },
	func(s string) string { return ftp.Quote([]byte(strconv.Quote(s))) },
	func(s string) string { return "x" + s + s },
	func(s string) string { return strings.Repeat("long ", 45) + s },
	func(s string) string { return s[:len(s)-len(s)/4] },
	func(s string) string { return s[len(s)/4:] },
}

// FuzzSecrets: whatever the client's password, and however a hostile server says it
// again, the log has neither it nor a good part of it, at level debug.
func FuzzSecrets(f *testing.F) {
	f.Add(uint64(1), "hunter2")
	f.Add(uint64(2), "a\\x41%41\"'\\")
	f.Add(uint64(3), "PASS")
	f.Add(uint64(6), "")
	f.Add(uint64(7), ".|\xc8\xfcM\xd47H46\xb7\x06") // said again with U+FFFD
	f.Add(uint64(4), "\xe4\xf6\xfc\xdf Passwörter")
	f.Add(uint64(5), strings.Repeat("sesame", 100))
	f.Fuzz(func(t *testing.T, seed uint64, secret string) {
		secret = strings.Trim(strings.NewReplacer("\r", "", "\n", "", "\x00", "").Replace(secret), " \t")
		// So it is in no word of ours.
		checkSecret(t, rand.New(rand.NewPCG(seed, 0)), "q7"+secret[:min(len(secret), 1900)]+"z9")
	})
}

// TestSecretsNeverLogged does the same with passwords by chance.
func TestSecretsNeverLogged(t *testing.T) {
	runs := fuzzSetting(t, "FTPROXY_FUZZ_RUNS", 300)
	for seed := range runs {
		r := rand.New(rand.NewPCG(seed, 1))
		const letters = `abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !"#$%&'()\\\%%%äöß€` + "\x80\xe4\xff"
		secret := "q"
		for range 6 + r.IntN(30) {
			secret += string(letters[r.IntN(len(letters))])
		}
		checkSecret(t, r, secret+"z")
	}
}

// shortName is that of internal/logline: names and paths may have such a secret.
const shortName = 6

// checkSecret plays a session at random and looks at its log.
func checkSecret(t *testing.T, r *rand.Rand, secret string) {
	t.Helper()
	var log logBuffer
	var story []string
	synctest.Test(t, func(t *testing.T) { story = hostileSession(t, r, secret, &log) })
	var forms []string
	for _, echo := range echoes[:8] {
		forms = append(forms, strings.ToLower(echo(secret)))
	}
	for line := range strings.Lines(log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if len(line) > 4096 {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
		for key, value := range fields {
			text := strings.ToLower(fmt.Sprint(value))
			if slices.Contains([]string{"time", "level", "message", "session", "client", "server", "backend", "frontend", "local", "line"}, key) {
				continue // No peer has a part in them.
			}
			for _, form := range forms {
				if own := key == "path" || key == "name" || key == "user"; own && len([]rune(secret)) < shortName {
					continue
				}
				if quotes(text, form) {
					t.Fatalf("the secret is %q, and %q has it: %.300s\n%s", secret, key, text, strings.Join(story, "\n"))
				}
			}
		}
	}
}

// quotes tells whether text has all of a secret, or of a long one 16 bytes from its
// beginning or its end.
func quotes(text, secret string) bool {
	n := min(len(secret), 16)
	return strings.Contains(text, secret[:n]) || strings.Contains(text, secret[len(secret)-n:])
}

// A logBuffer collects a log that several goroutines write.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// hostileSession is one in which the server, and at times the client, says the
// secret wherever something may be said. It returns what they said.
func hostileSession(t *testing.T, r *rand.Rand, secret string, log io.Writer) (story []string) {
	network := ftptest.NewNetwork()
	host := network.Host(netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::9"))
	control, err := network.Host(netip.MustParseAddr("10.0.0.5")).Listen(netip.MustParseAddrPort("10.0.0.5:21"))
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{Network: fakeNetwork{host}, Log: zerolog.New(log).Level(zerolog.DebugLevel), Metrics: metrics.New("test")})
	if err := applyText(p, dialogueConfig); err != nil {
		t.Fatal(err)
	}
	client, err := network.Host(netip.MustParseAddr("198.51.100.7")).Dial(t.Context(), netip.AddrPort{}, netip.MustParseAddrPort("203.0.113.9:21"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := control.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{client, server} {
		go func() { _, _ = io.Copy(io.Discard, conn) }()
	}
	say := func(conn net.Conn, who, line string) {
		story = append(story, fmt.Sprintf("%s> %.200q", who, line))
		_, _ = io.WriteString(conn, line+"\r\n")
		synctest.Wait()
	}
	again := func() string { return echoes[r.IntN(len(echoes))](secret) }

	say(server, "server", "220 ready")
	say(client, "client", "USER anna")
	say(server, "server", "331 go on")
	heard := false // A server that quotes it earlier has it from somebody else, and nothing can tell.
	for _, line := range saidSecretly(r, secret) {
		say(client, "client", line)
		heard = heard || strings.Contains(line, secret)
		switch quote := r.IntN(2) == 0; { // Its reply may also come when none is due.
		case quote && heard:
			say(server, "server", "500 '"+again()+"' not understood")
		case quote:
			say(server, "server", "500 '"+line+"' not understood")
		}
	}
	say(server, "server", "230 in")
	for range 2 + r.IntN(12) {
		switch r.IntN(9) {
		case 0:
			say(client, "client", "PASV")
			say(server, "server", "500-"+again()+"\r\n "+again()+"\r\n500 "+again())
		case 1:
			say(client, "client", "EPSV")
			say(server, "server", "229 ("+again())
		case 2:
			say(client, "client", "RETR "+secret)
		case 3:
			say(client, "client", "USER "+secret)
			say(server, "server", "530 "+again())
		case 4:
			say(client, "client", "PORT "+secret)
		case 5:
			say(client, "client", "PASV")
			say(server, "server", "227 Entering Passive Mode (10,0,0,5,195,80).")
			say(client, "client", "RETR "+secret)
			say(server, "server", "550 "+again())
		case 6:
			time.Sleep(time.Minute) // What was counted is told.
			say(server, "server", "230 "+again())
		default:
			say(server, "server", strconv.Itoa(200+r.IntN(400))+" "+again())
		}
	}
	switch r.IntN(4) {
	case 0:
		say(server, "server", again())
	case 1:
		say(server, "server", "421 "+again())
	case 2:
		say(server, "server", "150-"+strings.Repeat(again(), 70<<10/len(secret)))
	}
	_ = client.Close()
	_ = server.Close()
	_ = control.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	return story
}

// saidSecretly are the lines by which the client says its secret.
func saidSecretly(r *rand.Rand, secret string) []string {
	switch r.IntN(8) {
	case 0:
		return []string{"ACCT " + secret}
	case 1:
		if len(strings.Fields(secret)) == 1 { // Who knows where the old password ends otherwise.
			return []string{"SITE PSWD " + secret + " another"}
		}
	case 2:
		return []string{"AUTH " + secret}
	case 3:
		return []string{"ADAT " + secret}
	case 4:
		return []string{"pass\t" + secret}
	case 5:
		return []string{"PASS wrong one", "PASS " + secret, "PASS yet another"}
	case 6:
		if strings.Trim(secret, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == "" && len(secret) <= 8 {
			return []string{"PASS" + secret}
		}
	}
	return []string{"PASS " + secret}
}
