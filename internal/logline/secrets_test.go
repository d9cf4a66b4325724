package logline

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ftproxy/internal/ftp"
)

// ftpVerbs knows a few verbs.
var ftpVerbs Verbs = func(verb string) (known, secret bool) {
	secret = slices.Contains([]string{"PASS", "ACCT", "ADAT", "AUTH"}, verb)
	return secret || slices.Contains([]string{"USER", "SITE", "PASV", "RETR"}, verb), secret
}

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
		if got := ftpVerbs.Secrets(parsed(t, line)); !slices.Equal(got, want) {
			t.Errorf("Secrets(%q) = %q; want %q", line, got, want)
		}
	}
}

// saying is the secrets of a session that has said these.
func saying(all ...string) (s *Secrets) {
	for _, secret := range all {
		s = s.With(secret)
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
		if got := known.cleanText(text); got != Withheld {
			t.Errorf("%q is shown: %s", text, got)
		}
		if got := known.cleanError(errors.New(text)); got != Withheld {
			t.Errorf("as an error, %q is shown: %s", text, got)
		}
	}
	const letters = "äöüß€ñ" // of which nothing is left in an escaped text
	for _, text := range []string{strconv.QuoteToASCII(letters), url.QueryEscape(letters),
		ftp.Quote([]byte(ftp.Quote([]byte(strconv.QuoteToASCII(letters)))))} {
		if got := saying(letters).cleanText(text); got != Withheld {
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
		if got := s.cleanText(text); got != Withheld {
			t.Errorf("%q is shown: %s", text, got)
		}
		if got := s.cleanError(fmt.Errorf("greeting: %w", PeerText(text))); got != Withheld {
			t.Errorf("as an error, %q is shown: %s", text, got)
		}
	}
	if got := s.cleanError(io.EOF); got != io.EOF.Error() {
		t.Errorf("our own error is %s", got)
	}
	if got := s.Show("/ab/c"); got != "/ab/c" {
		t.Errorf("a path is %s", got)
	}
}

// A client's own names and paths are shown, unless they are a secret that was said before.
func TestShow(t *testing.T) {
	s := saying("data", "hunter2")
	for text, want := range map[string]Masked{
		"/data/x":                  "/data/x",
		"/home/hunter":             "/home/hunter",
		"/home/hunter2":            Withheld,
		"HUNTER2":                  Withheld,
		"\u202e" + "x":             `\u202ex`,
		strings.Repeat("y", 4000):  Masked(strings.Repeat("y", 256) + "…(+3744 bytes)"),
		strings.Repeat("%2e", 100): Masked(strings.Repeat("%2e", 85) + "%…(+44 bytes)"),
	} {
		if got := s.Show(text); got != want {
			t.Errorf("Show(%q) = %s; want %s", text, got, want)
		}
	}
	for verb, want := range map[string]Masked{"PASSSECRET": "PASS***", "PASV": "PASV", "HUNTER2": Withheld, "XFOO": "XFOO"} {
		if got := ftpVerbs.Show(verb, s); got != want {
			t.Errorf("Show(%q) = %s; want %s", verb, got, want)
		}
	}
}

// A client that guesses fills no memory; nothing of a server's is shown to it then.
func TestTooManySecrets(t *testing.T) {
	var s *Secrets
	for n := range 1000 {
		s = s.With(fmt.Sprintf("guess number %d", n))
	}
	if len(s.said) > maxSecrets || !s.withheld {
		t.Errorf("%d bytes are kept, withheld %v", len(s.said), s.withheld)
	}
	if got := saying("same", "same", "same").said; got != "same" {
		t.Errorf("kept is %q", got)
	}
}

// A secret that is longer than what is looked at is found by its beginning.
func TestShowLongSecret(t *testing.T) {
	secret := strings.Repeat("0123456789abcdef", 60)
	s := saying(secret)
	for _, before := range []int{0, 100, ftp.MaxQuoted - 1} {
		if got := s.Show(strings.Repeat("/", before) + secret); got != Withheld {
			t.Errorf("after %d bytes it is shown: %q", before, got)
		}
	}
	if got := s.Show(secret[:100]); got == Withheld { // A part of it may be there by chance.
		t.Error("a part of it is withheld")
	}
}
