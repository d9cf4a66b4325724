package proxy

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"ftproxy/internal/ftp"
)

// A fuzzOrder is one command of a client's, and what became of it. Its serial
// number stands in the command where it can, and in every reply to it.
type fuzzOrder struct {
	serial  int
	verb    string
	line    string
	refused bool // the server must never see it

	forwarded bool // the server has it
	announced bool // the server said 1xx
	code      int  // of the server's final reply, 0 while it has none
	reply     string
	mute      bool // an ABOR that the server answers together with its transfer
	barrier   bool // nobody's: the session's own NOOP
	second    bool // a transfer whose ABOR was answered first

	told    int // the code of the client's final reply, 0 while it has none
	aborted bool
	data    *fuzzData // of a setup what it agreed on, of a transfer what it uses
	late    bool      // more time passed than a timer allows
}

func (o *fuzzOrder) tag() string { return "#" + strconv.Itoa(o.serial) + "." }

func (o *fuzzOrder) isTransfer() bool {
	return slices.Contains([]string{"RETR", "LIST", "STOR", "XFER"}, o.verb)
}

// announce notes the server's first 1xx to o. The session aborts a transfer that has no
// data connection.
func (s *fuzzScene) announce(o *fuzzOrder) {
	if !o.announced && o.verb != "XFER" && o.data == nil {
		s.aborts++
	}
	o.announced = true
}

func (o *fuzzOrder) isSetup() bool {
	return slices.Contains([]string{"PASV", "EPSV", "PORT", "EPRT"}, o.verb)
}

// A fuzzData is a data connection that is being agreed on, and its two ends.
type fuzzData struct {
	client, server *fuzzWire
	clientAt       string    // where the client connects or listens
	serverAt       string    // where the server connects, "" where it listens
	resets         bool      // the script reset or closed an end before its time
	since          time.Time // the server has agreed, or refused a transfer on it
	agreed         time.Time // the client knows
	told           time.Time // the client heard that nobody waits for it
	over           time.Time // the client has moved on, so it has closed its attempt
	serverOver     time.Time // likewise the server
}

// The longest that a peer which is no fault's goes on trying to connect: after it was
// told that nobody waits, and after it has closed its attempt (relays between).
const (
	fuzzTold  = 30 * time.Second
	fuzzRelay = 3900 * time.Millisecond
)

// mayArrive tells whether a connection of the client may still come for d.
func (d *fuzzData) mayArrive() bool {
	switch {
	case d.client != nil || d.clientAt == "" || d.agreed.IsZero():
		return false
	case !d.over.IsZero():
		return time.Since(d.over) < fuzzRelay
	}
	return d.told.IsZero() || time.Since(d.told) < fuzzTold
}

// serverMayArrive tells the same of the server, which has answered a transfer on d.
func (d *fuzzData) serverMayArrive() bool {
	return d.server == nil && d.serverAt != "" && !d.serverOver.IsZero() && time.Since(d.serverOver) < fuzzRelay
}

// serverDone notes that the server has moved on from d.
func (d *fuzzData) serverDone() {
	if d != nil && d.serverOver.IsZero() {
		d.serverOver = time.Now()
	}
}

// A fuzzScene is one session: its two peers and the model of what is due.
type fuzzScene struct {
	w      *fuzzWorld
	name   string // "" or "2", as a dialogue numbers it
	client *fuzzWire
	server *fuzzWire

	orders      []*fuzzOrder
	out         []*fuzzOrder // what the server has and has not answered
	cause       string       // why the session may end; "" while it may not
	unsolicited int
	half        string // what is still to come of a reply that was sent in part
	halfCode    int    // the code of that reply
	halfText    string // and all of it
	rest        string // likewise of a command
	active      time.Time
	relayed     time.Time // the server heard or said something

	heard, seen int // of client.got and server.got, what was looked at
	last        int // serial of the command forwarded last
	closing     bool
	aborts      int       // of the session itself, to come
	data        *fuzzData // agreed on by the server last
	prepared    *fuzzData // known to the client last
}

// A fuzzFault is the first thing that went against the model.
type fuzzFault struct{ text string }

func (s *fuzzScene) fault(format string, args ...any) {
	panic(fuzzFault{"session" + s.name + ": " + fmt.Sprintf(format, args...)})
}

