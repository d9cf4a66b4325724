package config

import (
	"regexp"
	"strconv"
	"strings"
)

// A valueSlip is one way in which a value misses TOML. change returns the value
// without the slip, or as it is. The slips are tried in turn, each on what the ones
// before it have left, until that is sound.
type valueSlip struct {
	reason string
	change func(key, value string) string
}

const tomlValue = `("[^"]*"|'[^']*'|\[[^\]]*\]|[A-Za-z0-9_.+-]+)`

var (
	twoPairs     = regexp.MustCompile(`^` + tomlValue + `\s*[,;]?\s+[A-Za-z0-9_-]+\s*=`)
	otherComment = regexp.MustCompile(`^` + tomlValue + `\s*;?\s*(?://|;|--\s|/\*)\s*(\S.*)$`)
	thousands    = regexp.MustCompile(`^\d{1,3}([,.' ]\d{3})+$`)
	kilo         = regexp.MustCompile(`^(\d+)[kK]$`)
	parentheses  = regexp.MustCompile(`^[({]([^=:{}]*)[)}]$`)
	severalTexts = regexp.MustCompile(`^"[^"]*"(\s*[,;]\s*"[^"]*")+$`)
	twoCommas    = regexp.MustCompile(`,(\s*,)+`)
	adjacent     = regexp.MustCompile(`"(\s+)"`)
	bareElement  = regexp.MustCompile(`([\[,]\s*)([^\s"'\[\]{},][^"'\[\]{},]*?)\s*([,\]])`)
	bareKey      = regexp.MustCompile(`([{,]\s*)([^\s"'{},=:]+)(\s*=)`)
	colonPair    = regexp.MustCompile(`"\s*:\s*(["\[])`)
	mixedQuotes  = regexp.MustCompile(`^(?:'([^'"]*)"|"([^'"]*)')$`)
	openText     = regexp.MustCompile(`^"[^"']+$`)
	endText      = regexp.MustCompile(`^[^"'\[\]{}#,]+"$`)
	openList     = regexp.MustCompile(`^\[[^\[\]]*$`)
)

var valueSlips = []valueSlip{
	{"a comment begins with #", func(_, v string) string { return otherComment.ReplaceAllString(v, "$1 # $2") }},
	{"the quotes, the dash or a space are not ASCII", func(_, v string) string { return straight(v) }},
	{"the line ends with a comma", func(_, v string) string { return strings.TrimSuffix(strings.TrimRight(v, " "), ",") }},
	{"the line ends with a semicolon", func(_, v string) string { return strings.TrimSuffix(strings.TrimRight(v, " "), ";") }},
	{"there is more than one = after the key", func(_, v string) string { return strings.TrimLeft(v, "=>: ") }},
	{"the quotes at the two ends differ", func(_, v string) string { return mixedQuotes.ReplaceAllString(v, `"$1$2"`) }},
	{"a list has square brackets", bracketList},
	{"several values need square brackets", func(_, v string) string {
		if severalTexts.MatchString(v) {
			return "[" + strings.ReplaceAll(v, ";", ",") + "]"
		}
		return v
	}},
	{"two commas follow each other", func(_, v string) string { return twoCommas.ReplaceAllString(v, ",") }},
	{"a comma is missing between two values", func(_, v string) string {
		if strings.HasPrefix(v, "[") {
			return adjacent.ReplaceAllString(v, `", "`)
		}
		return v
	}},
	{"the list is not closed", func(_, v string) string {
		if openList.MatchString(v) && strings.Count(v, `"`)%2 == 0 {
			return v + "]"
		}
		return v
	}},
	{"the strings of the list have no quotes", quoteElements},
	{"an inline table has = between key and value", func(_, v string) string {
		if strings.HasPrefix(v, "{") {
			return colonPair.ReplaceAllString(v, `" = $1`)
		}
		return v
	}},
	{"a key with dots or slashes needs quotes", func(_, v string) string {
		if strings.HasPrefix(v, "{") && !strings.HasPrefix(v, "{{") {
			return bareKey.ReplaceAllString(v, `$1"$2"$3`)
		}
		return v
	}},
	{"the string is not closed", func(_, v string) string {
		switch {
		case openText.MatchString(v):
			return v + `"`
		case endText.MatchString(v):
			return `"` + v
		}
		return v
	}},
	{"the value is neither true nor false", func(key, v string) string {
		if truth, known := spoken[strings.ToLower(v)]; known && keyKind(key) == boolean.name {
			return truth
		}
		return v
	}},
	{"the number is not written in digits only", wholeNumber},
	{"the value is a string without quotes", quoteValue},
}

// spoken are the words that other programs have for true and false.
var spoken = map[string]string{
	"true": "true", "yes": "true", "on": "true", "enabled": "true", "enable": "true", "y": "true",
	"false": "false", "no": "false", "off": "false", "disabled": "false", "disable": "false", "n": "false",
}

// looksLike are characters that editors, mail programs and web pages write in place
// of those of ASCII.
var looksLike = strings.NewReplacer(
	"“", `"`, "”", `"`, "„", `"`, "‟", `"`, "«", `"`, "»", `"`, "″", `"`, "＂", `"`,
	"‘", `"`, "’", `"`, "‚", `"`, "‛", `"`, "‹", `"`, "›", `"`, "′", `"`, "`", `"`, "´", `"`,
	"–", "-", "—", "-", "−", "-", "‐", "-", "‑", "-",
	"：", ":", "，", ",", "．", ".", "＝", "=",
	"\u00a0", " ", "\u2009", " ", "\u202f", " ", "\u3000", " ",
	"\u200b", "", "\u200c", "", "\u200d", "", "\u2060", "", "\ufeff", "", "\u00ad", "", "\u200e", "", "\u200f", "",
)

// straight returns s with characters of ASCII in place of those that look like them.
func straight(s string) string { return looksLike.Replace(s) }

// bracketList gives a list the brackets of TOML.
func bracketList(_, v string) string {
	if !strings.HasPrefix(v, "{{") {
		return parentheses.ReplaceAllString(v, "[$1]")
	}
	return v
}

// quoteElements quotes what stands in a list without quotes.
func quoteElements(_, v string) string {
	if !strings.HasPrefix(v, "[") {
		return v
	}
	for range 2 { // Matches do not overlap, and elements share a comma.
		v = bareElement.ReplaceAllString(v, `$1"$2"$3`)
	}
	return v
}

// wholeNumber writes the number of a key that has one as TOML does.
func wholeNumber(key, v string) string {
	if !strings.HasPrefix(keyKind(key), "a whole number") {
		return v
	}
	if m := kilo.FindStringSubmatch(v); m != nil {
		return m[1] + "000"
	}
	if thousands.MatchString(v) {
		return strings.NewReplacer(",", "", ".", "", "'", "", " ", "").Replace(v)
	}
	return v
}

// quoteValue quotes a bare word, or each of several of a key that has a list. A
// key that has a number or a boolean has no string.
func quoteValue(key, v string) string {
	kind := keyKind(key)
	if strings.HasPrefix(kind, "a whole number") || kind == boolean.name {
		return v
	}
	if parts := splitValues(v); len(parts) > 1 && strings.Contains(kind, "list of") {
		for i, p := range parts {
			parts[i] = strconv.Quote(cutURL(strings.Trim(p, `"'`)))
		}
		return list(parts)
	}
	if unquoted.MatchString(v) {
		if strings.Contains(kind, "list of") {
			v = cutURL(v)
		}
		return strconv.Quote(v)
	}
	return v
}
