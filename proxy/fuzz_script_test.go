package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ftproxy/rewrite"
)

// A script is a row of events, two bytes each: which event of which session,
// and how. Every row of bytes is a script; an event that makes no sense at its
// moment is skipped.
const fuzzEvent = 2

// maxFuzzEvents bounds the time that a script takes.
const maxFuzzEvents = 120

// fuzzEvents is what may happen. An event stands as often as it shall be drawn.
var fuzzEvents = func() []func(*fuzzScene, int) bool {
	var events []func(*fuzzScene, int) bool
	for _, e := range []struct {
		times int
		do    func(*fuzzScene, int) bool
	}{
		{10, (*fuzzScene).doCommand},
		{4, (*fuzzScene).doPipeline},
		{6, (*fuzzScene).doTransferFlow},
		{2, (*fuzzScene).doRefused},
		{12, (*fuzzScene).doAnswer},
		{4, (*fuzzScene).doPreliminary},
		{3, (*fuzzScene).doServerOdd},
		{1, (*fuzzScene).doServerEnd},
		{1, (*fuzzScene).doClientEnd},
		{6, (*fuzzScene).doConnect},
		{6, (*fuzzScene).doData},
		{4, (*fuzzScene).doDataEnd},
		{3, (*fuzzScene).doWait},
		{1, (*fuzzScene).doDrain},
	} {
		for range e.times {
			events = append(events, e.do)
		}
	}
	return events
}()

// play does the event that two bytes stand for, and reports whether it did
// anything.
func (w *fuzzWorld) play(which, how byte) bool {
	s := w.scenes[int(which)&1]
	return fuzzEvents[int(which>>1)%len(fuzzEvents)](s, int(how))
}

// The client's commands.

func (s *fuzzScene) order(verb, arg string) *fuzzOrder {
	s.w.serial++
	o := &fuzzOrder{serial: s.w.serial, verb: verb}
	switch arg = strings.ReplaceAll(arg, "#", o.tag()); {
	case verb == "REST":
		arg = strconv.Itoa(o.serial)
	case verb == "PORT", verb == "EPRT":
		o.data = &fuzzData{}
		arg = s.listen(o)
	}
	o.line = verb
	if arg != "" {
		o.line += " " + arg
	}
	s.orders = append(s.orders, o)
	return o
}

// clientSends writes what is left of the last write, and text.
func (s *fuzzScene) clientSends(text string) {
	text, s.rest = s.rest+text, ""
	s.w.say("client%s>  %q", s.name, text)
	s.client.write([]byte(text))
	s.active = time.Now()
}

func (s *fuzzScene) clientSilent() bool {
	return s.client.gone || s.client.ended != nil || s.cause == "half-close"
}

// maxFuzzOrders keeps what a client pipelines below the size of all buffers.
const maxFuzzOrders = 60

func (s *fuzzScene) pick(how int) *fuzzOrder {
	switch how % 16 {
	case 0, 1:
		return s.order("PASV", "")
	case 2:
		return s.order("EPSV", "")
	case 3:
		return s.order("PORT", "")
	case 4:
		return s.order("EPRT", "")
	case 5, 6:
		return s.order("RETR", "#")
	case 7:
		return s.order("STOR", "#")
	case 8:
		return s.order("ABOR", "")
	case 9:
		return s.order("STAT", "")
	case 10:
		return s.order("REST", "")
	case 11:
		return s.order("FEAT", "")
	case 12:
		return s.order("NOOP", "")
	case 13:
		return s.order("XFER", "#")
	case 14:
		return s.order([]string{"QUIT", "REIN", "NOOP", "STAT"}[how/16%4], "")
	}
	return s.order("SITE", "#")
}

func (s *fuzzScene) doCommand(how int) bool {
	if s.clientSilent() || len(s.orders) > maxFuzzOrders {
		return false
	}
	o := s.pick(how)
	line := o.line + "\r\n"
	switch how / 16 % 8 {
	case 1:
		line = strings.ToLower(o.verb) + strings.TrimPrefix(o.line, o.verb) + "\n"
	case 2: // In two pieces, the second with the next.
		s.clientSends(line[:2])
		s.rest = line[2:]
		return true
	case 3:
		if o.verb == "ABOR" {
			s.w.say("client%s: urgent %q", s.name, s.rest+"\xff\xf4\xff\xf2"+line)
			s.client.writeUrgent([]byte(s.rest + "\xff\xf4\xff\xf2" + line))
			s.rest = ""
			return true
		}
	}
	s.clientSends(line)
	return true
}