// eachPromise calls do for the ports that the client knows and has not moved on from.
func (s *fuzzScene) eachPromise(do func(*fuzzData)) {
	for _, o := range s.orders {
		if d := o.data; d != nil && o.isSetup() && d.clientAt != "" && !d.agreed.IsZero() && d.over.IsZero() {
			do(d)
		}
	}
}

// tell notes that the client hears that nobody waits for it.
func (s *fuzzScene) tell() {
	s.eachPromise(func(d *fuzzData) {
		if d.told.IsZero() {
			d.told = time.Now()
		}
	})
}

// moveOn notes that the client sends a command, or that it has ended.
func (s *fuzzScene) moveOn(setup bool) {
	s.eachPromise(func(d *fuzzData) {
		if setup || !d.told.IsZero() {
			d.over = time.Now()
		}
		if end := d.told.Add(fuzzTold); !d.told.IsZero() && end.Before(d.over) {
			d.over = end // The attempt had ended before.
		}
	})
}

// silent tells whether the client has let the time pass that it was promised, and has
// said nothing that the session must have heard.
func (s *fuzzScene) silent() bool {
	return slices.ContainsFunc(s.orders, func(o *fuzzOrder) bool {
		d := o.data
		return d != nil && d.clientAt != "" && d.client == nil && !d.agreed.IsZero() && time.Since(d.agreed) >= 30*time.Second &&
			(d.over.IsZero() || len(s.waiting()) > 0)
	})
}

// mayEnd notes why the session may end from now on.
func (s *fuzzScene) mayEnd(why string) {
	if s.cause == "" {
		s.cause = why
	}
}

// look takes what both peers have received since the last time.
func (s *fuzzScene) look() {
	const limit = 4*time.Minute + 50*time.Second // of the idle timer, and of the server's replies
	if time.Since(s.active) >= limit || len(s.out) > 0 && time.Since(s.relayed) >= limit {
		s.mayEnd("time")
	}
	for {
		if bytes.HasPrefix(s.client.got[s.heard:], []byte("garbage\r\n")) { // It is passed on.
			s.heard += len("garbage\r\n")
			continue
		}
		text, code, ok := nextReply(s.client.got[s.heard:])
		if !ok {
			break
		}
		s.heard += len(text)
		s.w.say("client%s<  %s", s.name, quoteReply(text))
		s.onReply(code, text)
	}
	if end := s.client.endedBy(); end != "" && !s.closing {
		s.closing = true
		s.w.say("client%s: %s", s.name, end)
		if s.cause == "" {
			s.fault("the session ended (%s) and there was no reason to", end)
		}
	}
	for {
		i := bytes.IndexByte(s.server.got[s.seen:], '\n')
		if i < 0 {
			break
		}
		line := string(s.server.got[s.seen : s.seen+i+1])
		s.seen += i + 1
		s.onCommand(line)
	}
	s.lookAtData()
}

// nextReply cuts a whole reply from b, as RFC 959 §4.2 frames it.
func nextReply(b []byte) (text string, code int, ok bool) {
	first := 0
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte("\r\n"))
		if i < 0 {
			return "", 0, false
		}
		line := b[at : at+i]
		at += i + 2
		if len(line) < 4 {
			if first == 0 {
				panic(fuzzFault{fmt.Sprintf("the client received %q, which is no reply", line)})
			}
			continue
		}
		n, err := strconv.Atoi(string(line[:3]))
		switch {
		case first == 0 && (err != nil || line[3] != ' ' && line[3] != '-'):
			panic(fuzzFault{fmt.Sprintf("the client received %q, which is no reply", line)})
		case first == 0 && line[3] == '-':
			first = n
		case first == 0, n == first && err == nil && line[3] == ' ':
			return string(b[:at]), n, true
		}
	}
}

func quoteReply(text string) string {
	text = strings.TrimSuffix(text, "\r\n")
	if len(text) > 100 || strings.Contains(text, "\r\n") {
		return strconv.Quote(text + "\r\n")
	}
	return text
}

// waiting are the commands that have no final reply yet, in order.
func (s *fuzzScene) waiting() []*fuzzOrder {
	for i, o := range s.orders {
		if o.told == 0 {
			return s.orders[i:]
		}
	}
	return nil
}

