package ftptest

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing/synctest"
	"time"
)

// step does what s says and fails where it expects something else.
func (r *run) step(s *step) {
	r.tb.Helper()
	switch s.verb {
	case "login":
		r.login(s)
	case "wait":
		<-time.After(s.wait)
	case "network":
		r.network.SetBuffer(s.number)
	case "log":
		if !r.logs.has(s.message, s.fields) {
			r.fail(s, "no such line in the log")
		}
	case "no-log":
		if s.raw && strings.Contains(r.logs.String(), s.bytes) || !s.raw && r.logs.has(s.message, s.fields) {
			r.fail(s, "it is in the log")
		}
	case "reload":
		r.reload(s)
	case "drain":
		if r.stopped != nil {
			r.fail(s, "the proxy is draining")
		}
		r.startStop()
	case "draining":
		if r.stopped == nil || r.hasStopped() {
			r.fail(s, "the proxy is not draining")
		}
	case "drained":
		if !r.hasStopped() {
			r.fail(s, "the proxy has not stopped")
		}
	case "connect", "connect6", "refused":
		r.connect(s)
	case "listen":
		r.listen(s)
	case "refuse":
		if l := r.listeners[s.who]; l != nil {
			l.Close()
			delete(r.listeners, s.who)
		}
	case "accept":
		r.accept(s)
	case "refuse-dials":
		r.refuseDials(s)
	case "accept-dials":
		r.listenControl(s.server())
	case "drop-dials", "answer-dials":
		r.machine(s).DropDials(s.verb == "drop-dials")
	case "silent":
		r.silent(s)
	default:
		r.speak(s, r.peer(s))
	}
}

// reload changes the configuration, or expects that it cannot be changed so.
func (r *run) reload(s *step) {
	r.tb.Helper()
	if r.program.Reload == nil {
		r.fail(s, "this proxy keeps its configuration")
	}
	err := r.program.Reload(s.changes)
	switch {
	case err != nil && s.refused == "":
		r.fail(s, "refused: %v", err)
	case err == nil && s.refused != "":
		r.fail(s, "not refused")
	case err != nil && !strings.Contains(err.Error(), s.refused):
		r.fail(s, "refused otherwise: %v", err)
	}
}

// speak does the steps that need a connection.
func (r *run) speak(s *step, p *peer) {
	r.tb.Helper()
	switch s.verb {
	case ">":
		p.write([]byte(s.bytes))
	case "<":
		r.receive(s, p)
	case "eof", "gone", "closed":
		r.ended(s, p)
	case "urgent":
		news := p.takeUrgent()
		if len(news) == 0 {
			r.fail(s, "nothing urgent")
		}
		if got := string(slices.Concat(news...)); s.raw && got != s.bytes {
			r.fail(s, "urgent was %q", got)
		}
	case "discard":
		p.expect(len(p.unexpected()))
	case "half-close":
		p.halfClose()
	case "close":
		p.close()
	case "reset":
		p.reset()
	case "stop-reading":
		p.stopReading()
	case "start-reading":
		p.startReading()
	}
}

// receive expects bytes or a line.
func (r *run) receive(s *step, p *peer) {
	r.tb.Helper()
	got := p.unexpected()
	if s.raw {
		if !strings.HasPrefix(string(got), s.bytes) {
			r.fail(s, "want %s\n got %s", quote([]byte(s.bytes)), r.got(p, got))
		}
		p.expect(len(s.bytes))
		return
	}
	l := line(got)
	text, whole := strings.CutSuffix(string(l), "\r\n")
	if !whole || text != s.bytes && !(s.open && strings.HasPrefix(text, s.bytes)) {
		r.fail(s, "want a line %q\n got %s", s.bytes, r.got(p, l))
	}
	if from, to := p.expect(len(l)); !s.who.data && !p.conn.inOnePiece(from, to) {
		r.fail(s, "the line did not come in one write")
	}
}

// got describes what came instead of something else.
func (r *run) got(p *peer, b []byte) string {
	if len(b) > 0 {
		return quote(b)
	}
	if end, _ := p.ended(); end != nil {
		return "nothing: " + endName(end)
	}
	return "nothing"
}

// ended expects the end of a connection.
func (r *run) ended(s *step, p *peer) {
	r.tb.Helper()
	if b := p.unexpected(); len(b) > 0 {
		r.fail(s, "got %s", quote(b))
	}
	end, _ := p.ended()
	kind, _, _ := strings.Cut(endName(end), ":")
	if kind != s.verb && !(s.verb == "closed" && (kind == "eof" || kind == "gone")) {
		r.fail(s, "the connection is %s", endName(end))
	}
	p.expectEnd()
}

// silent expects that nothing more has happened to a connection, or that
// nobody has connected.
func (r *run) silent(s *step) {
	r.tb.Helper()
	for _, l := range r.waiting(s.who) {
		if l.pending() > 0 {
			r.fail(s, "somebody connected to %v", l.Addr())
		}
	}
	p := r.peers[s.who]
	if p == nil {
		return
	}
	if b := p.unexpected(); len(b) > 0 {
		r.fail(s, "got %s", quote(b))
	}
	if end, known := p.ended(); end != nil && !known && !errors.Is(end, net.ErrClosed) {
		r.fail(s, "the connection is %s", endName(end))
	}
}

