package proxy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/rewrite"
)

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
	s.moveOn(o.isSetup() || verb == "REIN")
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
		if len(s.out) > 0 && s.out[0].isSetup() && !s.out[0].barrier && s.half == "" {
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
	s.relayed = time.Now()
	o.code, o.reply = code, strings.ReplaceAll(text, "\n", "\r\n")+"\r\n"
	switch d := o.data; {
	case !o.isTransfer() || d == nil || o.verb == "XFER" && !o.announced:
	case code/100 >= 4 && !o.announced && !o.aborted && !ftp.EndsData(code):
		s.data, d.since = d, time.Now() // A refused transfer ends nothing.
	default:
		d.serverDone()
	}
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
		code := map[string]string{"NOOP": "200", "ABOR": "226", "PORT": "200", "EPRT": "200"}[o.verb]
		if how%4 == 3 && (o.verb == "PORT" || o.verb == "EPRT") {
			code = "501"
		}
		s.serverSends(code + " barrier\r\n")
		return true
	}
	if o.isSetup() {
		s.agree(o, how)
		return true
	}
	if o.isTransfer() && o.announced && o.aborted && len(s.out) > 1 && s.out[1].verb == "ABOR" && how/64 == 2 { // ABOR first, as ProFTPD.
		s.out[0], s.out[1] = s.out[1], o
		o.second = true
		o = s.out[0]
	}
	code := map[string]int{"RETR": 226, "LIST": 226, "STOR": 226, "XFER": 226, "ABOR": 226, "REST": 350,
		"QUIT": 221, "REIN": 220, "FEAT": 211, "STAT": 211}[o.verb]
	if code == 0 {
		code = 200
	}
	switch variant := how % 8; {
	case o.second:
		code = 426
	case o.verb == "ABOR" && (len(s.out) > 1 || how/8%8 == 1): // An error could as well be the barrier's, and its own comes too late.
	case variant >= 6 && o.verb == "ABOR":
		code = 502 // Others are a transfer's (RFC 959 §5.4).
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
	if o.isTransfer() && len(s.out) > 1 && !s.out[1].barrier && how/64 == 1 {
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
			s.countUnsolicited()
			text += "299 unsolicited\r\n"
		}
	case 3:
		if len(s.out) == 1 && s.out[0].verb == "ABOR" && !s.out[0].mute {
			more := fmt.Sprintf("226 %s both", s.out[0].tag())
			s.final(226, more)
			text += more + "\r\n"
		}
	case 4:
		if o.isTransfer() && o.verb != "XFER" && !o.announced && code/100 == 2 {
			s.announce(o)
			text = fmt.Sprintf("150 %s coming\r\n", o.tag()) + text
		}
	}
	s.serverSends(text)
	return true
}

// countUnsolicited notes a reply to no command. The fifth ends the session, at the latest where
// none is forgiven.
func (s *fuzzScene) countUnsolicited() {
	if s.unsolicited++; s.unsolicited >= maxUnsolicited {
		s.mayEnd("unsolicited")
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
		s.announce(o)
	}
	s.relayed = time.Now()
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
		if len(s.out) > 0 && !s.out[0].isTransfer() { // It could be the answer: see h88-answered-without-code.
			return false
		}
		s.serverSends([]string{"garbage\r\n", "garbage from 10.0.0.5\r\n", "\x00 227garbage (10,0,0,5,1,1)\r\n",
			"garbage\n\r\x00\xff\xf1\r\n"}[how/16%4])
	case len(s.out) > 0:
		return false
	default:
		s.countUnsolicited()
		s.serverSends("299 unsolicited\r\n")
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
		s.moveOn(true)
		s.w.say("client%s: close", s.name)
		s.client.close()
	case 1:
		s.mayEnd("client gone")
		s.moveOn(true)
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
