package config

import (
	"fmt"
	"slices"
	"strings"
)

// suggest says what may have been meant by an unknown key in a table of kind.
func suggest(kind, key string) string {
	if hint := foreign[kind][plain(key)]; hint != "" && !slices.ContainsFunc(known(kind), func(k string) bool { return plain(k) == plain(key) }) {
		return hint
	}
	if near := nearest(key, known(kind)); near != "" {
		if kind == "" && (near == "frontend" || near == "backend") {
			return fmt.Sprintf("did you mean [%s.NAME]?", near)
		}
		return fmt.Sprintf("did you mean %s?", near)
	}
	var places, near, same []string // near: the table around it, or one in it; same: those of this name
	for _, other := range sortedKeys(schema) {
		if strings.HasSuffix(other, "."+key) {
			same = append(same, "["+other+"]")
		}
		if other == "" || !slices.Contains(schema[other], key) {
			continue
		}
		places = append(places, "["+other+"]")
		if strings.HasPrefix(other, kind+".") || strings.HasPrefix(kind, other+".") {
			near = append(near, "["+other+"]")
		}
	}
	if len(same) > 0 {
		return "did you mean " + strings.Join(same, " or ") + "?"
	}
	if parent, _ := cutLast(kind, "."); parent != "" && slices.Contains(schema[parent], key) {
		return fmt.Sprintf("write it in [%s], above this table", parent)
	}
	if len(near) > 0 {
		places = near
	}
	if len(places) > 0 {
		return "write it in " + strings.Join(places, " or ")
	}
	if kind == "" {
		return "known at the top are " + strings.Join(schema[kind], ", ")
	}
	return fmt.Sprintf("known in [%s] are %s", kind, strings.Join(known(kind), ", "))
}

// nearest returns the word that differs least from s, or "" if none is near.
func nearest(s string, words []string) string {
	s = plain(s)
	best, distance := "", 1+min(2, len(s)/3)
	for _, word := range words {
		w := plain(word)
		d := edits(s, w)
		if len(s) >= 4 && strings.Contains(w, s) || len(w) >= 4 && strings.Contains(s, w) {
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

// edits counts the letters to insert, delete, replace or swap with the next
// one between a and b. Long words are never near.
func edits(a, b string) int {
	const far = 64
	if len(a) > far || len(b) > far {
		return far
	}
	var d [far + 1][far + 1]int // d[i][j]: between the first i of a and the first j of b
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			if i == 0 || j == 0 {
				d[i][j] = i + j
				continue
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1])
			if a[i-1] != b[j-1] {
				d[i][j] = min(d[i-1][j], d[i][j-1], d[i-1][j-1]) + 1
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
