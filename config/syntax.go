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
	reason = oneLine(strings.ToLower(reason[:1]) + reason[1:])
	better, hint := guess(lines[line-1])
	name := fault.LastKey[strings.LastIndexByte(fault.LastKey, '.')+1:]
	if before := lineOfKey(lines[:line-1], name); before > 0 {
		better, hint = "", fmt.Sprintf("close the value that begins in line %d", before)
		if keyOf(lines[line-1]) == name {
			hint = fmt.Sprintf("write it once; line %d has it, too", before)
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

// guess tells from the shape of a line what was meant. reason is empty where
// the library's own is as good.
func guess(line string) (reason, hint string) {
	if m := keyValue.FindStringSubmatch(line); m != nil {
		return guessValue(m[1], m[2])
	}
	if m := keyColon.FindStringSubmatch(line); m != nil {
		value, _, _ := strings.Cut(m[2], " #")
		if value == "" {
			return "", fmt.Sprintf("write [%s]", m[1])
		}
		if !isNumber(value) && !strings.HasPrefix(value, "[") {
			value = strconv.Quote(strings.Trim(value, `"'`))
		}
		return "", fmt.Sprintf("write %s = %s", m[1], value)
	}
	switch {
	case header.MatchString(line):
		return "", "write this header once, and all its keys below"
	case strings.HasPrefix(strings.TrimSpace(line), "["):
		return "", "write a header like [log] or [frontend.NAME]"
	}
	return "", `write key = "value", or # before a comment`
}

// guessValue tells what was meant by a value that is not TOML, or by a key
// that was given twice.
func guessValue(key, value string) (reason, hint string) {
	bare, _, _ := strings.Cut(value, "#")
	bare = strings.TrimSpace(bare)
	switch {
	case bare == "":
		return "the value is missing", fmt.Sprintf("write it behind %s =, or # before the line for the default", key)
	case isNumber(bare):
		return "", fmt.Sprintf("write %s once", key)
	case digits.MatchString(bare):
		n, err := strconv.ParseInt(strings.ReplaceAll(bare, "_", ""), 10, 64)
		if err != nil {
			return "the number is too large", fmt.Sprintf("write a smaller one for %s", key)
		}
		return "", fmt.Sprintf("write %s = %d", key, n)
	case unquoted.MatchString(bare):
		return "the value is a string without quotes", fmt.Sprintf("write %s = %q", key, bare)
	case strings.HasPrefix(value, "["):
		return "", fmt.Sprintf(`write %s = ["FIRST", "SECOND"] with each string in quotes`, key)
	case strings.Count(bare, `"`)%2 == 1:
		return "", `write the string on one line, with " before and behind it`
	case strings.Contains(value, `\`):
		return "", `write \\ for each backslash`
	}
	return "", fmt.Sprintf("write %s once, as %s = \"value\"", key, key)
}

// isNumber reports whether s is a number or boolean of TOML, as far as our keys have them.
func isNumber(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == s || s == "true" || s == "false"
}