// tagOf is the serial number that a reply names, 0 where it has none.
func tagOf(text string) int {
	_, rest, ok := strings.Cut(text, "#")
	if !ok {
		return 0
	}
	number, _, _ := strings.Cut(rest, ".")
	n, _ := strconv.Atoi(number)
	return n
}

// onReply matches a reply that the client received with the command it is for.
func (s *fuzzScene) onReply(code int, text string) {
	tag := tagOf(text)
	switch {
	case strings.Contains(text, "10.0.0.") || strings.Contains(text, "10,0,0,"):
		s.fault("the client hears an inside address: %q", text)
	case strings.Contains(text, "unsolicited"), strings.Contains(text, "barrier"):
		s.fault("the client hears what was not for it: %q", text)
	case code == 421:
		if strings.Contains(text, "Data port not used") {
			if !s.silent() {
				s.fault("a client that is not silent is asked to leave: %q", text)
			}
			s.mayEnd("silent")
		}
		s.tell()
		if s.cause == "" {
			s.fault("421 without a reason: %q", text)
		}
		return
	}
	waiting := s.waiting()
	if code == 211 && strings.Contains(text, " in progress, ") {
		i := slices.IndexFunc(waiting, func(o *fuzzOrder) bool { return o.told == 0 && o.verb == "STAT" })
		if i < 0 {
			s.fault("an unsolicited answer to STAT: %q", text)
		}
		waiting[i].told = code
		return
	}
	if len(waiting) == 0 {
		s.fault("a reply that answers no command: %q", text)
	}
	o := waiting[0]
	if o.verb == "ABOR" && code == 226 && s.abortedTransfer(tag) {
		tag = 0 // One reply for both, or nobody can tell.
	}
	if tag != 0 && tag != o.serial {
		s.fault("a reply to command %d is delivered for command %d, %s: %q", tag, o.serial, o.line, text)
	}
	if code/100 == 1 {
		if tag == 0 {
			s.fault("a preliminary reply of nobody's: %q", text)
		}
		return
	}
	o.told = code
	s.check(o, code, text, tag != 0)
	if o.forwarded && (o.verb == "ABOR" || o.isTransfer() && (o.announced || o.aborted || ftp.EndsData(code))) {
		s.tell()
	}
}

// abortedTransfer tells whether a serial number is that of a transfer that ABOR has ended.
func (s *fuzzScene) abortedTransfer(serial int) bool {
	return slices.ContainsFunc(s.orders, func(o *fuzzOrder) bool { return o.serial == serial && o.aborted })
}

// check tells whether a final reply is true.
func (s *fuzzScene) check(o *fuzzOrder, code int, text string, tagged bool) {
	if o.refused {
		if code/100 < 4 {
			s.fault("%q is answered with %q, want a refusal", o.line, text)
		}
		return
	}
	switch {
	case tagged && o.code != code:
		s.fault("%s: the server said %d, the client hears %q", o.line, o.code, text)
	case o.isSetup():
		s.checkSetup(o, code, text)
	case o.isTransfer() && o.data != nil && (o.verb != "XFER" || o.announced):
		s.checkTransfer(o, code, text, tagged)
	case o.isTransfer(), o.verb == "ABOR", o.verb == "FEAT":
		// Refused for want of a setup, or answered in the server's stead.
	case s.loggedOut() && code == 530:
	case text != o.reply:
		s.fault("%s: the server said %q, the client hears %q", o.line, o.reply, text)
	}
	switch {
	case o.verb == "QUIT" && code == 221:
		s.mayEnd("quit")
	case o.verb == "REIN" && code/100 == 2:
		s.data, s.prepared = nil, nil
		s.mayEnd("login") // The login timer runs.
	}
}

// loggedOut tells whether a REIN succeeded. Nobody logs in again.
func (s *fuzzScene) loggedOut() bool {
	return slices.ContainsFunc(s.orders, func(o *fuzzOrder) bool { return o.verb == "REIN" && o.code/100 == 2 })
}