func (s *fuzzScene) doPipeline(how int) bool {
	if s.clientSilent() || len(s.orders) > maxFuzzOrders {
		return false
	}
	text := ""
	for range how%3 + 2 {
		how = how*7 + 13
		text += s.pick(how>>2).line + "\r\n"
	}
	s.clientSends(text)
	return true
}

// doTransferFlow is what makes transfers likely.
func (s *fuzzScene) doTransferFlow(how int) bool {
	if s.clientSilent() || len(s.orders) > maxFuzzOrders {
		return false
	}
	setup := s.order([]string{"PASV", "EPSV", "PORT", "EPRT"}[how%4], "").line
	transfer := s.order([]string{"RETR", "STOR", "LIST", "RETR"}[how/4%4], "#").line
	switch how / 16 % 3 {
	case 0:
		s.clientSends(setup + "\r\n" + transfer + "\r\n")
	default: // The transfer is sent when the setup is answered.
		s.clientSends(setup + "\r\n")
		s.w.settle()
		if len(s.out) > 0 && s.out[0].isSetup() && s.half == "" {
			s.agree(s.out[0], 0)
			s.w.settle()
		}
		if s.clientSilent() {
			s.orders = s.orders[:len(s.orders)-1]
			return true
		}
		if how/16%3 == 1 {
			s.doConnect(how)
			s.w.settle()
		}
		s.clientSends(transfer + "\r\n")
	}
	return true
}

// doRefused sends what the server must never see.
func (s *fuzzScene) doRefused(how int) bool {
	if s.clientSilent() || len(s.orders) > maxFuzzOrders {
		return false
	}
	lines := []string{
		"AUTH !no", "MODE !no", "SPSV !no", "LPRT !no", "SITE !no\x00", "SITE !no\rDELE !no", "!no",
		"PORT 198,51,100,66,19,137", "PORT 198,51,100,7,0,21", "EPRT |1|198.51.100.66|5001|", "EPSV 2", "EPSV !no",
		"PORT !no", "DELE !no" + strings.Repeat("x", 5000),
	}
	s.w.serial++
	o := &fuzzOrder{serial: s.w.serial, verb: "refused", line: lines[how%len(lines)], refused: true}
	s.orders = append(s.orders, o)
	s.clientSends(o.line + "\r\n")
	return true
}

// The server's replies.

func (s *fuzzScene) serverSends(text string) {
	s.w.say("server%s>  %q", s.name, text)
	s.server.write([]byte(text))
	s.active = time.Now()
}

func (s *fuzzScene) serverSilent() bool {
	return s.server.gone || s.server.fin || s.server.ended != nil
}

// final takes note of a final reply and of the commands that it answers.
func (s *fuzzScene) final(code int, text string) {
	o := s.out[0]
	s.out = s.out[1:]
	o.code, o.reply = code, strings.ReplaceAll(text, "\n", "\r\n")+"\r\n"
}

