package logline

import (
	"errors"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"ftproxy/internal/ftp"
)

// Secrets is what a client has said after PASS, ACCT, ADAT, AUTH and SITE PSWD,
// so that the log does not have it from somebody else: many servers quote a line
// that they do not understand. It is never written to; a session goes on with
// another one.
//
// A text that quotes a secret is withheld whole. Stars in its place would tell: of
// "530 *** incorrect" everybody knows what the password is.
type Secrets struct {
	said string // joined by NUL, which no command has
	// withheld: servers' texts are not shown any more, whatever they say. There
	// is a secret that cannot be looked for.
	withheld bool
}

const (
	// maxSecrets bounds what a session keeps, in bytes. A client that says more
	// than that is guessing.
	maxSecrets = 2 << 10
	// shortSecret is a secret too short to be looked for, in characters. It is in
	// every other text by chance; to show those in which it is not would tell
	// which it may be.
	shortSecret = 4
	// telling is how much of a secret a text may not have: half of it, but no
	// less than the least and no more than the most. Servers cut the lines that
	// they quote; but every text has some letters of an e-mail address.
	leastTelling = shortSecret
	mostTelling  = 8
	// shortName is a secret that clients' own names and paths may have, in
	// characters: they had it before it was one, as in /data with PASS data.
	shortName = 6
	// maxEscapes is how many times a text is looked for escapes: the server's,
	// and ours where an error quotes it.
	maxEscapes = 3
)

// What stands in the log instead.
const (
	Withheld     = "(withheld, it may quote a password)"
	glueWithheld = "***"
)

// Verbs tells of a verb whether it is known, and whether its argument is secret.
type Verbs func(verb string) (known, secret bool)

// secretSites are the subcommands of SITE that change a password: PSWD, and what
// other servers call it.
var secretSites = []string{"PSWD", "PASSWD", "PASSWORD", "PASS", "CPWD", "CHPASS", "CHPWD", "GPASS"}

// mechanisms of AUTH are no secret (RFC 2228, RFC 4217, and the drafts before it).
var mechanisms = []string{"TLS", "TLS-C", "TLS-P", "SSL", "GSSAPI", "KERBEROS_V4", "KERBEROS_V5", "SRP", "SPKM", "PLAIN", "LOGIN"}

// Secrets lists what is secret in a command.
func (v Verbs) Secrets(c ftp.Command) (all []string) {
	_, glued := v.Unglue(c.Verb)
	_, secret := v(c.Verb)
	switch {
	case glued != "":
		return []string{glued, argument(c)}
	case c.Verb == "AUTH":
		return secretWords(argument(c), mechanisms)
	case secret:
		return []string{argument(c)}
	case c.Verb == "SITE":
		arg := argument(c)
		for _, site := range secretSites {
			if len(arg) >= len(site) && strings.EqualFold(arg[:len(site)], site) {
				return secretWords(strings.Trim(arg[len(site):], " \t"), nil)
			}
		}
	}
	return nil
}

// argument is that of a command, without the blanks that a server may take off.
func argument(c ftp.Command) string { return strings.Trim(string(c.Arg), " \t") }

// secretWords are an argument and its words, such as an old and a new password,
// but for those that everybody knows.
func secretWords(arg string, known []string) []string {
	all := append(strings.Fields(arg), arg)
	return slices.DeleteFunc(all, func(w string) bool { return slices.Contains(known, strings.ToUpper(w)) })
}

// Unglue cuts a verb that has its secret after it without a blank: a client that
// forgets the blank of PASS has still said its password.
func (v Verbs) Unglue(verb string) (name, glued string) {
	if known, _ := v(verb); known {
		return verb, ""
	}
	for n := range verb {
		if _, secret := v(verb[:n]); secret {
			return verb[:n], verb[n:]
		}
	}
	return verb, ""
}

// With is old and one secret more. Old may be nil.
func (old *Secrets) With(secret string) *Secrets {
	var now Secrets
	if old != nil {
		now = *old
	}
	switch {
	case secret == "", now.has(secret):
		return old
	case utf8.RuneCountInString(secret) < shortSecret, len(now.said)+len(secret) >= maxSecrets:
		now.withheld = true
	case now.said == "":
		now.said = strings.Clone(secret) // It may be a part of a long command.
	default:
		now.said += "\x00" + secret
	}
	return &now
}

func (s *Secrets) list() iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest, more := s.said, s.said != ""; more; {
			var secret string
			if secret, rest, more = strings.Cut(rest, "\x00"); !yield(secret) {
				return
			}
		}
	}
}

func (s *Secrets) has(secret string) bool {
	for known := range s.list() {
		if known == secret {
			return true
		}
	}
	return false
}

