package rewrite

import "strings"

// EditFEAT edits the lines of a 211 reply to FEAT, which carry their codes and
// no line endings (RFC 2389 §3.2).
//
// It calls keep for each feature, with its name as the server wrote it and
// what follows the name and a space; keep returns the parameters to send, and
// false to leave the feature out. Then it adds the features of add that the
// list does not have yet, letter case aside. A nil keep keeps everything.
//
// Each feature leaves with exactly one space before it: clients take a line
// with more, as IIS sends, for something else. Blank lines go. The words of
// the first and the last line stay; a list that had no features gets words of
// ours, and so does one that has none left. Lines of another reply than 211
// come back as they are.
func EditFEAT(lines []string, keep func(name, params string) (string, bool), add []string) []string {
	if len(lines) > 0 && !strings.HasPrefix(lines[0], "211") {
		return lines
	}
	first, last := "211-Features:", "211 End"
	var features []string
	if len(lines) > 1 {
		first, last = lines[0], lines[len(lines)-1]
		features = editFeatures(lines[1:len(lines)-1], keep)
	}
	for _, f := range add {
		if f = " " + lineEnds.Replace(strings.TrimSpace(f)); f != " " && !containsFold(features, f) {
			features = append(features, f)
		}
	}
	if len(features) == 0 {
		if len(lines) == 1 {
			return []string{lineEnds.Replace(lines[0])}
		}
		return []string{"211 No features"}
	}
	out := make([]string, 0, len(features)+2)
	out = append(out, lineEnds.Replace(first))
	out = append(out, features...)
	return append(out, lineEnds.Replace(last))
}

// editFeatures returns the features that keep keeps, each with one space
// before it.
func editFeatures(lines []string, keep func(name, params string) (string, bool)) []string {
	var out []string
	for _, line := range lines {
		// Some servers write the code before each feature, as in other
		// replies of several lines.
		name, params, _ := strings.Cut(strings.TrimLeft(strings.TrimPrefix(line, "211-"), " \t"), " ")
		if name == "" {
			continue
		}
		if keep != nil {
			var ok bool
			if params, ok = keep(name, params); !ok {
				continue
			}
		}
		if params != "" {
			name += " " + params
		}
		out = append(out, " "+lineEnds.Replace(name))
	}
	return out
}

func containsFold(list []string, s string) bool {
	for _, have := range list {
		if strings.EqualFold(have, s) {
			return true
		}
	}
	return false
}

// lineEnds are what would end a line or a C string.
var lineEnds = strings.NewReplacer("\r", "?", "\n", "?", "\x00", "?")
