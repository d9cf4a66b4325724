package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

var (
	bareWord  = regexp.MustCompile(`[A-Za-z0-9_-]+`)
	oneTable  = regexp.MustCompile(`^(frontend|backend)\s+([A-Za-z0-9_-]+)\s*\{?$`) // HAProxy's
	braced    = regexp.MustCompile(`^([A-Za-z0-9_.-]+)\s*\{$`)
	keyWords  = regexp.MustCompile(`^([A-Za-z0-9_-]+(?:\s+[A-Za-z0-9_-]+)+)\s*=\s*(.+)$`)
	keyAlone  = regexp.MustCompile(`^([A-Za-z0-9_-]+)\s+(\S.*?);?$`)
	otherSign = regexp.MustCompile(`^([A-Za-z0-9_-]+)\s*(?:\+=|:=|\?=|=>|->)\s*(.+)$`)
)

// strangeMarks are what other formats begin a line with.
var strangeMarks = []struct{ mark, reason, hint string }{
	{"<<<<<<<", "a merge conflict is left in the file", "keep one of the two versions, and remove the lines <<<<<<<, ======= and >>>>>>>"},
	{"=======", "a merge conflict is left in the file", "keep one of the two versions, and remove the lines <<<<<<<, ======= and >>>>>>>"},
	{">>>>>>>", "a merge conflict is left in the file", "keep one of the two versions, and remove the lines <<<<<<<, ======= and >>>>>>>"},
	{"{", "the file looks like JSON", "write TOML; begin with a copy of config.toml.example"},
	{"<", "the file looks like XML", "write TOML; begin with a copy of config.toml.example"},
	{"---", "the file looks like YAML", "write TOML; begin with a copy of config.toml.example"},
	{"- ", "the line looks like YAML", `write a list as key = ["FIRST", "SECOND"]`},
	{";", "a comment begins with #, not with ;", "write # in place of it"},
	{"//", "a comment begins with #, not with //", "write # in place of it"},
	{"/*", "a comment begins with #, not with /*", "write # before each line of the comment"},
	{"}", "a table has no braces", "remove the brace; a table ends where the next header begins"},
}

// guess tells from the shape of a line what was meant. reason is empty where
// the library's own is as good.
func guess(line string) (reason, hint string) {
	line = strings.TrimSpace(line)
	for _, m := range strangeMarks {
		if strings.HasPrefix(line, m.mark) {
			return m.reason, m.hint
		}
	}
	if plain := straight(line); plain != line && !strings.HasPrefix(line, "[") {
		if key, _, found := strings.Cut(line, "="); found && straight(key) != key {
			return "the key holds a quote or a space that is not ASCII", "write " + strings.ReplaceAll(cleanKey(straight(key)), " ", "_") + " ="
		}
	}
	if m := keyValue.FindStringSubmatch(line); m != nil {
		return guessValue(m[1], m[2])
	}
	if m := keyColon.FindStringSubmatch(line); m != nil {
		return guessColon(m[1], m[2])
	}
	if strings.HasPrefix(line, "[") || oneTable.MatchString(line) || braced.MatchString(line) {
		return guessHeader(line)
	}
	if m := otherSign.FindStringSubmatch(line); m != nil {
		_, hint = guessValue(m[1], m[2])
		if !strings.HasPrefix(hint, "write "+m[1]+" =") || strings.Contains(hint, " once") {
			hint = fmt.Sprintf("write %s = %s", m[1], m[2])
		}
		return "a key has = after it, and nothing else", hint
	}
	if m := keyWords.FindStringSubmatch(line); m != nil {
		words := strings.Fields(m[1])
		if name := strings.Join(words, "_"); isKey(name) {
			return "the key has a space in it", fmt.Sprintf("write %s = %s", name, m[2])
		}
		return "the key has a space in it", fmt.Sprintf("write %s = %s", words[len(words)-1], m[2])
	}
	if m := keyAlone.FindStringSubmatch(line); m != nil && (isKey(m[1]) || m[1] == "include") {
		return guessAlone(m[1], m[2])
	}
	switch before, _, found := strings.Cut(line, "="); {
	case !found:
		reason = "there is no = in the line"
	case before == "":
		reason = "there is no key before the ="
	}
	return reason, `write key = "value", or # before a comment`
}