// cleanText is what may stand in the log of a peer's text.
func (s *Secrets) cleanText(text string) string {
	if s.quotedBy(text) {
		return Withheld
	}
	return ftp.Quote([]byte(text))
}

// cleanError is the same for an error. Most of them are words of ours, and not
// withheld because a session has a short password.
func (s *Secrets) cleanError(err error) string {
	var quotes peerError
	text := err.Error()
	if quoting := errors.As(err, &quotes) || errors.Is(err, ftp.ErrReplySyntax); quoting && s.quotedBy(text) || s.knows(text) {
		return Withheld
	}
	return ftp.QuoteError(text)
}

// quotedBy tells whether a peer's text may have something of a secret.
func (s *Secrets) quotedBy(text string) bool { return s != nil && s.withheld || s.knows(text) }

// knows tells whether a text has something of a secret that can be looked for.
func (s *Secrets) knows(text string) bool {
	return s != nil && s.within(text, func(secret int) int {
		return min(max((secret+1)/2, leastTelling), mostTelling)
	})
}

// Show is what may stand in the log of a client's name or path: it is withheld where
// it has a whole secret, or as much of a very long one as is looked at. Parts, and short
// ones, are there by chance.
func (s *Secrets) Show(text string) Masked {
	const most = ftp.MaxQuotedError - ftp.MaxQuoted // of one that begins in what is shown
	if s != nil && s.within(text, func(secret int) int { return max(min(secret, most), shortName) }) {
		return Withheld
	}
	return Masked(ftp.Quote([]byte(text)))
}

// Show is what may stand in the log of a verb.
func (v Verbs) Show(verb string, s *Secrets) Masked {
	if name, glued := v.Unglue(verb); glued != "" {
		return Masked(name + glueWithheld)
	}
	return s.Show(verb)
}

// within tells whether text has as many characters of a secret in a row as telling
// says of its length, in any case, escaped as Go, C or a URL do it, or not.
func (s *Secrets) within(text string, telling func(secret int) int) bool {
	if len(text) < s.shortest(telling) {
		return false
	}
	text = text[:min(len(text), ftp.MaxQuotedError)] // No more than that is shown.
	var ofText, ofSecret [64]rune                    // Most are no longer, and cost no memory.
	for range maxEscapes + 1 {
		plain, url := unescape(text, '\\'), unescape(text, '%')
		for _, form := range []string{text, url} {
			folded := fold(ofText[:0], form)
			for secret := range s.list() {
				if secret := fold(ofSecret[:0], secret); inCommon(folded, secret, telling(len(secret))) {
					return true
				}
			}
			if url == text {
				break
			}
		}
		if plain == text {
			return false
		}
		text = plain
	}
	return false
}

// shortest is the length of the shortest text, in bytes, that within has to look at. An escape is
// no shorter than what it stands for.
func (s *Secrets) shortest(telling func(secret int) int) int {
	least := math.MaxInt
	for secret := range s.list() {
		least = min(least, telling(utf8.RuneCountInString(secret)))
	}
	return least
}

// inCommon tells whether n characters in a row of one text are in the other.
func inCommon(text, secret []rune, n int) bool {
	var few [64]int
	runs := append(few[:0], make([]int, len(secret)+1)...) // that end at the last character of text, by their end in secret
	for _, c := range text {
		for i := len(secret); i > 0; i-- {
			runs[i] = 0
			if secret[i-1] == c {
				if runs[i] = runs[i-1] + 1; runs[i] >= n {
					return true
				}
			}
		}
	}
	return false
}

// fold appends each character as what it is in any case. What is no UTF-8 is U+FFFD,
// which some servers write for it.
func fold(folded []rune, text string) []rune {
	for _, c := range text {
		folded = append(folded, unicode.ToLower(unicode.ToUpper(c)))
	}
	return folded
}

// unescape undoes the escapes that begin with mark, as far as they are some.
func unescape(text string, mark byte) string {
	if strings.IndexByte(text, mark) < 0 {
		return text
	}
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		switch {
		case text[0] != mark:
		case mark == '%' && len(text) >= 3:
			if b, err := strconv.ParseUint(text[1:3], 16, 8); err == nil {
				out = append(out, byte(b))
				text = text[3:]
				continue
			}
		case mark == '\\' && len(text) >= 2 && (text[1] == '"' || text[1] == '\''):
			text = text[1:]
		case mark == '\\':
			if c, multibyte, rest, err := strconv.UnquoteChar(text, 0); err == nil {
				if text = rest; multibyte {
					out = utf8.AppendRune(out, c)
				} else {
					out = append(out, byte(c))
				}
				continue
			}
		}
		out = append(out, text[0])
		text = text[1:]
	}
	return string(out)
}
