package balance

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Advice is what the line of a server's agent says, in the words of HAProxy's agent-check.
// What a line does not name stays as it was.
type Advice struct {
	Health  string // "up" or "down"; "": not named
	Admin   string // "ready", "drain" or "maint"; "": not named
	Percent int    // of the configured weight, 0 drains; -1: not named
	Max     int    // sessions, 0: as configured; -1: not named
	Text    string // what stands behind #
}

// Bounds of what an agent says. More than mostPercent makes no difference to any weight.
const (
	mostPercent = 100 * maxWeight
	mostText    = 200 // bytes of a text that is kept
)

// ParseAgent reads the first line of an agent's answer: words between blanks and commas,
// in any order and case, and a text after #. Of two words of one sort the last one counts.
//
//	up              the server works again
//	down            it does not; so do failed, fail and stopped
//	ready           it takes sessions again
//	drain, maint    it takes no new ones; with maint it counts as down
//	75%             the part of its configured weight
//	maxconn:30      its sessions at the same time
//
// A word that is none of these changes nothing. The error names the first such word; the
// Advice is what the other words say, as it is in HAProxy.
func ParseAgent(answer string) (Advice, error) {
	a := Advice{Percent: -1, Max: -1}
	if end := strings.IndexAny(answer, "\r\n\x00"); end >= 0 {
		answer = answer[:end]
	}
	isBlank := func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }
	words := answer
	var unknown error
	for {
		words = strings.TrimLeftFunc(words, isBlank)
		if words == "" {
			return a, unknown
		}
		if words[0] == '#' { // Within a word it is a letter like others.
			a.Text = printable(strings.Trim(words[1:], " \t"))
			return a, unknown
		}
		end := strings.IndexFunc(words, isBlank)
		if end < 0 {
			end = len(words)
		}
		if !a.word(strings.ToLower(words[:end])) && unknown == nil {
			unknown = fmt.Errorf("balance: the agent said %q, which is no word of agents", printable(words[:end]))
		}
		words = words[end:]
	}
}

// word takes one word in, or tells that it does not know it.
func (a *Advice) word(word string) bool {
	switch word {
	case "up":
		a.Health = "up"
	case "down", "failed", "fail", "stopped":
		a.Health = "down"
	case "ready", "drain", "maint":
		a.Admin = word
	default:
		if digits, ok := strings.CutSuffix(word, "%"); ok {
			return number(digits, mostPercent, &a.Percent)
		}
		if digits, ok := strings.CutPrefix(word, "maxconn:"); ok {
			return number(digits, 1<<31-1, &a.Max)
		}
		return false
	}
	return true
}

// number reads digits and nothing else. A number above most is taken for most.
func number(digits string, most int, to *int) bool {
	n, err := strconv.ParseUint(digits, 10, 31) // takes no sign
	if err != nil {
		return false
	}
	*to = min(int(n), most)
	return true
}

// printable makes a text of a stranger fit for a log.
func printable(text string) string {
	if len(text) > mostText {
		text = text[:mostText]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// agent is what all the lines of a server's agent come to.
type agent struct {
	isDown  bool
	admin   State // maint is Down
	percent int   // if it is weighed
	weighed bool
	max     int // 0: as configured
}

// state is what the agent wants.
func (a *agent) state() State {
	switch {
	case a.isDown || a.admin == Down:
		return Down
	case a.admin == Drain || a.weighed && a.percent == 0:
		return Drain
	}
	return Up
}

// part is the part of its weight that the server has.
func (a *agent) part() float64 {
	if !a.weighed {
		return 1
	}
	return float64(a.percent) / 100
}

// take adds a line.
func (a *agent) take(l Advice) {
	switch l.Health {
	case "up":
		a.isDown = false
	case "down":
		a.isDown = true
	}
	switch l.Admin {
	case "ready":
		a.admin = Up
	case "drain":
		a.admin = Drain
	case "maint":
		a.admin = Down
	}
	if l.Percent >= 0 {
		a.percent, a.weighed = l.Percent, true
	}
	if l.Max >= 0 {
		a.max = l.Max
	}
}
