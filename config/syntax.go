package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
)

// syntaxProblem says where and why decode failed.
func syntaxProblem(lines []string, err error) Problem {
	var fault toml.ParseError
	if !errors.As(err, &fault) {
		return Problem{Line: 1, Message: err.Error(), Hint: "compare with config.toml.example"}
	}
	// The library counts a fault at a line's end to the next line.
	line := lineAt(strings.Join(lines, ""), fault.Position.Start)
	if line > 1 && lines[line-1] == "" { // the end of the file
		line--
	}
	reason := strings.TrimSuffix(fault.Message, ".")
	if !strings.HasPrefix(reason, "TOML") {
		reason = strings.ToLower(reason[:1]) + reason[1:]
	}
	reason = oneLine(reason)
	better, hint := guess(lines[line-1])
	name := fault.LastKey[strings.LastIndexByte(fault.LastKey, '.')+1:]
	if before := lineOfKey(lines[:line-1], name); before > 0 {
		switch {
		case keyOf(lines[line-1]) == name:
			better, hint = "", fmt.Sprintf("write it once; line %d has it, too", before)
		case strings.HasPrefix(strings.TrimSpace(lines[line-1]), `"`) && strings.HasSuffix(strings.TrimSpace(lines[line-2]), `"`):
			better, hint = "a comma is missing before this line", fmt.Sprintf("write a comma after each value of the list that begins in line %d", before)
		default:
			better, hint = "", fmt.Sprintf("close the value that begins in line %d", before)
		}
	}
	if better != "" {
		reason = better
	}
	return Problem{Line: line, Message: "not valid TOML: " + reason, Hint: hint}
}

// oneLine writes the control characters in s as escapes: the library's reasons
// quote from the file.
func oneLine(s string) string {
	var b strings.Builder
	for _, c := range s {
		if unicode.IsControl(c) {
			fmt.Fprintf(&b, `\u%04X`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// lineOfKey returns the line of a key that stands among lines, below the last
// header; otherwise 0. There the library began the value that it still reads.
func lineOfKey(lines []string, name string) int {
	for i := len(lines) - 1; i >= 0 && name != "" && !header.MatchString(lines[i]); i-- {
		if keyOf(lines[i]) == name {
			return i + 1
		}
	}
	return 0
}

var (
	header   = regexp.MustCompile(`^\s*\[\[?[A-Za-z0-9_.-]+\]\]?\s*(#.*)?$`)
	keyValue = regexp.MustCompile(`^\s*([A-Za-z0-9_-]+)\s*=\s*(.*?)\s*$`)
	keyColon = regexp.MustCompile(`^\s*([A-Za-z0-9_-]+)\s*:\s*(.*?)\s*$`)
	unquoted = regexp.MustCompile(`^[^\s"'\[\]{}#,][^"'\[\]{}#]*$`)
	digits   = regexp.MustCompile(`^[+-]?[0-9][0-9_]*$`)
)

// keyOf returns the bare key of a line that has one with its value, or "".
func keyOf(line string) string {
	if m := keyValue.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	if m := keyColon.FindStringSubmatch(line); m != nil && m[2] != "" {
		return m[1]
	}
	return ""
}

// isNumber reports whether s is a number or boolean of TOML, as far as our keys have them.
func isNumber(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == s || s == "true" || s == "false"
}
