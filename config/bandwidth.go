package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Bandwidth is in bytes of payload per second; 0 is no limit. It is that of each
// direction.
type Bandwidth int64

// bandwidthUnits are the units that may be written, in bytes per second. They
// are decimal, as on the labels of lines and switches.
var bandwidthUnits = map[string]float64{
	"B/s": 1, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9,
	"kbit/s": 1e3 / 8, "Mbit/s": 1e6 / 8, "Gbit/s": 1e9 / 8,
}

// minBandwidth is the least that the kernel can be told to keep: below, even a
// listing takes minutes, so it is a mistyped unit.
const minBandwidth, maxBandwidth = 1000, 1e12

// keptBandwidth is the least that was measured to be kept within 5 % over ten
// seconds (docs/decisions/0005-bandwidth.md).
const keptBandwidth = 20_000

var bandwidthText = regexp.MustCompile(`^\s*(\d+(?:\.\d+)?)\s*([a-zA-Z/]*)\s*$`)

// parseBandwidth reads "10MB/s" or "80Mbit/s"; "" is no limit.
func parseBandwidth(s string) (Bandwidth, *wrong) {
	const example = `write a limit like "10MB/s" or "80Mbit/s", or "" for none`
	if s == "" {
		return 0, nil
	}
	m := bandwidthText.FindStringSubmatch(s)
	if m == nil {
		if comma := strings.Replace(s, ",", ".", 1); bandwidthText.MatchString(comma) {
			return 0, wrongf(fmt.Sprintf("write %q", comma), "%q has a comma in place of a point", s)
		}
		if slices.Contains([]string{"none", "unlimited", "off", "no", "infinite"}, strings.ToLower(s)) {
			return 0, wrongf(`write "" for no limit`, "%q is no bandwidth", s)
		}
		return 0, wrongf(example, "%q is no bandwidth", s)
	}
	unit, known := bandwidthUnits[m[2]]
	if !known {
		return 0, wrongf(bandwidthHint(m[1], m[2], example), "%q has no unit of kB/s, MB/s, GB/s, kbit/s, Mbit/s, Gbit/s", s)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	switch n *= unit; {
	case err != nil || n > maxBandwidth:
		return 0, wrongf(example, "%q is more than any machine moves", s)
	case n < minBandwidth:
		return 0, wrongf(example, "%q is less than 1 kB/s", s)
	case m[0] != m[1]+m[2]:
		return 0, wrongf(fmt.Sprintf("write %q", m[1]+m[2]), "%q is not written as a bandwidth", s)
	}
	return Bandwidth(math.Round(n)), nil
}

// String returns "12.5MB/s", as the file has it; "" for no limit.
func (b Bandwidth) String() string {
	if b == 0 {
		return ""
	}
	for _, unit := range []string{"GB/s", "MB/s", "kB/s"} {
		if n := float64(b) / bandwidthUnits[unit]; n >= 1 {
			return strconv.FormatFloat(n, 'f', -1, 64) + unit
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B/s"
}

// bandwidthHint says what was probably meant. In units a small b is a bit, but
// not everybody knows; so "80Mbps" and "500k" have two hints.
func bandwidthHint(number, unit, example string) string {
	name := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(unit), "/s"), "ps")
	for known := range bandwidthUnits {
		if name == strings.ToLower(strings.TrimSuffix(known, "/s")) && !strings.HasSuffix(unit, "bps") {
			return fmt.Sprintf("write %q", number+known)
		}
	}
	prefix := map[string]string{"": "", "k": "k", "m": "M", "g": "G"}
	letters, given := strings.CutSuffix(strings.TrimSuffix(name, "b"), "i") // "MiB/s" is a little more than "MB/s"
	switch p := prefix[letters]; {
	case p == "":
		return example
	case given:
		return fmt.Sprintf("write %q", number+p+"B/s")
	default:
		return fmt.Sprintf("write %q for bytes, or %q for bits", number+p+"B/s", number+p+"bit/s")
	}
}
