package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// A Problem is one fault or warning: where it is, what is wrong and what to
// write instead.
type Problem struct {
	File    string
	Line    int    // from 1; 0 if the file could not be read at all
	Key     string // dotted path like "frontend.public.listen"; may be empty
	Message string // what is wrong
	Hint    string // what to write or do
	Err     error  // what caused it, for errors.Is; usually nil
}

// Error returns the problem as one line: "config.toml:12: timeouts.idle:
// what is wrong; what to write".
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(p.Line))
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; ")
		b.WriteString(p.Hint)
	}
	return b.String()
}

// Unwrap returns Err.
func (p Problem) Unwrap() error { return p.Err }

// Errors is every fault of one file, sorted by line. It is never empty when
// returned as an error.
type Errors []Problem

// Error returns the problems, one per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems one by one.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, p := range e {
		errs[i] = p
	}
	return errs
}

// sortProblems orders by line and key. Problems of one key stay in the order
// of its values.
func sortProblems(p []Problem) {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Key, b.Key),
		)
	})
}
