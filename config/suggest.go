package config

import (
	"fmt"
	"strings"
)

// suggest says what may have been meant by an unknown key in a table of kind.
func suggest(kind, key string) string {
	if near := nearest(key, schema[kind]); near != "" {
		if kind == "" && (near == "frontend" || near == "backend") {
			return fmt.Sprintf("did you mean [%s.NAME]?", near)
		}
		return fmt.Sprintf("did you mean %s?", near)
	}
	for _, other := range sortedKeys(schema) {
		for _, known := range schema[other] {
			if known == key && other != "" {
				return fmt.Sprintf("write it in [%s]", other)
			}
		}
	}
	if kind == "" {
		return "known at the top are " + strings.Join(schema[kind], ", ")
	}
	return fmt.Sprintf("known in [%s] are %s", kind, strings.Join(schema[kind], ", "))
}

// nearest returns the word that differs least from s, or "" if none is near.
func nearest(s string, words []string) string {
	s = plain(s)
	best, distance := "", 1+min(2, len(s)/3)
	for _, word := range words {
		w := plain(word)
		d := edits(s, w)
		if len(s) >= 4 && (strings.HasPrefix(w, s) || strings.HasPrefix(s, w)) {
			d = min(d, 1)
		}
		if d < distance {
			best, distance = word, d
		}
	}
	return best
}

// plain drops what people write in different ways.
func plain(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// edits counts the letters to insert, delete or replace between a and b
// (Levenshtein's distance). Long words are never near.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
