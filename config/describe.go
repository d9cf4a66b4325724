package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// likely is what was meant by a value of the wrong type, as TOML: a port in
// quotes, or the one string of a list; otherwise the example.
func likely(value any, example string) string {
	switch v := value.(type) {
	case int64:
		isPort := v > 0 && v <= 65535
		if _, w := parsePortRange(example); isPort && w == nil {
			return fmt.Sprintf(`"%d"`, v)
		}
		if host, _, ok := strings.Cut(example, ":"); isPort && ok && (host == "" || host == "127.0.0.1") {
			return fmt.Sprintf(`"%s:%d"`, host, v)
		}
	case []any:
		if len(v) > 0 {
			if s, ok := v[0].(string); ok {
				return strconv.Quote(s)
			}
		}
		if len(v) == 2 {
			text := fmt.Sprintf("%v-%v", v[0], v[1])
			_, usual := parsePortRange(example)
			if _, w := parsePortRange(text); w == nil && usual == nil {
				return strconv.Quote(text)
			}
		}
	case map[string]any:
		return strconv.Quote(hostOf(v, example))
	case []map[string]any:
		if len(v) > 0 {
			return strconv.Quote(hostOf(v[0], example))
		}
	}
	return strconv.Quote(example)
}

// hostOf is the "HOST:PORT" that a table has in keys of its own; without one it is
// the example.
func hostOf(table map[string]any, example string) string {
	for _, name := range []string{"host", "address", "addr", "ip"} {
		host, ok := table[name].(string)
		if !ok {
			continue
		}
		if port, ok := table["port"].(int64); ok {
			return joinPort(host, strconv.FormatInt(port, 10))
		}
		return host
	}
	return example
}

// describe names the type of a TOML value as a person would.
func describe(value any) string {
	switch v := value.(type) {
	case string:
		return "the string " + strconv.Quote(v)
	case int64:
		return "the number " + strconv.FormatInt(v, 10)
	case float64:
		return "the number " + strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	}
	return "a list"
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