// guessAlone is for a key that has no = after it.
func guessAlone(key, value string) (reason, hint string) {
	if key == "include" {
		return "ftproxy reads one file, and includes no other", "write everything in this file"
	}
	if !sound(value) {
		value = strconv.Quote(value)
	}
	return "there is no = after the key", fmt.Sprintf("write %s = %s", key, value)
}

// guessColon is for a key with a colon after it, as in YAML.
func guessColon(key, value string) (reason, hint string) {
	value, _, _ = strings.Cut(value, " #")
	switch {
	case value == "" && (key == "frontend" || key == "backend"):
		return "the file looks like YAML", fmt.Sprintf("write [%s.NAME]", key)
	case value == "":
		return "the file looks like YAML", fmt.Sprintf("write [%s]", key)
	case !isNumber(value) && !strings.HasPrefix(value, "["):
		value = strconv.Quote(strings.Trim(value, `"'`))
	}
	return "there is a colon after the key", fmt.Sprintf("write %s = %s", key, value)
}

// guessHeader is for a line that begins a table.
func guessHeader(line string) (reason, hint string) {
	bare, _, _ := strings.Cut(line, "#")
	words := bareWord.FindAllString(straight(bare), -1)
	switch {
	case header.MatchString(line):
		return "", "write this header once, and all its keys below"
	case len(words) == 0 || !slices.Contains(schema[""], words[0]):
		return "the table's header is wrong", "write a header like [log] or [frontend.NAME]"
	}
	return "the table's header is wrong", fmt.Sprintf("write [%s]", strings.Join(words, "."))
}

// guessValue tells what was meant by a value that is not TOML, or by a key
// that was given twice.
func guessValue(key, value string) (reason, hint string) {
	if sound(value) {
		return "", fmt.Sprintf(`write %s once`, key)
	}
	bare, comment, _ := strings.Cut(value, "#")
	bare = strings.TrimSpace(bare)
	switch {
	case bare == "":
		return "the value is missing", fmt.Sprintf("write it after %s =, or # before the line for the default", key)
	case digits.MatchString(bare):
		n, err := strconv.ParseInt(strings.ReplaceAll(bare, "_", ""), 10, 64)
		if err != nil {
			return "the number is too large", fmt.Sprintf("write a smaller one for %s", key)
		}
		return "", fmt.Sprintf("write %s = %d", key, n)
	case placeholder.MatchString(bare) && !strings.HasPrefix(bare, `"`):
		return "the value is a placeholder", "write the value itself: ftproxy does not replace placeholders"
	case twoPairs.MatchString(bare):
		return "two keys stand in one line", "write each key on a line of its own"
	}
	meant := bare
	for _, slip := range valueSlips {
		changed := slip.change(key, meant)
		if changed == meant {
			continue
		}
		if meant = changed; reason == "" {
			reason = slip.reason
		}
		if sound(meant) {
			return reason, fmt.Sprintf("write %s = %s", key, meant)
		}
	}
	switch kind := keyKind(key); {
	case strings.HasPrefix(kind, "a whole number"):
		return "the value is not a whole number", fmt.Sprintf("write digits only, for example %s = 100", key)
	case kind == boolean.name:
		return "the value is neither true nor false", fmt.Sprintf("write %s = true or %s = false", key, key)
	case strings.HasPrefix(bare, "["):
		return "", fmt.Sprintf(`write %s = ["FIRST", "SECOND"] with each string in quotes`, key)
	case strings.Count(bare, `"`)%2 == 1 && comment == "":
		return "", `write the string on one line, with " before and after it`
	case strings.Contains(value, `\`):
		return "", `write \\ for each backslash`
	}
	return "", fmt.Sprintf("write %s = \"value\", or %s = [\"FIRST\", \"SECOND\"] for a list", key, key)
}

// sound reports whether value is one of TOML.
func sound(value string) bool {
	var v map[string]any
	return decode("k = "+value+"\n", &v) == nil && len(v) == 1
}

// isKey reports whether a key of this name may stand in some table.
func isKey(name string) bool { return keyKind(name) != "" }

// keyKind returns what may be written for a key of this name in whichever table has
// it; "" for none.
func keyKind(name string) string { return keyKinds()[name] }

var keyKinds = sync.OnceValue(func() map[string]string {
	kinds := make(map[string]string)
	for _, t := range Tables() {
		for _, k := range t.Keys {
			kinds[k.Name] = k.Kind
		}
	}
	return kinds
})

// cleanKey drops the quotes and the spaces around a key.
func cleanKey(s string) string { return strings.Trim(strings.TrimSpace(s), `"'`) }
