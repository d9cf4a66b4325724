package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The kinds of values that more than one key has, or could have.
var (
	boolean        = kind[bool]{"true or false", readBool, strconv.FormatBool}
	duration       = kind[time.Duration]{`a time like "500ms", "30s" or "1h30m", longer than zero`, readDuration(false), quoteTime}
	durationOrZero = kind[time.Duration]{`a time like "500ms", "30s" or "1h30m"`, readDuration(true), quoteTime}
	portRange      = kind[PortRange]{`ports: "FIRST-LAST", or "PORT" for one alone`, readPortRange, func(r PortRange) string { return quote(r.String()) }}
	bandwidth      = kind[Bandwidth]{`a number with a unit, like "10MB/s" or "80Mbit/s"; "" is no limit`, readBandwidth, func(b Bandwidth) string { return quote(b.String()) }}
)

// The kinds of single keys that hold text.
var (
	socketPath  = kind[string]{"an absolute path", readSocket, quote}
	bannerText  = kind[string]{"one line of text", readBanner, quote}
	backendName = kind[string]{"the name of a backend", readBackendName, quote}
)

// whole is a whole number, which is least or more.
func whole(least int) kind[int] {
	return kind[int]{fmt.Sprintf("a whole number, %d or more", least), func(c cell, n *int) { readWhole(c, n, least, maxWhole) }, strconv.Itoa}
}

// between is a whole number from least to most.
func between(least, most int) kind[int] {
	return kind[int]{fmt.Sprintf("a whole number, %d to %d", least, most), func(c cell, n *int) { readWhole(c, n, least, most) }, strconv.Itoa}
}

// durationFrom is a time, which is least or longer.
func durationFrom(least time.Duration) kind[time.Duration] {
	return kind[time.Duration]{fmt.Sprintf("a time, %q or longer", shortTime(least)), func(c cell, d *time.Duration) {
		usual := *d
		if readDuration(false)(c, d); *d < least {
			c.fault(c.entry.line, wrongf(fmt.Sprintf("write a time like %q", shortTime(usual)), "must be %q or longer, is %q", shortTime(least), shortTime(*d)))
		}
	}, quoteTime}
}

// words is one of some words.
func words[S ~string](all ...S) kind[S] {
	texts := make([]string, len(all))
	for i, word := range all {
		texts[i] = string(word)
	}
	return kind[S]{oneOf(texts), func(c cell, s *S) { choice(c, s, texts) }, func(s S) string { return quote(string(s)) }}
}

// either is a word for false or one for true.
func either(no, yes string) kind[bool] {
	word := map[bool]string{false: no, true: yes}
	return kind[bool]{oneOf([]string{no, yes}), func(c cell, b *bool) {
		s := word[*b]
		choice(c, &s, []string{no, yes})
		*b = s == yes
	}, func(b bool) string { return quote(word[b]) }}
}

// oneOf is the name of a kind of these words.
func oneOf(words []string) string {
	last := len(words) - 1
	return quoteAll(words[:last]) + " or " + strconv.Quote(words[last])
}

func readBool(c cell, b *bool) {
	value, ok := c.entry.value.(bool)
	if !ok {
		example := "true"
		if v := c.entry.value; v == "false" || v == "no" || v == "off" || v == "" || v == int64(0) {
			example = "false"
		}
		c.wrongType("true or false", example)
		return
	}
	*b = value
}

// readDuration reads a time. Zero is refused unless it is allowed.
func readDuration(zero bool) func(cell, *time.Duration) {
	return func(c cell, d *time.Duration) {
		s, ok := c.entry.value.(string)
		if !ok {
			example := strconv.Quote(shortTime(*d))
			if n, ok := c.entry.value.(int64); ok && n > 0 {
				example = fmt.Sprintf(`"%ds"`, n)
			}
			c.wrongType(`a string like "10m"`, example)
			return
		}
		value, w := parseDuration(s, zero)
		if w != nil {
			c.fault(c.entry.line, w)
			return
		}
		*d = value
	}
}

func quoteTime(d time.Duration) string { return quote(shortTime(d)) }

// shortTime is d.String() without the zeros at its end: "10m", not "10m0s".
func shortTime(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// maxWhole keeps whole numbers within an int of 32 bits.
const maxWhole = 1<<31 - 1

func readWhole(c cell, n *int, least, most int) {
	value, ok := c.entry.value.(int64)
	switch {
	case !ok:
		example := strconv.Itoa(*n)
		if s, ok := c.entry.value.(string); ok && signedNumber.MatchString(s) {
			example = strings.TrimPrefix(s, "+")
		}
		c.wrongType("a whole number", example)
	case value < int64(least) || value > int64(most):
		c.fault(c.entry.line, wrongf(fmt.Sprintf("write %s = %d", c.key, *n), "must be %d to %d, is %d", least, most, value))
	default:
		*n = int(value)
	}
}

func readPortRange(c cell, r *PortRange) {
	one := func(values []string) string { return fmt.Sprintf("one range, for example %q", values[0]) }
	parsed(c, r, r.String(), func(s string) (PortRange, *wrong) { return looked(s, one, parsePortRange) })
}

func readBandwidth(c cell, b *Bandwidth) { parsed(c, b, "10MB/s", parseBandwidth) }

func readSocket(c cell, path *string) { parsed(c, path, "/run/ftproxy/control.sock", parseSocket) }

func readBanner(c cell, banner *string) { parsed(c, banner, "Welcome", parseBanner) }

// readBackendName notes the name, because there must be such a backend.
func readBackendName(c cell, name *string) {
	if s, ok := c.text("NAME"); ok {
		*name = s.value
		c.in.checks.routes = append(c.in.checks.routes, route{name: s.value, key: c.entry.path, line: s.line})
	}
}
