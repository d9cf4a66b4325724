package config

import (
	"fmt"
	"slices"
	"strconv"
)

// A cell is a key of a table, as it stands in the file.
type cell struct {
	in    table
	key   string // the name in its row, whichever it has in the file
	entry *entry
}

// A text is one string of the file with its line.
type text struct {
	value string
	line  int
}

// fault reports what is wrong with the value, or with one of a list in another line.
func (c cell) fault(line int, w *wrong) {
	c.entry.faulty = true
	c.in.faultAt(line, c.key, w)
}

// wrongType reports a value that is not of the type wanted. example is a
// value of the right type, as TOML.
func (c cell) wrongType(wanted, example string) {
	c.fault(c.entry.line, wrongf(fmt.Sprintf("write %s = %s", joinPath("", c.key), example), "must be %s, is %s", wanted, describe(c.entry.value)))
}

// text returns the string that the key has; ok is false if it has none.
func (c cell) text(example string) (s text, ok bool) {
	value, ok := c.entry.value.(string)
	if !ok {
		c.wrongType("a string", likely(c.entry.value, example))
	}
	return text{value, c.entry.line}, ok
}

// texts returns the strings of a key that has a string or a list of them, which
// is not empty.
func (c cell) texts(example string) []text {
	if list, ok := c.entry.value.([]any); ok && len(list) == 0 {
		c.fault(c.entry.line, wrongf("write "+joinPath("", c.key)+" = "+strconv.Quote(example), "the list is empty"))
	}
	return c.list(example)
}

// list returns the strings of a key that has a string or a list of them, which
// may be empty.
func (c cell) list(example string) (list []text) {
	switch v := c.entry.value.(type) {
	case string:
		return []text{{v, c.entry.line}}
	case []any:
		for i, element := range v {
			line := c.entry.line
			if i < len(c.entry.elements) {
				line = c.entry.elements[i]
			}
			if s, ok := element.(string); ok {
				list = append(list, text{s, line})
			} else {
				c.fault(line, wrongf(fmt.Sprintf("write %s in place of it", likely(element, example)),
					"must hold strings only, holds %s", describe(element)))
			}
		}
		return list
	}
	c.wrongType("a string or a list of strings", likely(c.entry.value, example))
	return nil
}

// parsed sets *v to what parse makes of the string that the key has.
func parsed[V any](c cell, v *V, example string, parse func(string) (V, *wrong)) {
	s, ok := c.text(example)
	if !ok {
		return
	}
	got, w := parse(s.value)
	if w != nil {
		c.fault(s.line, w)
		return
	}
	*v = got
}

// choice sets *s to the word that the key has, which is one of words.
func choice[S ~string](c cell, s *S, words []string) {
	example := string(*s)
	switch v := c.entry.value.(type) {
	case int64:
		if version := fmt.Sprintf("v%d", v); slices.Contains(words, version) {
			example = version
		}
	case bool:
		if v && example == "" && len(words) > 1 {
			example = words[1]
		}
	}
	parsed(c, s, example, func(got string) (S, *wrong) {
		if slices.Contains(words, got) {
			return S(got), nil
		}
		hint := "write one of " + quoteAll(words)
		if near := nearest(got, words); near != "" {
			hint = fmt.Sprintf("write %q; known are %s", near, quoteAll(words))
		}
		return "", wrongf(hint, "%q is not known", got)
	})
}