func (s *fuzzScene) checkSetup(o *fuzzOrder, code int, text string) {
	s.tell() // Of those before.
	if code/100 != 2 {
		if !o.forwarded {
			s.data = nil // No port was free, and what was agreed on before is void.
		}
		return
	}
	if o.data == nil || o.code/100 != 2 {
		s.fault("%s: the server did not agree, the client hears %q", o.line, text)
	}
	o.data.agreed = time.Now()
	switch o.verb {
	case "PASV":
		o.data.clientAt = passiveTarget(text)
	case "EPSV":
		o.data.clientAt = "203.0.113.9:" + strings.Trim(text[strings.IndexByte(text, '('):], "()|.\r\n")
	}
	s.prepared = o.data
}

// checkTransfer: 2xx only where all bytes have arrived, and where nothing went
// wrong nothing else.
func (s *fuzzScene) checkTransfer(o *fuzzOrder, code int, text string, tagged bool) {
	d := o.data
	up := o.verb == "STOR"
	if code/100 == 2 {
		switch why := d.incomplete(up, o.announced); {
		case o.code/100 != 2:
			s.fault("%s: the server said %d, the client hears %q", o.line, o.code, text)
		case why != "":
			s.fault("%s: %s, the client hears %q", o.line, why, text)
		}
		return
	}
	if o.code/100 == 2 && o.announced && !o.aborted && !o.late && d.clean(up) {
		s.fault("%s: nothing went wrong, the client hears %q", o.line, text)
	}
	if !tagged && code != 425 && code != 426 && code != 451 {
		s.fault("%s: the client hears %q", o.line, text)
	}
}

// incomplete says why the payload cannot have arrived; "" where it may.
func (d *fuzzData) incomplete(up, announced bool) string {
	from, to := d.server, d.client
	if up {
		from, to = to, from
	}
	switch {
	case from == nil && up:
		return "the client made no data connection"
	case from == nil:
		return ""
	case to == nil && (up || from.wrote > 0 || announced):
		return "the receiver has no data connection"
	case to == nil:
		return ""
	case !from.fin && (announced || from.wrote > 0):
		return "the sender has not ended its data"
	}
	got := len(to.got)
	if to.lazy {
		got += lazyBuffer
	}
	if got < from.wrote || from.wrote < len(from.sent) {
		return fmt.Sprintf("%d of %d bytes arrived", len(to.got), len(from.sent))
	}
	return ""
}

// clean tells whether a transfer cannot have failed.
func (d *fuzzData) clean(up bool) bool {
	from, to := d.server, d.client
	if up {
		from, to = to, from
	}
	return !d.resets && from != nil && to != nil && from.fin && to.ended == io.EOF && len(to.got) == len(from.sent)
}

// onCommand takes a line that reached the server.
func (s *fuzzScene) onCommand(raw string) {
	line := strings.TrimPrefix(strings.TrimSuffix(raw, "\r\n"), "\xff\xf4\xff\xf2")
	s.w.say("server%s<  %s", s.name, strings.TrimSuffix(raw, "\r\n"))
	verb, arg, _ := strings.Cut(line, " ")
	if strings.Contains(line, "!no") || strings.Contains(line, "198.51") || strings.Contains(line, "198,51") {
		s.fault("the server sees %q", line)
	}
	if strings.ContainsAny(line, "\r\x00") || !strings.HasSuffix(raw, "\r\n") {
		s.fault("the server sees a bad line: %q", raw)
	}
	if line == "NOOP" && slices.ContainsFunc(s.out, func(o *fuzzOrder) bool { return o.verb == "ABOR" || o.isTransfer() && (o.told != 0 || o.aborted) }) {
		s.out = append(s.out, &fuzzOrder{verb: verb, barrier: true})
		return
	}
	if line == "ABOR" && (s.aborts > 0 || len(s.out) == 1 && s.out[0].isTransfer() && s.out[0].told != 0) { // The session's own.
		s.aborts = max(s.aborts-1, 0)
		s.out = append(s.out, &fuzzOrder{verb: verb, barrier: true})
		return
	}
	if (verb == "PORT" || verb == "EPRT") && s.asksWithoutData() {
		s.out = append(s.out, &fuzzOrder{verb: verb, barrier: true})
		return
	}
	o := s.match(verb, arg)
	switch {
	case verb == "ABOR" && s.cause != "" && (o == nil || len(s.out) > 0 && !s.out[0].isTransfer()): // The courtesy of a session that ends.
		return
	case o == nil:
		s.fault("the server sees %q, which no client sent or which it has seen before", line)
	case len(s.out) > 0 && verb != "ABOR":
		s.fault("the server sees %q and has not answered %s", line, s.out[0].line)
	case len(s.out) > 0 && !s.out[0].isTransfer():
		s.fault("ABOR overtakes %s", s.out[0].line)
	case verb != "ABOR" && o.serial < s.last:
		s.fault("the server sees %q after command %d", line, s.last)
	}
	if verb != "ABOR" {
		s.last = o.serial
	}
	o.forwarded = true
	s.relayed = time.Now()
	s.out = append(s.out, o)
	switch {
	case verb == "PORT" || verb == "EPRT":
		o.data.serverAt = activeTarget(verb, arg)
	case verb == "PASV" || verb == "EPSV":
		o.data = &fuzzData{}
	case o.isTransfer():
		o.data = s.data
		if verb != "XFER" {
			s.data = nil
		}
	case verb == "ABOR":
		for _, t := range s.waiting() {
			t.aborted = t.aborted || t.isTransfer() && t.forwarded
		}
		s.data = nil
	}
}

