package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// text returns the string that key has; ok is false if there is none.
func (t table) text(key, example string) (s text, ok bool) {
	e := t.entry.table[key]
	if e == nil {
		return text{}, false
	}
	value, ok := e.value.(string)
	if !ok {
		t.wrongType(e.line, key, "a string", e.value, likely(e.value, example))
	}
	return text{value, e.line}, ok
}

// texts returns the strings of a key that has a string or a list of them, which
// is not empty.
func (t table) texts(key, example string) []text {
	if e := t.entry.table[key]; e != nil {
		if list, ok := e.value.([]any); ok && len(list) == 0 {
			t.faultAt(e.line, key, wrongf("write "+joinPath("", key)+" = "+strconv.Quote(example), "the list is empty"))
		}
	}
	return t.list(key, example)
}

// list returns the strings of a key that has a string or a list of them, which
// may be empty.
func (t table) list(key, example string) []text {
	e := t.entry.table[key]
	if e == nil {
		return nil
	}
	switch v := e.value.(type) {
	case string:
		return []text{{v, e.line}}
	case []any:
		var list []text
		for i, element := range v {
			line := e.line
			if i < len(e.elements) {
				line = e.elements[i]
			}
			if s, ok := element.(string); ok {
				list = append(list, text{s, line})
			} else {
				t.faultAt(line, key, wrongf(fmt.Sprintf("write %s in place of it", likely(element, example)),
					"must hold strings only, holds %s", describe(element)))
			}
		}
		return list
	}
	t.wrongType(e.line, key, "a string or a list of strings", e.value, likely(e.value, example))
	return nil
}

// duration sets *d to the time that key has. Zero is refused unless it is allowed.
func (t table) duration(key string, d *time.Duration, zero bool) {
	e := t.entry.table[key]
	if e == nil {
		return
	}
	s, ok := e.value.(string)
	if !ok {
		example := strconv.Quote(shortTime(*d))
		if n, ok := e.value.(int64); ok && n > 0 {
			example = fmt.Sprintf(`"%ds"`, n)
		}
		t.wrongType(e.line, key, `a string like "10m"`, e.value, example)
		return
	}
	value, w := parseDuration(s, zero)
	if w != nil {
		t.faultAt(e.line, key, w)
		return
	}
	*d = value
}

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

// whole sets *n to the whole number that key has, which is least or more.
func (t table) whole(key string, n *int, least int64) {
	e := t.entry.table[key]
	if e == nil {
		return
	}
	value, ok := e.value.(int64)
	switch {
	case !ok:
		example := strconv.Itoa(*n)
		if s, ok := e.value.(string); ok && bareNumber.MatchString(s) {
			example = s
		}
		t.wrongType(e.line, key, "a whole number", e.value, example)
	case value < least || value > maxWhole:
		t.faultAt(e.line, key, wrongf(fmt.Sprintf("write %s = %d", key, *n), "must be %d to %d, is %d", least, maxWhole, value))
	default:
		*n = int(value)
	}
}

// boolean sets *b to what key has, true or false; ok is false if it has neither.
func (t table) boolean(key string, b *bool) (ok bool) {
	e := t.entry.table[key]
	if e == nil {
		return true
	}
	value, ok := e.value.(bool)
	if !ok {
		example := "true"
		if e.value == "false" || e.value == "no" || e.value == "off" || e.value == "" || e.value == int64(0) {
			example = "false"
		}
		t.wrongType(e.line, key, "true or false", e.value, example)
		return false
	}
	*b = value
	return true
}

// choice sets *s to the word that key has, which is one of words.
func (t table) choice(key string, s *string, words ...string) {
	got, ok := t.text(key, *s)
	if !ok {
		return
	}
	if !slices.Contains(words, got.value) {
		hint := "write one of " + quoteAll(words)
		if near := nearest(got.value, words); near != "" {
			hint = fmt.Sprintf("write %q; known are %s", near, quoteAll(words))
		}
		t.faultAt(got.line, key, wrongf(hint, "%q is not known", got.value))
		return
	}
	*s = got.value
}

// portRange sets *p to the range that key has.
func (t table) portRange(key string, p *PortRange) (ok bool) {
	s, given := t.text(key, p.String())
	if !given {
		return t.entry.table[key] == nil
	}
	value, w := parsePortRange(s.value)
	if w != nil {
		t.faultAt(s.line, key, w)
		return false
	}
	*p = value
	return true
}