// doAnswer answers the oldest command.
func (s *fuzzScene) doAnswer(how int) bool {
	switch {
	case s.serverSilent():
		return false
	case s.half != "":
		s.serverSends(s.half)
		s.half = ""
		s.final(s.halfCode, s.halfText)
		return true
	case len(s.out) == 0:
		return false
	}
	o := s.out[0]
	if o.mute { // Only the barrier behind it is answered; that answers both.
		if len(s.out) < 2 {
			return false
		}
		s.out = s.out[1:]
		o = s.out[0]
	}
	if o.barrier {
		s.out = s.out[1:]
		s.serverSends("200 barrier\r\n")
		return true
	}
	if o.isSetup() {
		s.agree(o, how)
		return true
	}
	code := map[string]int{"RETR": 226, "LIST": 226, "STOR": 226, "XFER": 226, "ABOR": 226, "REST": 350,
		"QUIT": 221, "REIN": 220, "FEAT": 211, "STAT": 211}[o.verb]
	if code == 0 {
		code = 200
	}
	switch variant := how % 8; {
	case o.verb == "ABOR" && (len(s.out) > 1 || how/8%8 == 1): // An error could as well be the barrier's, and its own comes too late.
	case variant == 6:
		code = 550
	case variant == 7:
		code = 450
	case o.isTransfer() && o.aborted && variant < 4:
		code = 426
	}
	text := fmt.Sprintf("%d %s done", code, o.tag())
	switch how / 8 % 8 {
	case 0:
		text = fmt.Sprintf("%d-%s 227 (10,0,0,5,1,1)\n299 not yet\n\n%s", code, o.tag(), text)
		text = strings.ReplaceAll(text, "10,0,0,5", "1,2,3,4")
	case 1: // In two pieces.
		s.half = text[2:] + "\r\n"
	}
	if o.isTransfer() && len(s.out) > 1 && how/64 == 1 {
		s.out[1].mute = true // One reply for both.
	}
	if s.half != "" {
		s.halfCode, s.halfText = code, text
		s.serverSends(text[:2])
		return true
	}
	s.final(code, text)
	text = strings.ReplaceAll(text, "\n", "\r\n") + "\r\n"
	switch how / 8 % 8 { // More in the same segment.
	case 2:
		if len(s.out) == 0 {
			s.countUnasked()
			text += "299 unasked\r\n"
		}
	case 3:
		if len(s.out) == 1 && s.out[0].verb == "ABOR" && !s.out[0].mute {
			more := fmt.Sprintf("226 %s both", s.out[0].tag())
			s.final(226, more)
			text += more + "\r\n"
		}
	case 4:
		if o.isTransfer() && o.verb != "XFER" && !o.announced && code/100 == 2 {
			o.announced = true
			text = fmt.Sprintf("150 %s coming\r\n", o.tag()) + text
		}
	}
	s.serverSends(text)
	return true
}

// countUnasked notes a reply to no command. The fifth ends the session.
func (s *fuzzScene) countUnasked() {
	if s.unasked++; s.unasked >= maxUnasked {
		s.mayEnd("unasked")
	}
}

// agree answers a setup.
func (s *fuzzScene) agree(o *fuzzOrder, how int) {
	last := ""
	for _, line := range strings.Split(string(s.server.got[:s.seen]), "\r\n") {
		if line != "" {
			last, _, _ = strings.Cut(line, " ")
		}
	}
	code, text := 200, "ok"
	switch {
	case how%8 == 7:
		code, text = 500, "what?"
	case how%16 == 6:
		code, text = 425, "not now"
	case last == "PASV" && how%16 == 14:
		code, text = 227, "somewhere"
	case last == "PASV":
		code, text = 227, "Entering Passive Mode "+s.serverListens(o, how)
	case last == "EPSV":
		addr := netip.MustParseAddrPort(s.serverListens(o, -1))
		code, text = 229, fmt.Sprintf("Entering Extended Passive Mode (|||%d|)", addr.Port())
	}
	text = fmt.Sprintf("%d %s %s", code, o.tag(), text)
	if code/100 == 2 && text != "227 "+o.tag()+" somewhere" {
		s.data = o.data
		s.data.since = time.Now()
	}
	if code == 500 && o.verb[0] == 'E' && last == o.verb { // The other verb comes.
		s.out = s.out[1:]
	} else {
		s.final(code, text)
		if s.data != o.data {
			s.data, o.code = nil, 500
		}
	}
	s.serverSends(text + "\r\n")
}

// serverListens opens the server's data port and writes its address as a 227
// has it; a negative how as netip has it.
func (s *fuzzScene) serverListens(o *fuzzOrder, how int) string {
	l := s.w.listen(s.w.serverHost, "10.0.0.5")
	addr := netip.MustParseAddrPort(l.Addr().String())
	s.w.say("server%s-data: listen %d", s.name, addr.Port())
	d := o.data
	go s.w.acceptData(l, func(c *fuzzWire) { d.server = c })
	if how < 0 {
		return addr.String()
	}
	host := []string{"10.0.0.5", "0.0.0.0", "192.0.2.1", "10.0.0.5"}[how/16%4]
	return "(" + rewrite.FormatPORT(netip.AddrPortFrom(netip.MustParseAddr(host), addr.Port())) + ")."
}

func (s *fuzzScene) doPreliminary(how int) bool {
	if s.serverSilent() || s.half != "" || len(s.out) == 0 || s.out[0].barrier || s.out[0].mute {
		return false
	}
	o := s.out[0]
	if !o.isTransfer() && how%8 != 0 || o.verb == "XFER" && s.data == nil || o.isSetup() || o.verb == "ABOR" {
		return false
	}
	if o.verb == "XFER" && !o.announced {
		o.data, s.data = s.data, nil
		if d := o.data; time.Since(d.since) > 29*time.Second && (d.client == nil || d.server == nil) {
			o.data = nil // It was not used in time (H48).
		}
	}
	if o.isTransfer() {
		o.announced = true
	}
	s.serverSends(fmt.Sprintf("150 %s coming\r\n", o.tag()))
	return true
}