// asksWithoutData tells whether the client's next command is a download for which nothing was
// agreed on: the session tells the server a fresh port before it asks.
func (s *fuzzScene) asksWithoutData() bool {
	w := s.waiting()
	return len(w) > 0 && !w[0].forwarded && !w[0].refused && (w[0].verb == "RETR" || w[0].verb == "LIST") && len(s.out) == 0
}

// match finds the client's command that a line at the server is.
func (s *fuzzScene) match(verb, arg string) *fuzzOrder {
	for _, o := range s.orders {
		if o.refused || o.told != 0 && !s.closing { // A session that ends answers before the server sees the command.
			continue
		}
		switch {
		case strings.HasSuffix(arg, o.tag()) && o.verb == verb && !o.forwarded:
			return o
		case verb == "REST" && arg == strconv.Itoa(o.serial) && o.verb == verb && !o.forwarded:
			return o
		case (verb == "PASV" || verb == "EPSV") && (o.verb == "PASV" || o.verb == "EPSV"),
			(verb == "PORT" || verb == "EPRT") && (o.verb == "PORT" || o.verb == "EPRT"):
			if !o.forwarded || o.verb[0] == 'E' && o.verb != verb {
				return o
			}
		case arg == "" && o.verb == verb && o.line == verb && !o.forwarded:
			return o
		}
	}
	return nil
}

// lookAtData checks what must hold at any time: nobody receives what the other
// did not send, also who comes late, and an upload that was cut does not look complete.
func (s *fuzzScene) lookAtData() {
	for _, o := range s.orders {
		d := o.data
		switch {
		case d == nil:
		case d.client == nil && d.server != nil && len(d.server.got) > 0:
			s.fault("%s: the server received %d bytes, and the client made no data connection", o.line, len(d.server.got))
		case d.server == nil && d.client != nil && len(d.client.got) > 0:
			s.fault("%s: the client received %d bytes, and the server made no data connection", o.line, len(d.client.got))
		}
	}
	for _, o := range s.orders {
		d := o.data
		if d == nil || !o.isTransfer() || d.server == nil {
			continue
		}
		if c := d.client; c != nil {
			if !bytes.HasPrefix(d.server.sent, c.got) {
				s.fault("%s: the client received other data than the server sent", o.line)
			}
			if !bytes.HasPrefix(c.sent, d.server.got) {
				s.fault("%s: the server received other data than the client sent", o.line)
			}
		}
		if o.verb == "STOR" && d.server.ended == io.EOF && o.code/100 < 4 && !d.server.gone {
			if d.client == nil || !d.client.fin || len(d.server.got) < len(d.client.sent) {
				s.fault("%s was cut, and to the server it looks complete", o.line)
			}
		}
		if o.verb != "STOR" && len(d.server.got) > 0 && o.announced {
			s.fault("%s: the server received %d bytes of a download", o.line, len(d.server.got))
		}
	}
}
