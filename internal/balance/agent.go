package balance

import (
	"fmt"
	"strconv"
	"strings"
)

// An agent is what a server's agent has said. HAProxy's agents say the same words.
type agent struct {
	down   bool    // down, failed, stopped
	out    State   // Drain or Down (drain, maint); Up: neither
	weight float64 // a part of the configured one; 0: none, where has is set
	has    bool    // it has said a weight
	max    int     // sessions; 0: it has said nothing
}

func (a *agent) state() State {
	switch {
	case a.out == Down || a.down:
		return Down
	case a.out == Drain || a.has && a.weight == 0:
		return Drain
	}
	return Up
}

func (a *agent) part() float64 {
	if !a.has {
		return 1
	}
	return a.weight
}

// maxQuoted bounds what an error quotes of an agent.
const maxQuoted = 32

// parse reads the first line of what an agent says, in HAProxy's words: up, down, failed,
// stopped, ready, drain, maint, a weight as in 75%, and maxconn:30, with blanks or commas
// between. What follows # is for people. up ends down, and ready ends drain and maint. The
// result is what the agent has said, after what it had said before. An error names the
// word that is none of these.
func (a agent) parse(line string) (agent, error) {
	line, _, _ = strings.Cut(line, "\n")
	line, _, _ = strings.Cut(line, "#")
	said := false
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r,", r) }) {
		said = true
		switch lower := strings.ToLower(word); lower {
		case "up":
			a.down = false
		case "down", "failed", "stopped", "fail":
			a.down = true
		case "ready":
			a.out = Up
		case "drain":
			a.out = Drain
		case "maint":
			a.out = Down
		default:
			if !a.number(lower) {
				return a, fmt.Errorf("balance: %q is no word of an agent", word[:min(len(word), maxQuoted)])
			}
		}
	}
	if !said {
		return a, fmt.Errorf("balance: the agent says nothing")
	}
	return a, nil
}

// number reads a weight or a limit.
func (a *agent) number(word string) bool {
	if text, is := strings.CutSuffix(word, "%"); is {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return false
		}
		a.weight, a.has = float64(n)/100, true
		return true
	}
	text, is := strings.CutPrefix(word, "maxconn:")
	n, err := strconv.ParseUint(text, 10, 31)
	if !is || err != nil {
		return false
	}
	a.max = int(n)
	return true
}