// doServerOdd is what a server should not do.
func (s *fuzzScene) doServerOdd(how int) bool {
	switch {
	case s.serverSilent() || s.half != "":
		return false
	case how%16 == 0:
		s.mayEnd("server said 421")
		for _, o := range s.orders {
			o.late = true
		}
		s.serverSends("421 going down\r\n")
	case how%16 == 1:
		s.mayEnd("server speaks no FTP")
		s.serverSends("garbage\r\n")
	case len(s.out) > 0:
		return false
	default:
		s.countUnasked()
		s.serverSends("299 unasked\r\n")
	}
	return true
}

func (s *fuzzScene) doServerEnd(how int) bool {
	if s.serverSilent() || how%4 != 0 {
		return false
	}
	s.mayEnd("server gone")
	switch how / 4 % 3 {
	case 0:
		s.w.say("server%s: close", s.name)
		s.server.close()
	case 1:
		s.w.say("server%s: reset", s.name)
		s.server.reset()
	case 2:
		s.w.say("server%s: half-close", s.name)
		s.server.halfClose()
	}
	return true
}

func (s *fuzzScene) doClientEnd(how int) bool {
	if s.clientSilent() || how%4 != 0 {
		return false
	}
	switch how / 4 % 3 {
	case 0:
		s.mayEnd("client gone")
		s.w.say("client%s: close", s.name)
		s.client.close()
	case 1:
		s.mayEnd("client gone")
		s.w.say("client%s: reset", s.name)
		s.client.reset()
	case 2:
		if s.rest != "" || s.cause != "" {
			return false
		}
		s.mayEnd("half-close")
		s.w.say("client%s: half-close", s.name)
		s.client.halfClose()
	}
	return true
}

// The data connections.

// listen opens the client's data port and returns the argument that says so.
func (s *fuzzScene) listen(o *fuzzOrder) string {
	ip := s.client.conn.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Addr()
	l := s.w.listen(s.w.clientHosts[s.name], ip.String())
	addr := netip.MustParseAddrPort(l.Addr().String())
	s.w.say("client%s-data: listen %d", s.name, addr.Port())
	d := o.data
	go s.w.acceptData(l, func(c *fuzzWire) { d.client = c })
	if o.verb == "EPRT" {
		return rewrite.FormatEPRT(addr)
	}
	return rewrite.FormatPORT(addr)
}

// doConnect connects the end that has to, or a stranger. Neither peer connects
// for a setup behind which it has said or heard of another.
func (s *fuzzScene) doConnect(how int) bool {
	if how%8 == 7 {
		if s.prepared == nil || s.prepared.clientAt == "" {
			return false
		}
		if c := s.w.dial(s.w.stranger, "stranger-data", s.prepared.clientAt, false); c != nil {
			c.write([]byte("stranger"))
			s.w.strangers = append(s.w.strangers, c)
		}
		return true
	}
	var said, heard *fuzzOrder
	for _, o := range s.orders {
		if o.isSetup() {
			said = o
			if o.forwarded {
				heard = o
			}
		}
	}
	switch {
	case said != nil && said.data != nil && said.data.clientAt != "" && said.data.client == nil && time.Since(said.data.agreed) < time.Second:
		said.data.client = s.w.dial(s.w.clientHosts[s.name], "client"+s.name+"-data", said.data.clientAt, how%4 == 3)
	case heard != nil && heard.data.serverAt != "" && heard.data.server == nil && s.stillWanted(heard.data) && !s.serverSilent():
		heard.data.server = s.w.dial(s.w.serverHost, "server"+s.name+"-data", heard.data.serverAt, how%4 == 3)
	default:
		return false
	}
	return true
}

// stillWanted tells whether the server has agreed on d and has not done with it.
func (s *fuzzScene) stillWanted(d *fuzzData) bool {
	return s.data == d || len(s.out) > 0 && s.out[0].data == d && s.out[0].isTransfer() && !s.out[0].aborted
}

