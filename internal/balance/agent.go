package balance

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An Advice is what one line of a server's agent says, in the words of HAProxy's
// agent-check. What it does not mention stays as it was.
type Advice struct {
	Health  string // up, down, failed or stopped; "": not mentioned
	Admin   string // ready, drain or maint; "": not mentioned
	Percent int    // of the configured weight; 0 drains the server; -1: not mentioned
	Max     int    // sessions at the same time; 0: as configured; -1: not mentioned
	Text    string // the description, for the administrator
}

// Bounds of what is kept of texts that come from a server.
const (
	maxText = 200 // bytes of a line or a description
	maxWord = 40  // bytes of an unknown word in an error
)

// ParseAgent reads the first line of what an agent sends: words that are separated by
// blanks, tabs or commas, and a description after "#". If words contradict each other the
// last one counts. Upper and lower case are the same.
func ParseAgent(line string) (Advice, error) {
	a := Advice{Percent: -1, Max: -1}
	line, text, _ := strings.Cut(firstLine(line), "#")
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
	if len(words) == 0 {
		return Advice{}, errors.New("balance: the agent's line has no word")
	}
	for _, word := range words {
		if !a.read(strings.ToLower(word)) {
			return Advice{}, fmt.Errorf("balance: the agent's word %q is unknown", clean(word, maxWord))
		}
	}
	a.Text = clean(text, maxText)
	return a, nil
}

func firstLine(text string) string {
	if end := strings.IndexAny(text, "\r\n"); end >= 0 {
		return text[:end]
	}
	return text
}

// read reads one word, and tells whether it knows it.
func (a *Advice) read(word string) bool {
	switch word {
	case "up", "down", "failed", "stopped":
		a.Health = word
		return true
	case "fail": // HAProxy knows this form only.
		a.Health = "failed"
		return true
	case "ready", "drain", "maint":
		a.Admin = word
		return true
	}
	to, digits, found := &a.Max, "", false
	if digits, found = strings.CutPrefix(word, "maxconn:"); !found {
		to = &a.Percent
		digits, found = strings.CutSuffix(word, "%")
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if !found || err != nil {
		return false
	}
	*to = int(n)
	return true
}

// String gives a line that ParseAgent reads as the same advice.
func (a Advice) String() string {
	var words []string
	for _, word := range []string{a.Health, a.Admin} {
		if word != "" {
			words = append(words, word)
		}
	}
	if a.Percent >= 0 {
		words = append(words, strconv.Itoa(a.Percent)+"%")
	}
	if a.Max >= 0 {
		words = append(words, "maxconn:"+strconv.Itoa(a.Max))
	}
	if a.Text != "" {
		words = append(words, "# "+a.Text)
	}
	return strings.Join(words, " ")
}

// clean makes a text of a server fit for a log line: no control characters, valid UTF-8,
// and at most so many bytes.
func clean(text string, most int) string {
	var b strings.Builder
	for _, r := range strings.TrimSpace(text) {
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > most {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// agent is what a server's agent has said of it so far. Only the agent takes it back.
type agent struct {
	down         bool // down, failed or stopped; up clears it
	drain, maint bool // ready clears both
	weighs       bool // it has said a percentage
	percent      int
	max          int    // 0: it has said none
	says         string // the last line that changed any of these, for the administrator
}

// heed applies an advice.
func (a *agent) heed(advice Advice) {
	if advice.Health != "" {
		a.down = advice.Health != "up"
	}
	if advice.Admin != "" {
		a.drain, a.maint = advice.Admin == "drain", advice.Admin == "maint"
	}
	if advice.Percent >= 0 {
		a.weighs, a.percent = true, advice.Percent
	}
	if advice.Max >= 0 {
		a.max = advice.Max
	}
}

// state is what the agent wants.
func (a *agent) state() State {
	switch {
	case a.down || a.maint:
		return Down
	case a.drain || a.weighs && a.percent == 0:
		return Drain
	}
	return Up
}

// part is the part of its weight that the server shall have.
func (a *agent) part() float64 {
	if !a.weighs {
		return 1
	}
	return float64(a.percent) / 100
}
