package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	"ftproxy/internal/metrics"
)

func parsed(t *testing.T, line string) ftp.Command {
	t.Helper()
	c, err := ftp.NewCommandReader(strings.NewReader(line + "\r\n")).Read()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSecretsIn(t *testing.T) {
	for line, want := range map[string][]string{
		"PASS hunter2":            {"hunter2"},
		"pass  hunter 2 ":         {"hunter 2"},
		"PASS\thunter2":           {"hunter2"},
		"PASShunter2":             {"HUNTER2", ""},
		"passHunt er2":            {"HUNT", "er2"},
		"ACCT hunter2":            {"hunter2"},
		"ADAT aGk=":               {"aGk="},
		"AUTH TLS":                nil,
		"AUTH tls-c":              nil,
		"AUTH PLAIN aGk=":         {"aGk=", "PLAIN aGk="},
		"SITE PSWD old new":       {"old", "new", "old new"},
		"site cpwd hunter2":       {"hunter2", "hunter2"},
		"SITE CHMOD 600 hunter2":  nil,
		"PASV":                    nil,
		"USER hunter2":            nil,
		"RETR hunter2":            nil,
		"PASS hunter2\x00":        {""}, // refused: nobody has it
		"PASShunter2andmore good": nil,  // no verb is that long
	} {
		if got := secretsIn(parsed(t, line)); !slices.Equal(got, want) {
			t.Errorf("secretsIn(%q) = %q; want %q", line, got, want)
		}
	}
}

// saying is the secrets of a session that has said these.
func saying(all ...string) (s *secrets) {
	for _, secret := range all {
		s = s.with(secret)
	}
	return s
}

func TestCleanText(t *testing.T) {
	const secret = `hu%41nt\e"r2ö`
	known := saying("another", secret)
	for _, text := range []string{
		"500 'PASS " + secret + "' not understood",
		"500 " + strings.ToUpper(secret), strings.ToLower(secret),
		"500 " + strconv.Quote(secret), strconv.QuoteToASCII(secret), ftp.Quote([]byte(secret)),
		"500 " + ftp.Quote([]byte(strconv.QuoteToASCII(ftp.Quote([]byte(secret))))),
		"500 " + url.QueryEscape(secret),
		"500 PASS " + secret[:len(secret)/2+1],
		"500 ..." + secret[len(secret)/2-1:],
		"500 ANOTHER",
	} {
		if got := known.cleanText(text); got != textWithheld {
			t.Errorf("%q is shown: %s", text, got)
		}
		if got := known.cleanError(errors.New(text)); got != textWithheld {
			t.Errorf("as an error, %q is shown: %s", text, got)
		}
	}
	const letters = "äöüß€ñ" // of which nothing is left in an escaped text
	for _, text := range []string{strconv.QuoteToASCII(letters), url.QueryEscape(letters),
		ftp.Quote([]byte(ftp.Quote([]byte(strconv.QuoteToASCII(letters)))))} {
		if got := saying(letters).cleanText(text); got != textWithheld {
			t.Errorf("%q is shown: %s", text, got)
		}
	}
	for _, text := range []string{"226 Transfer complete.", "530 Login incorrect, hunt", "500 ano the r", "500 \\", "500 %", "500 %4"} {
		if got, want := known.cleanText(text), ftp.Quote([]byte(text)); got != want {
			t.Errorf("%q is shown as %s", text, got)
		}
	}
	// Without a secret everything is shown.
	if got := saying().cleanText("PASS " + secret); got != `PASS hu%41nt\\e"r2ö` {
		t.Errorf("without a secret it is %s", got)
	}
}

// What a short secret is must not be read from the texts that are shown, so none is
// but our own words and the client's.
func TestShortSecret(t *testing.T) {
	s := saying("ab")
	for _, text := range []string{"500 PASS ab", "500 what?"} {
		if got := s.cleanText(text); got != textWithheld {
			t.Errorf("%q is shown: %s", text, got)
		}
		if got := s.cleanError(fmt.Errorf("greeting: %w", peerText(text))); got != textWithheld {
			t.Errorf("as an error, %q is shown: %s", text, got)
		}
	}
	if got := s.cleanError(errServerGone); got != errServerGone.Error() {
		t.Errorf("our own error is %s", got)
	}
	if got := s.show("/ab/c"); got != "/ab/c" {
		t.Errorf("a path is %s", got)
	}
}

// A client's own names and paths are shown, unless they are a secret that was said before.
// What is wrong with the address in a reply quotes the reply, so after a password that is
// too short to look for it is withheld, as all that the server says.
func TestErrorsOfSetupsAreWithheld(t *testing.T) {
	s := saying("xyz")
	for code, text := range map[int]string{227: "227 Entering (xyz)", 229: "229 Entering (xyz)"} {
		ex := &exchange{verb: "EPSV"}
		ex.reply.Add(ftp.ReplyLine{Code: code, Text: []byte(text)})
		_, err := passiveAddr(ex)
		if got := s.cleanError(err); got != textWithheld {
			t.Errorf("%q gives %q", text, got)
		}
	}
}

func TestShow(t *testing.T) {
	s := saying("data", "hunter2")
	for text, want := range map[string]masked{
		"/data/x":                  "/data/x",
		"/home/hunter":             "/home/hunter",
		"/home/hunter2":            textWithheld,
		"HUNTER2":                  textWithheld,
		"\u202e" + "x":             `\u202ex`,
		strings.Repeat("y", 4000):  masked(strings.Repeat("y", 256) + "…(+3744 bytes)"),
		strings.Repeat("%2e", 100): masked(strings.Repeat("%2e", 85) + "%…(+44 bytes)"),
	} {
		if got := s.show(text); got != want {
			t.Errorf("show(%q) = %s; want %s", text, got, want)
		}
	}
	for verb, want := range map[string]masked{"PASSSECRET": "PASS***", "PASV": "PASV", "HUNTER2": textWithheld, "XFOO": "XFOO"} {
		if got := s.showVerb(verb); got != want {
			t.Errorf("showVerb(%q) = %s; want %s", verb, got, want)
		}
	}
}

// A client that guesses fills no memory; nothing of a server's is shown to it then.
func TestTooManySecrets(t *testing.T) {
	var s *secrets
	for n := range 1000 {
		s = s.with(fmt.Sprintf("guess number %d", n))
	}
	if len(s.said) > maxSecrets || !s.withheld {
		t.Errorf("%d bytes are kept, withheld %v", len(s.said), s.withheld)
	}
	if got := saying("same", "same", "same").said; got != "same" {
		t.Errorf("kept is %q", got)
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
	for _, line := range saidSecretly(r, secret) {
		say(client, "client", line)
		if r.IntN(2) == 0 { // It may also leave the client's next to what it says unasked.
			say(server, "server", "500 '"+again()+"' not understood")
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
