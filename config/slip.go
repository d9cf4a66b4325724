package config

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// A slip is one way in which the text of an address, a network or a range misses
// what was meant. change returns the text without the slip, or as it is.
type slip struct {
	what   string // "is a URL", after the text
	change func(string) string
	sure   bool // it is this slip, even if what is left is at fault or what was wrong is known
}

// slips are tried in turn, each on what the sure ones before it have left.
var slips = []slip{
	{"has quotes inside the quotes", cutQuotes, true},
	{"has spaces around it", strings.TrimSpace, true},
	{"holds a character that is not ASCII", straight, true},
	{"is a URL", cutURL, true},
	{"has a space in it", func(s string) string { return loose.ReplaceAllString(s, "$1") }, false},
	{"has no colon before the port", func(s string) string { return portApart.ReplaceAllString(s, "$1:$2") }, false},
	{"has commas in place of points", func(s string) string { return strings.ReplaceAll(s, ",", ".") }, false},
	{"has a number with a leading zero", func(s string) string { return leadingZero.ReplaceAllString(s, "$1$2") }, false},
	{"has a user name in it", func(s string) string { return s[strings.LastIndexByte(s, '@')+1:] }, false},
	{"has a netmask in place of a length", maskLength, false},
	{"is not written as a network", starLength, false},
	{"is more than an address", cutLength, false},
	{"is more than an address", func(s string) string { return afterSlash.ReplaceAllString(s, "") }, false},
	{"is more than an address", func(s string) string { host, _, _ := cutPort(s, "21"); return host }, false},
}

var (
	scheme      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:/+`)
	portApart   = regexp.MustCompile(`^(\S+?)(?:[,;]\s*|\s+)(\d{1,5})$`)
	leadingZero = regexp.MustCompile(`(^|\.)0+(\d)`)
	afterSlash  = regexp.MustCompile(`/($|[^\d].*)`)
	loose       = regexp.MustCompile(`\s*([./:-])\s*`)
	star        = regexp.MustCompile(`^\d+(\.\d+)*(\.\*)+$`)
	shortened   = regexp.MustCompile(`^(\d+(?:\.\d+){0,2})\.?/(\d+)$`)
	placeholder = regexp.MustCompile(`\$\{?\w+\}?|\$\(|\{\{.*\}\}|<[^<>]+>|%\w+%|^(?i:your|my|change)[_-]`)
)

// looked parses one text of a key, and looks for a slip where that fails. asList is
// how several values are written in place of it.
func looked[V any](s string, asList func([]string) string, parse func(string) (V, *wrong)) (V, *wrong) {
	v, w := parse(s)
	if w == nil || w.final {
		return v, w
	}
	check := func(s string) *wrong { _, w := parse(s); return w }
	if placeholder.MatchString(s) {
		return v, wrongf("write the value itself: ftproxy does not replace placeholders", "%q is a placeholder", s)
	}
	if several := splitValues(s); w.vague && len(several) > 1 {
		for i := range several {
			several[i] = cutURL(strings.Trim(straight(several[i]), `"'`))
		}
		if all(several, check) {
			return v, wrongf("write "+asList(several), "%q is %d values in one string", s, len(several))
		}
	}
	return v, cmp.Or(slipped(s, w, check), w)
}

// slipped says which slip s is; nil if it is none.
func slipped(s string, w *wrong, check func(string) *wrong) *wrong {
	what, meant := "", s
	for _, slip := range slips {
		changed := slip.change(meant)
		if changed == meant || changed == "" || !slip.sure && !w.vague && what == "" {
			continue
		}
		left := check(changed)
		if left == nil {
			return wrongf(fmt.Sprintf("write %q", changed), "%q %s", s, cmp.Or(what, slip.what))
		}
		if slip.sure {
			what, meant = cmp.Or(what, slip.what), changed
		}
	}
	if what == "" {
		return nil
	}
	return wrongf(check(meant).hint, "%q %s", s, what)
}

// all tells whether each of the texts is sound, and is no plain word: "my server" is
// not two servers.
func all(texts []string, check func(string) *wrong) bool {
	for _, s := range texts {
		if check(s) != nil || strings.IndexFunc(s, func(c rune) bool { return !unicode.IsLetter(c) }) < 0 {
			return false
		}
	}
	return true
}

// splitValues splits what somebody wrote in one string.
func splitValues(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ';' || c == '|' || unicode.IsSpace(c) })
}

// quoteInList returns several values for a key that has a string now, or for one
// place in its list.
func (c cell) quoteInList(values []string) string {
	if _, inList := c.entry.value.([]any); inList {
		return quoteAll(values)
	}
	return "[" + quoteAll(values) + "]"
}

// cutQuotes drops quotes around s, straight or not.
func cutQuotes(s string) string {
	const quotes = "\"'“”„‟«»″＂‘’‚‛‹›′`´"
	if strings.ContainsAny(s, quotes) {
		return strings.Trim(s, quotes+" \t\u00a0")
	}
	return s
}

// cutURL returns the host of a URL, with its port.
func cutURL(s string) string {
	begin := scheme.FindString(s)
	if begin == "" {
		return s
	}
	host, _, _ := strings.Cut(s[len(begin):], "/")
	return host[strings.LastIndexByte(host, '@')+1:]
}

// maskLength writes the length of "10.0.0.0/255.0.0.0".
func maskLength(s string) string {
	addr, text, found := strings.Cut(s, "/")
	mask, err := netip.ParseAddr(text)
	if !found || err != nil || !mask.Is4() {
		return s
	}
	b := mask.As4()
	m := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n := bits.LeadingZeros32(^m)
	if m != ^uint32(0)<<(32-n) {
		return s
	}
	return addr + "/" + strconv.Itoa(n)
}

// starLength writes "10.0.0.*" and "10/8" as networks.
func starLength(s string) string {
	short, length := "", ""
	if star.MatchString(s) {
		short = strings.TrimRight(s, ".*")
		length = strconv.Itoa(8 * (strings.Count(short, ".") + 1))
	} else if m := shortened.FindStringSubmatch(s); m != nil {
		short, length = m[1], m[2]
	} else {
		return s
	}
	return short + strings.Repeat(".0", max(0, 3-strings.Count(short, "."))) + "/" + length
}

// cutLength returns the address of "10.0.0.5/24". That of "10.0.0.0/24" is nobody's.
func cutLength(s string) string {
	if p, err := netip.ParsePrefix(s); err == nil && p != p.Masked() {
		return p.Addr().String()
	}
	return s
}