// login does what the login macro stands for.
func (r *run) login(s *step) {
	r.tb.Helper()
	client, server := s.who, name{role: "server", session: s.who.session}
	for _, m := range []step{
		{who: client, verb: "connect", source: s.source, target: s.target},
		{who: server, verb: "accept"},
		{who: server, verb: ">", bytes: "220 ready\r\n"},
		{who: client, verb: "<", bytes: "220 ready"},
		{who: client, verb: ">", bytes: "USER anna\r\n"},
		{who: server, verb: "<", bytes: "USER anna"},
		{who: server, verb: ">", bytes: "331 password\r\n"},
		{who: client, verb: "<", bytes: "331 password"},
		{who: client, verb: ">", bytes: "PASS secret\r\n"},
		{who: server, verb: "<", bytes: "PASS secret"},
		{who: server, verb: ">", bytes: "230 logged in\r\n"},
		{who: client, verb: "<", bytes: "230 logged in"},
	} {
		m.line, m.text = s.line, s.text+" ("+m.who.String()+" "+m.verb+")"
		r.step(&m)
		synctest.Wait()
	}
}

// connect dials, and expects to succeed or to be refused.
func (r *run) connect(s *step) {
	r.tb.Helper()
	source, target := r.route(s)
	c, dropped, err := r.network.Host(source).connect(netip.AddrPortFrom(source, 0), target, false)
	switch {
	case dropped:
		r.fail(s, "%v does not answer", target)
	case s.verb == "refused" && errors.Is(err, syscall.ECONNREFUSED):
		r.events.add(s.who, "refused by %v", target)
	case s.verb == "refused" && err == nil:
		c.Close()
		r.fail(s, "%v accepts", target)
	case err != nil:
		r.fail(s, "connect to %v: %v", target, err)
	default:
		r.events.add(s.who, "%v", c)
		r.add(s.who, c)
	}
}

// route returns where a connect step dials from and to.
func (r *run) route(s *step) (source netip.Addr, target netip.AddrPort) {
	r.tb.Helper()
	source, target = s.source, s.target
	v6 := s.verb == "connect6"
	switch {
	case target.IsValid():
		v6 = target.Addr().Is6()
	case s.who.data:
		var ok bool
		if target, ok = dataTarget(r.control(s)); !ok {
			r.fail(s, "nobody told %v where to connect to", r.control(s).name)
		}
		v6 = target.Addr().Is6()
	case v6 || source.Is6():
		v6, target = true, frontend6
	default:
		target = frontend
	}
	if source.IsValid() {
		return source, target
	}
	if s.who.data && s.who.role != "stranger" {
		if source = r.control(s).conn.local.Addr(); source.Is6() == v6 {
			return source, target
		}
	}
	if s.who.role == "server" {
		source, _ = r.control(s).conn.host.source(target.Addr())
		return source, target
	}
	source, source6 := callerAddrs(s.who)
	if v6 {
		source = source6
	}
	return source, target
}

// listen listens for data connections.
func (r *run) listen(s *step) {
	r.tb.Helper()
	addr := s.target
	if !addr.IsValid() {
		addr = netip.AddrPortFrom(r.control(s).conn.local.Addr(), uint16(s.number))
	}
	if old := r.listeners[s.who]; old != nil {
		if old.pending() > 0 {
			r.fail(s, "somebody connected to %v, and no step accepted it", old.Addr())
		}
		old.Close()
	}
	l, err := r.network.Host(addr.Addr()).Listen(addr)
	if err != nil {
		r.fail(s, "%v", err)
	}
	r.listeners[s.who] = l.(*Listener)
}

// accept expects that somebody has connected.
func (r *run) accept(s *step) {
	r.tb.Helper()
	listeners := r.waiting(s.who)
	if len(listeners) == 0 && s.who.number > 1 {
		first := s.who
		first.number = 1
		listeners = r.waiting(first)
	}
	for _, l := range listeners {
		if s.at.IsValid() && s.at != l.addr.Addr() {
			continue
		}
		c := l.tryAccept()
		if c == nil {
			continue
		}
		r.events.add(s.who, "%v", c)
		r.add(s.who, c)
		if s.source.IsValid() && s.source != c.remote.Addr() {
			r.fail(s, "the connection comes from %v", c.remote)
		}
		return
	}
	r.fail(s, "nobody has connected")
}

// refuseDials ends listening on a server's control port.
func (r *run) refuseDials(s *step) {
	r.tb.Helper()
	for _, l := range r.servers {
		if l.addr.Addr() == s.server() {
			l.Close()
			r.forget(l)
			return
		}
	}
	r.fail(s, "%v does not listen", s.server())
}

// server returns the server that s is about.
func (s *step) server() netip.Addr {
	if s.at.IsValid() {
		return s.at
	}
	return server1
}

// machine returns the host that s is about.
func (r *run) machine(s *step) *Host {
	if s.at.IsValid() {
		return r.network.Host(s.at)
	}
	if p := r.peers[s.who.control()]; p != nil {
		return p.conn.host
	}
	if s.who.role == "server" {
		return r.network.Host(server1)
	}
	ipv4, _ := callerAddrs(s.who)
	return r.network.Host(ipv4)
}
