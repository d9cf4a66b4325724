package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// A PortRange is the ports from First to Last, both included. It is the type of
// proxy and internal/firewall, too. internal/portpool has its own Range, with the
// same fields: a leaf imports none of ours, see internal/repocheck.
type PortRange struct{ First, Last uint16 }

// String returns "30000-30099", or "30000" for a range of one port.
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return strconv.Itoa(int(r.First)) + "-" + strconv.Itoa(int(r.Last))
}

// Contains reports whether port is one of the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// Overlaps reports whether the two ranges have a port in common.
func (r PortRange) Overlaps(o PortRange) bool { return r.First <= o.Last && o.First <= r.Last }

// Len returns the number of ports in the range.
func (r PortRange) Len() int { return int(r.Last) - int(r.First) + 1 }

// Compare orders ranges by First, then by Last.
func (r PortRange) Compare(o PortRange) int {
	return cmp.Or(cmp.Compare(r.First, o.First), cmp.Compare(r.Last, o.Last))
}

// MergePorts sorts ranges and joins those that overlap or touch.
func MergePorts(all []PortRange) []PortRange {
	all = slices.Clone(all)
	slices.SortFunc(all, PortRange.Compare)
	var merged []PortRange
	for _, r := range all {
		if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// ParsePortRange reads "30000-30099" or "30000", with ports from 1 to 65535.
func ParsePortRange(text string) (PortRange, error) {
	r, w := parsePortRange(text)
	if w != nil {
		return PortRange{}, errors.New(w.message + "; " + w.hint)
	}
	return r, nil
}

var rangeText = regexp.MustCompile(`^\s*(\d+)\s*(?:(?:-|:|,|\.\.+|–|—|to|\s)\s*(\d+)\s*)?$`)

// parsePortRange reads "N-M" or "N" with 1 ≤ N ≤ M ≤ 65535.
func parsePortRange(s string) (PortRange, *wrong) {
	const example = `write "FIRST-LAST" with ports from 1 to 65535, for example "30000-30099"`
	m := rangeText.FindStringSubmatch(s)
	if m == nil {
		return PortRange{}, vaguef(example, "%q is no range of ports", s)
	}
	first, err := strconv.ParseUint(m[1], 10, 16)
	last := first
	if m[2] != "" && err == nil {
		last, err = strconv.ParseUint(m[2], 10, 16)
	}
	r := PortRange{uint16(first), uint16(last)}
	switch {
	case err != nil:
		return PortRange{}, wrongf(example, "%q holds a port above 65535", s)
	case first == 0 || last == 0:
		return PortRange{}, wrongf(example, "%q holds port 0", s)
	case first > last:
		return PortRange{}, wrongf(fmt.Sprintf("write %q", PortRange{r.Last, r.First}), "%q runs backwards", s)
	case m[2] == "" && s != m[1], m[2] != "" && s != m[1]+"-"+m[2]:
		return PortRange{}, wrongf(fmt.Sprintf("write %q", r), "%q is not written as a range of ports", s)
	}
	return r, nil
}