// pairing is the data connection that events are about: the last that exists.
func (s *fuzzScene) pairing() *fuzzData {
	for i := len(s.orders) - 1; i >= 0; i-- {
		if d := s.orders[i].data; d != nil && (d.client != nil || d.server != nil) {
			return d
		}
	}
	return nil
}

func (d *fuzzData) end(how int) (w *fuzzWire, name string) {
	if how%2 == 0 {
		return d.server, "server"
	}
	return d.client, "client"
}

// sender is the end that should send, for events that shall make sense.
func (s *fuzzScene) sender(d *fuzzData, how int) (w *fuzzWire, name string) {
	for _, o := range s.orders {
		if o.data == d && o.isTransfer() && how%8 != 7 {
			if o.verb == "STOR" {
				return d.client, "client"
			}
			return d.server, "server"
		}
	}
	return d.end(how)
}

func (s *fuzzScene) doData(how int) bool {
	d := s.pairing()
	if d == nil {
		return false
	}
	end, name := s.sender(d, how)
	if end == nil || end.last || len(end.sent) > 300_000 {
		return false
	}
	n := []int{1, 100, 5000, 70_000}[how/8%4]
	s.w.serial++
	block := fmt.Sprintf("%s%s %d.", name, s.name, s.w.serial)
	s.w.say("%s%s-data> %q * %d", name, s.name, block, n/len(block)+1)
	end.write([]byte(strings.Repeat(block, n/len(block)+1)))
	return true
}

func (s *fuzzScene) doDataEnd(how int) bool {
	d := s.pairing()
	if d == nil {
		return false
	}
	end, name := s.sender(d, how)
	if how/8%8 >= 6 {
		end, name = d.end(how)
	}
	if end == nil || end.gone {
		return false
	}
	switch how / 8 % 8 {
	case 0, 1, 2:
		s.w.say("%s%s-data: half-close", name, s.name)
		end.halfClose()
	case 3, 4:
		if end.lazy { // It would be a reset, or not, as it happens.
			return false
		}
		s.w.say("%s%s-data: close", name, s.name)
		end.close()
	case 5, 7:
		d.resets = true
		s.w.say("%s%s-data: reset", name, s.name)
		end.reset()
	case 6:
		if !end.lazy {
			d.resets = true
			s.w.say("%s%s-data: close", name, s.name)
			end.close()
			return true
		}
		s.w.say("%s%s-data: start-reading", name, s.name)
		end.startReading()
	}
	return true
}

// Time, and the end of it.

func (s *fuzzScene) doWait(how int) bool {
	d := []time.Duration{50 * time.Millisecond, 1100 * time.Millisecond, 2100 * time.Millisecond, 3500 * time.Millisecond,
		6 * time.Second, 31 * time.Second, 61 * time.Second, 5 * time.Minute}[how%8]
	if d > 5*time.Second && how/8%2 == 0 {
		d = 500 * time.Millisecond
	}
	s.w.wait(d)
	return true
}

func (s *fuzzScene) doDrain(how int) bool {
	if how%8 != 0 || s.w.drained != nil {
		return false
	}
	for _, s := range s.w.scenes {
		s.mayEnd("drain")
	}
	s.w.drain()
	return true
}

func passiveTarget(text string) string {
	a, err := rewrite.ParsePASV(text)
	if err != nil {
		panic(fuzzFault{fmt.Sprintf("the client hears %q: %v", text, err)})
	}
	return a.String()
}

// activeTarget is the address that the server is told, which must be ours.
func activeTarget(verb, arg string) string {
	parse := rewrite.ParsePORT
	if verb == "EPRT" {
		parse = rewrite.ParseEPRT
	}
	a, err := parse(arg)
	if err != nil || a.Addr() != netip.MustParseAddr("10.0.0.2") || a.Port() != 31000 && a.Port() != 31001 {
		panic(fuzzFault{fmt.Sprintf("the server is told %s %s", verb, arg)})
	}
	return a.String()
}

// dial connects without waiting; nil where nobody listens.
func (w *fuzzWorld) dial(from fuzzHost, name, to string, lazy bool) *fuzzWire {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := from.Dial(ctx, netip.Addr{}, netip.MustParseAddrPort(to))
	if err != nil {
		w.say("%s: refused", name)
		return nil
	}
	w.say("%s: connect", name)
	if lazy {
		w.say("%s: stop-reading", name)
	}
	return w.wire(conn, lazy)
}
