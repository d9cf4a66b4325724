package ftptest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A dialogue is a parsed file.
type dialogue struct {
	file   string
	config string // what config> adds
	steps  []step
}

// A step is one line of a dialogue that does or expects something.
type step struct {
	line int
	text string // as written
	who  name   // zero for steps that are nobody's
	verb string // "connect", "wait", ...; ">" and "<" for sending and receiving

	// What of these is set depends on verb.
	changes string // reload: what reload> gathered
	refused string // reload: what its error has; "" wants none
	bytes   string // > and <: the bytes; with open and without raw they have no CRLF
	raw     bool   // < expects bytes rather than a line; urgent has bytes
	open    bool   // < expects a line that begins with bytes
	source  netip.Addr
	target  netip.AddrPort
	at      netip.Addr
	wait    time.Duration
	number  int
	message string
	fields  []field
}

// A field is a key with its expected value in a log line.
type field struct {
	key, value string
	open       bool // the value begins so
}

// A name says which end of which connection a step is about.
type name struct {
	role    string // client, server or stranger
	session int    // from 1
	data    bool
	number  int // of the data connection, from 1
}

func (n name) String() string {
	s := n.role
	if n.session > 1 {
		s += strconv.Itoa(n.session)
	}
	if n.data {
		s += "-data"
		if n.number > 1 {
			s += strconv.Itoa(n.number)
		}
	}
	return s
}

// control returns the control connection that the data connection n belongs to.
func (n name) control() name { return name{role: n.role, session: n.session} }

var (
	stepSyntax = regexp.MustCompile(`^([a-z][a-z0-9-]*)([:<>])\s*(.*)$`)
	nameSyntax = regexp.MustCompile(`^(client|server|stranger)([1-9][0-9]?)?(?:(-data)([1-9][0-9]?)?)?$`)
	bareSyntax = regexp.MustCompile(`^(?:(login)([1-9][0-9]?)?|(drain|draining|drained|reload))(?:\s+(.*))?$`)
)

// parseFile reads a dialogue. The error names the line.
func parseFile(file string) (*dialogue, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parse(file, string(b))
}

func parse(file, text string) (*dialogue, error) {
	d := &dialogue{file: file}
	changes, gathered := "", 0 // by reload> lines, the last of them
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if config, ok := strings.CutPrefix(line, "config>"); ok {
			if len(d.steps) > 0 {
				return nil, fmt.Errorf("%s:%d: config> must stand before the first step", file, i+1)
			}
			d.config += strings.TrimSpace(config) + "\n"
			continue
		}
		if change, ok := strings.CutPrefix(line, "reload>"); ok {
			changes += strings.TrimSpace(change) + "\n"
			gathered = i + 1
			continue
		}
		s := step{line: i + 1, text: line}
		if err := s.parse(); err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", file, i+1, line, err)
		}
		if s.verb == "reload" {
			s.changes, changes = changes, ""
		} else if changes != "" {
			return nil, fmt.Errorf("%s:%d: %s: reload or reload-refused must follow reload>", file, i+1, line)
		}
		d.steps = append(d.steps, s)
	}
	if changes != "" {
		return nil, fmt.Errorf("%s:%d: reload or reload-refused must follow reload>", file, gathered)
	}
	if len(d.steps) == 0 {
		return nil, fmt.Errorf("%s:1: no steps", file)
	}
	return d, nil
}

