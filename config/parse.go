package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

var (
	bareNumber   = regexp.MustCompile(`^\d+$`)
	signedNumber = regexp.MustCompile(`^[+-]?\d+$`)
	clockTime    = regexp.MustCompile(`^(\d{1,2}):(\d{2}):(\d{2})$`)
	wordyTime    = regexp.MustCompile(`^(\d+) ?(s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hour|hours|d|day|days)$`)
)

// minDuration is the shortest bound that makes sense for a wait on a network;
// anything below is a mistyped unit.
const minDuration = time.Millisecond

// parseDuration reads a time like "30s", "1m30s" or "2h". Zero is refused
// unless the key allows it.
func parseDuration(s string, zero bool) (time.Duration, *wrong) {
	const example = `write a time like "500ms", "30s", "10m" or "1h30m"`
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && bareNumber.MatchString(s):
		return 0, wrongf(fmt.Sprintf("write %q for seconds, or %q for milliseconds", s+"s", s+"ms"), "%q has no unit", s)
	case err != nil && slices.Contains([]string{"never", "none", "off", "infinite", "infinity", "unlimited", "forever", ""}, strings.ToLower(s)):
		return 0, wrongf(`write "8760h", a year, where there should be no limit`, "%q is no time", s)
	case err != nil:
		if meant := plainTime(s); meant != "" {
			return 0, wrongf(fmt.Sprintf("write %q", meant), "%q is not written as a time", s)
		}
		if m := wordyTime.FindStringSubmatch(s); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil && n < 1000000 {
				unit := m[2][:1]
				if unit == "d" {
					n, unit = 24*n, "h"
				}
				return 0, wrongf(fmt.Sprintf("write %q", strconv.Itoa(n)+unit), "%q is not written as a time", s)
			}
		}
		return 0, wrongf(example, "%q is no time", s)
	case d < 0:
		return 0, wrongf(example, "%q is negative", s)
	case d == 0 && !zero:
		return 0, wrongf(`write a longer one; "8760h" is as good as none`, "%q would leave no time at all", s)
	case d > 0 && d < minDuration:
		return 0, wrongf(example, "%q is shorter than a millisecond", s)
	}
	return d, nil
}

// plainTime writes "1h 30m", "10M", "1,5h", "PT10M" and "0:10:00" as ftproxy reads
// them; "" if s is nothing of that.
func plainTime(s string) string {
	if m := clockTime.FindStringSubmatch(s); m != nil {
		d, err := time.ParseDuration(m[1] + "h" + m[2] + "m" + m[3] + "s")
		if err != nil || d == 0 {
			return ""
		}
		return shortTime(d)
	}
	meant := strings.NewReplacer(" ", "", ",", ".").Replace(strings.ToLower(s))
	if rest, iso := strings.CutPrefix(meant, "pt"); iso {
		meant = rest
	}
	if d, err := time.ParseDuration(meant); err != nil || d <= 0 {
		return ""
	}
	return meant
}

// maxBanner keeps the greeting within the line of 512 bytes that old clients
// read, with its code and line end.
const maxBanner = 500

// parseBanner checks the text of a greeting.
func parseBanner(s string) (string, *wrong) {
	for _, c := range s {
		if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' {
			return "", wrongf("write one line of plain text", "the text holds the control character %U", c)
		}
	}
	trimmed := strings.TrimSpace(s)
	switch {
	case s == "":
		return "", nil
	case len(s) > maxBanner:
		return "", wrongf(fmt.Sprintf("write at most %d bytes", maxBanner), "the text has %d bytes", len(s))
	case trimmed == "":
		return "", wrongf(`write "" for the server's own greeting`, "the text is blank")
	case trimmed != s:
		return "", wrongf(fmt.Sprintf("write %q", trimmed), "the text has spaces around it")
	case hasReplyCode(s):
		rest := strings.TrimLeft(s[3:], " -")
		if rest == "" || hasReplyCode(rest) {
			rest = "Welcome"
		}
		return "", wrongf(fmt.Sprintf("write %q", rest), "the text begins with a reply code, which ftproxy adds itself")
	}
	return s, nil
}

// hasReplyCode reports whether s begins like a reply: "220", "220 text", "220-text".
func hasReplyCode(s string) bool {
	if len(s) < 3 || strings.Trim(s[:3], "0123456789") != "" {
		return false
	}
	return len(s) == 3 || s[3] == ' ' || s[3] == '-'
}

// maxSocket is the longest path of a socket. The kernel takes 107 bytes
// (sun_path in unix(7)), and a socket is made under a longer name beside it.
const maxSocket = 100

// parseSocket reads the path of a Unix socket; "" is none.
func parseSocket(s string) (string, *wrong) {
	const example = `write the whole path, for example "/run/ftproxy/control.sock", or "" for none`
	if s == "" {
		return "", nil
	}
	bare := strings.TrimSpace(s)
	if rest, ok := strings.CutPrefix(bare, "unix:"); ok {
		bare = rest
	}
	if w := checkPath(s, bare, example); w != nil {
		return "", w
	}
	if len(s) > maxSocket {
		return "", wrongf(fmt.Sprintf("write at most %d bytes", maxSocket), "the path has %d bytes, too many for a socket", len(s))
	}
	return s, nil
}

// parsePEM reads the path of a PEM file; usual is one to propose. A file's text
// in its place is not repeated: it may be a private key.
func parsePEM(s, usual string) (string, *wrong) {
	example := fmt.Sprintf("write the whole path, for example %q", usual)
	switch {
	case s == "":
		return "", wrongf(example, "the path is empty")
	case strings.Contains(s, "-----BEGIN"):
		return "", wrongf("write it into a file and the whole path of that file here", "is the text of a PEM file, not its path")
	}
	return s, checkPath(s, strings.TrimSpace(s), example)
}

// checkPath finds what is wrong with s as the path of a file; bare is s without
// what is no part of one. A path must be absolute, because the service does not
// run in the directory of its configuration.
func checkPath(s, bare, example string) *wrong {
	for _, c := range s {
		if unicode.IsControl(c) {
			return wrongf(example, "the path holds the control character %U", c)
		}
	}
	clean := path.Clean(bare)
	switch {
	case !strings.HasPrefix(bare, "/"):
		return wrongf(example, "%q is not an absolute path", s)
	case clean == "/":
		return wrongf(example, "%q is a directory", s)
	case bare != s:
		return wrongf(fmt.Sprintf("write %q", clean), "%q is more than a path", s)
	case strings.HasSuffix(s, "/"):
		return wrongf(fmt.Sprintf("write %q", clean), "%q ends with a slash, as a directory does", s)
	case clean != s:
		return wrongf(fmt.Sprintf("write %q", clean), "%q is not the shortest form of the path", s)
	}
	return nil
}