// parse fills s from its text.
func (s *step) parse() error {
	if m := bareSyntax.FindStringSubmatch(s.text); m != nil {
		s.verb = m[1] + m[3]
		if s.verb == "login" {
			s.who = name{role: "client", session: number(m[2])}
			return s.parseAddrs(m[4])
		}
		return none(m[4])
	}
	m := stepSyntax.FindStringSubmatch(s.text)
	if m == nil {
		return errors.New("not a step")
	}
	who, op, rest := m[1], m[2], m[3]
	if parse := nobodys[who]; parse != nil && op == ":" {
		s.verb = who
		return parse(s, rest)
	}
	m = nameSyntax.FindStringSubmatch(who)
	if m == nil {
		return fmt.Errorf("%q is nobody", who)
	}
	s.who = name{role: m[1], session: number(m[2]), data: m[3] != ""}
	if s.who.data {
		s.who.number = number(m[4])
	}
	if op != ":" {
		s.verb = op
		return s.parseBytes(rest)
	}
	s.verb, rest, _ = strings.Cut(rest, " ")
	v, ok := verbs[s.verb]
	if !ok {
		return fmt.Errorf("unknown verb %q", s.verb)
	}
	if !slices.Contains(strings.Fields(v.who), s.who.kind()) {
		return fmt.Errorf("%s is not for %v, only for %s", s.verb, s.who, v.who)
	}
	return v.parse(s, strings.TrimSpace(rest))
}

// number parses what a regular expression found; without digits it is 1.
func number(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 1
	}
	return n
}

// kind returns n without numbers, for looking up who may do what.
func (n name) kind() string {
	if n.data {
		return n.role + "-data"
	}
	return n.role
}

// A grammar is what may follow a verb, and whose verb it is.
type grammar struct {
	who   string
	parse func(s *step, rest string) error
}

const (
	callers   = "client stranger"
	dataPeers = "client-data server-data stranger-data"
	everybody = "client server stranger " + dataPeers
)

var nothing = func(_ *step, rest string) error { return none(rest) }

// verbs are the steps of the form "who: verb".
var verbs = map[string]grammar{
	"connect":       {callers + " " + dataPeers, (*step).parseAddrs},
	"connect6":      {callers, nothing},
	"refused":       {callers + " " + dataPeers, (*step).parseAddrs},
	"listen":        {"client-data server-data", (*step).parseListen},
	"refuse":        {"client-data server-data", nothing},
	"accept":        {"server client-data server-data", (*step).parseAccept},
	"refuse-dials":  {"server", (*step).parseAt},
	"accept-dials":  {"server", (*step).parseAt},
	"drop-dials":    {everybody, (*step).parseAt},
	"answer-dials":  {everybody, (*step).parseAt},
	"silent":        {everybody, nothing},
	"eof":           {everybody, nothing},
	"gone":          {everybody, nothing},
	"closed":        {everybody, nothing},
	"discard":       {everybody, nothing},
	"urgent":        {everybody, (*step).parseUrgent},
	"half-close":    {everybody, nothing},
	"close":         {everybody, nothing},
	"reset":         {everybody, nothing},
	"stop-reading":  {everybody, nothing},
	"start-reading": {everybody, nothing},
}

// nobodys are the steps of the form "verb: argument".
var nobodys = map[string]func(s *step, rest string) error{
	"wait": func(s *step, rest string) (err error) {
		s.wait, err = time.ParseDuration(rest)
		return err
	},
	"network": func(s *step, rest string) (err error) {
		size, ok := strings.CutPrefix(rest, "buffer ")
		if !ok {
			return errors.New("want buffer and a number")
		}
		s.number, err = strconv.Atoi(strings.TrimSpace(size))
		return err
	},
	"reload-refused": func(s *step, rest string) error {
		s.verb, s.refused = "reload", rest
		if rest == "" {
			return errors.New("want a text that the error has")
		}
		return nil
	},
	"log": (*step).parseLog,
	"no-log": func(s *step, rest string) error {
		if strings.HasPrefix(rest, `"`) {
			return s.parseBytes(rest)
		}
		return s.parseLog(rest)
	},
}

func none(rest string) error {
	if rest != "" {
		return fmt.Errorf("nothing may follow, not %q", rest)
	}
	return nil
}

// parseBytes reads a line or a Go string, and what it is multiplied with.
func (s *step) parseBytes(rest string) error {
	if rest == "" {
		return errors.New(`want a line, or a string such as "\r\n"`)
	}
	if rest[0] != '"' {
		s.bytes, s.open = strings.CutSuffix(rest, "...")
		if s.verb == ">" {
			s.bytes, s.open = rest+"\r\n", false
		}
		return nil
	}
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return errors.New("the string does not end")
	}
	s.raw = true
	if s.bytes, err = strconv.Unquote(quoted); err != nil {
		return err
	}
	rest = strings.TrimSpace(rest[len(quoted):])
	if rest == "" {
		return nil
	}
	times, ok := strings.CutPrefix(rest, "*")
	n, err := strconv.Atoi(strings.TrimSpace(times))
	if !ok || err != nil || n < 1 || n*len(s.bytes) > 1<<28 {
		return fmt.Errorf("only * and a number may follow a string, not %q", rest)
	}
	s.bytes = strings.Repeat(s.bytes, n)
	return nil
}

// parseAddrs reads a source address, a target address with port, or both.
func (s *step) parseAddrs(rest string) error {
	for _, f := range strings.Fields(rest) {
		if a, err := netip.ParseAddr(f); err == nil && !s.source.IsValid() && !s.target.IsValid() {
			s.source = a
		} else if a, err := netip.ParseAddrPort(f); err == nil && !s.target.IsValid() {
			s.target = a
		} else {
			return fmt.Errorf("want an address, an address with port, or both; not %q", rest)
		}
	}
	return nil
}

// parseListen reads a port, or an address with port.
func (s *step) parseListen(rest string) (err error) {
	if port, err := strconv.ParseUint(rest, 10, 16); err == nil {
		s.number = int(port)
		return nil
	}
	s.target, err = netip.ParseAddrPort(rest)
	return err
}

// parseAccept reads "from ADDR" and "at ADDR".
func (s *step) parseAccept(rest string) (err error) {
	f := strings.Fields(rest)
	for ; len(f) >= 2 && err == nil; f = f[2:] {
		switch {
		case f[0] == "from":
			s.source, err = netip.ParseAddr(f[1])
		case f[0] == "at" && !s.who.data:
			s.at, err = netip.ParseAddr(f[1])
		default:
			return fmt.Errorf("what is %q?", f[0])
		}
	}
	if err == nil && len(f) > 0 {
		err = fmt.Errorf("what is %q?", f[0])
	}
	return err
}

// parseAt reads an address or nothing.
func (s *step) parseAt(rest string) (err error) {
	if rest != "" {
		s.at, err = netip.ParseAddr(rest)
	}
	return err
}

func (s *step) parseUrgent(rest string) error {
	if rest == "" {
		return nil
	}
	if rest[0] != '"' {
		return errors.New("want a string or nothing")
	}
	return s.parseBytes(rest)
}

var fieldSyntax = regexp.MustCompile(`^([A-Za-z0-9_.-]+)=`)

// parseLog reads a message followed by fields.
func (s *step) parseLog(rest string) error {
	for rest != "" {
		m := fieldSyntax.FindStringSubmatch(rest)
		if m == nil {
			if len(s.fields) > 0 {
				return fmt.Errorf("want key=value, not %q", rest)
			}
			var word string
			word, rest, _ = strings.Cut(rest, " ")
			s.message = strings.TrimSpace(s.message + " " + word)
			rest = strings.TrimSpace(rest)
			continue
		}
		f := field{key: m[1]}
		rest = rest[len(m[0]):]
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			if f.value, err = strconv.Unquote(quoted); err != nil {
				return err
			}
			rest = rest[len(quoted):]
			if rest != "" && rest[0] != ' ' {
				return fmt.Errorf("want a blank before %q", rest)
			}
		} else {
			f.value, rest, _ = strings.Cut(rest, " ")
			f.value, f.open = strings.CutSuffix(f.value, "...")
		}
		s.fields = append(s.fields, f)
		rest = strings.TrimSpace(rest)
	}
	if s.message == "" {
		return errors.New("want a message, then key=value")
	}
	return nil
}
