package portpool

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// What is said on a control connection.
type verb string

const (
	pasv verb = "PASV"
	retr verb = "RETR"
	noop verb = "NOOP"
	abor verb = "ABOR"
	quit verb = "QUIT"
)

type command struct {
	verb  verb
	acked int // how many replies the client's kernel had acknowledged when it came
}

type reply struct {
	code    int      // 0: the end of the control connection
	promise *promise // of a 227
}

// A session is a small model of what package proxy does with its leases.
type session struct {
	*world
	id      int
	request Request // but for the address to listen on
	from    netip.Addr
	client  *client
	proxied bool // a proxy is between: the client's FIN says nothing of its attempts

	in         []command
	lastOut    time.Time // when the last reply is there
	written    int
	acked      int
	pipelines  bool // the client has sent a command before it was answered
	over       bool
	waiting    context.CancelFunc // for a port
	current    *promise
	unmet      []*promise // promised, closed and not met
	tellSoon   []*promise // with the next reply
	conn       *modelConn
	connFor    *promise // whose conn it is
	transfer   *transfer
	acceptLate bool
}

// A transfer is a RETR that the server has not answered finally.
type transfer struct {
	begun    bool // 150 was written
	finished bool
}

// receive is a command that reaches us.
func (s *session) receive(v verb, heard int) {
	if s.over {
		return
	}
	s.acked = max(s.acked, heard) // Every segment acknowledges.
	if v != abor && (s.transfer != nil || s.waiting != nil || len(s.in) > 0) {
		s.pipelines = true
	}
	s.in = append(s.in, command{v, s.acked})
	s.step()
}

// step takes up commands.
func (s *session) step() {
	for len(s.in) > 0 && !s.over && s.waiting == nil {
		c := s.in[0]
		if s.transfer != nil && c.verb != abor {
			return
		}
		s.in = s.in[1:]
		s.note("session %d reads %s", s.id, c.verb)
		s.takeUp(c)
	}
}

// movesOn tells whether a command is the client's answer to what it was told by reply
// n: the client has done with it. A command that came before the last reply was
// acknowledged is no answer to it, ABOR and NOOP are sent without waiting for one, and
// neither are the commands of a client that pipelines.
func (s *session) movesOn(c command, n int) bool {
	switch {
	case n == 0 || c.acked < n:
		return false
	case *modelBrief:
		return true
	}
	return !s.pipelines && c.acked == s.written && c.verb != abor && c.verb != noop && c.verb != quit
}

func (s *session) takeUp(c command) {
	for _, p := range s.owing() {
		if c.verb == pasv && s.movesOn(c, p.reply) || s.movesOn(c, p.final) {
			s.forget(p, p.moveOn)
		}
	}
	switch c.verb {
	case pasv:
		s.doPASV()
	case retr:
		s.doRETR()
	case noop:
		s.write(reply{code: 200})
	case abor:
		s.doABOR()
	case quit:
		s.write(reply{code: 221})
		s.leave((*promise).tell)
	}
}

// endConn closes the data connection, with a reset if it is not whole.
func (s *session) endConn(whole bool) {
	if s.conn == nil {
		return
	}
	p := s.connFor
	if whole {
		p.heard = true
		p.lease.Heard()
	}
	p.closedAt = time.Now()
	s.conn.Close()
	p.lease.Close()
	s.conn, s.connFor = nil, nil
}

// owing is the promises that no connection has met.
func (s *session) owing() []*promise {
	all := slices.Clone(s.unmet)
	if s.current != nil && s.current.owed() {
		all = append(all, s.current)
	}
	return all
}

// forget ends a promise for good, by Told or MovedOn.
func (s *session) forget(p *promise, how func()) {
	how()
	if p == s.current {
		s.current = nil
		s.unmet = append(s.unmet, p)
	}
	if !p.moved.IsZero() {
		s.unmet = slices.DeleteFunc(s.unmet, func(o *promise) bool { return o == p })
	}
}

// drop closes what the session has, before it asks for more.
func (s *session) drop() {
	s.endConn(false)
	if p := s.current; p != nil {
		s.current = nil
		owed := p.owed()
		if p.close(); owed && !p.met {
			s.unmet = append(s.unmet, p)
			s.tellSoon = append(s.tellSoon, p)
		}
	}
}

func (s *session) doPASV() {
	s.drop()
	s.tellSoon = append(s.tellSoon, s.unmet...)
	r := s.request
	s.waiting = s.ask(r, s, func(p *promise) {
		s.waiting = nil
		switch {
		case p == nil && s.over:
			return
		case p == nil:
			s.write(reply{code: 425})
		case s.over:
			p.giveUp()
			return
		case s.chance(3): // The server refuses its part.
			p.giveUp()
			s.write(reply{code: 425})
		default:
			s.promised(p)
		}
		for _, old := range s.tellSoon {
			if old.told.IsZero() && old.moved.IsZero() {
				old.final = s.written
				old.tell()
			}
		}
		s.tellSoon = nil
		s.step()
	})
}

func (s *session) promised(p *promise) {
	s.current = p
	p.promise()
	s.write(reply{227, p})
	p.reply = s.written
	s.acceptLate = s.chance(20)
	if !s.acceptLate {
		p.accept(func(c *modelConn) { s.came(p, c) })
	}
	s.after(dataConnect, func() {
		if p.peek(); s.over || s.current != p || !p.waits() {
			return
		}
		switch t := s.transfer; {
		case t == nil:
			s.silence(p)
		case t.begun:
			s.finish(t, 425)
		default:
			s.silence(p)
			s.finish(t, 425)
		}
	})
}

func (s *session) silence(p *promise) {
	s.current = nil
	s.unmet = append(s.unmet, p)
	p.beSilent()
}

// came is the connection of the current promise.
func (s *session) came(p *promise, c *modelConn) {
	if s.over || s.current != p {
		p.closedAt = time.Now()
		c.Close()
		p.lease.Close()
		return
	}
	s.conn, s.connFor = c, p
	if s.transfer != nil {
		s.carry(s.transfer)
	}
}

func (s *session) doRETR() {
	p := s.current
	if p == nil {
		s.write(reply{code: 425})
		return
	}
	if s.chance(15) { // That ends nothing.
		s.write(reply{code: 550})
		return
	}
	t := &transfer{}
	s.transfer = t
	if s.acceptLate {
		s.acceptLate = false
		p.accept(func(c *modelConn) { s.came(p, c) })
	}
	if s.chance(70) {
		s.begin(t)
	}
	if s.conn != nil {
		s.carry(t)
	} else if s.chance(15) {
		s.after(s.span(10*time.Second), func() {
			if s.conn == nil && !t.finished {
				s.finish(t, 426)
			}
		})
	}
}

func (s *session) begin(t *transfer) {
	if !t.begun {
		t.begun = true
		s.write(reply{code: 150})
	}
}

// carry moves the data.
func (s *session) carry(t *transfer) {
	s.begin(t)
	s.after(s.span(5*time.Second), func() {
		if !t.finished {
			s.finish(t, 226)
		}
	})
}

// finish is the server's final reply.
func (s *session) finish(t *transfer, code int) {
	if t.finished = true; s.over {
		return
	}
	s.transfer = nil
	if s.conn != nil {
		s.endConn(code == 226)
		s.current = nil
	}
	s.write(reply{code: code})
	if t.begun {
		s.tellAll()
	}
	s.step()
}

// tellAll is done when a reply was written that says that nobody waits.
func (s *session) tellAll() {
	for _, p := range s.owing() {
		if p.final == 0 {
			p.final = s.written
		}
		s.forget(p, p.tell)
	}
	if s.current != nil { // Its connection is here, and nobody took it.
		s.current.close()
		s.current = nil
	}
}

func (s *session) doABOR() {
	if s.conn != nil {
		s.endConn(false)
		s.current = nil
	}
	if s.transfer != nil {
		s.transfer.finished = true
		s.transfer = nil
	}
	s.write(reply{code: 226})
	s.tellAll()
}

// evict is what the pool asks for, with its lock held.
func (s *session) evict() {
	s.post(0, func() {
		for _, p := range s.unmet {
			if p.silent {
				p.evicted = true
			}
		}
		if s.over {
			return
		}
		s.note("session %d is asked to leave", s.id)
		s.after(s.span(50*time.Millisecond), func() {
			if !s.over {
				s.write(reply{code: 421})
				s.leave((*promise).tell)
			}
		})
	})
}

// write sends a reply. It is acknowledged when the client's kernel has it.
func (s *session) write(r reply) {
	s.written++
	n := s.written
	s.note("session %d writes %d", s.id, r.code)
	s.send(func() {
		s.client.hears(r)
		s.after(s.delay(), func() { s.acked = max(s.acked, n) })
	})
}

// send does something at the client's kernel, in order.
func (s *session) send(do func()) {
	at := time.Now().Add(s.delay())
	if s.chance(5) { // It is lost, and sent again.
		at = at.Add(s.span(3 * time.Second))
	}
	if at.Before(s.lastOut) {
		at = s.lastOut
	}
	s.lastOut = at
	s.after(time.Until(at), do)
}

// ends is what the client's FIN or RST does.
func (s *session) ends() {
	if s.over {
		return
	}
	if s.proxied {
		s.leave((*promise).tell)
	} else {
		s.leave((*promise).moveOn)
	}
}

// lost is a control connection that ended in another way.
func (s *session) lost() {
	if s.over {
		return
	}
	s.leave((*promise).tell)
}

// leave ends the session.
func (s *session) leave(how func(*promise)) {
	s.note("session %d is over", s.id)
	s.over = true
	if s.waiting != nil {
		s.waiting()
	}
	s.endConn(false)
	for _, p := range s.owing() {
		how(p)
	}
	if s.current != nil {
		s.current.close()
		s.current = nil
	}
	delete(s.sessions, s)
	s.send(func() { s.client.hears(reply{}) })
}

// identify sets how connections are told apart.
func (s *session) identify() {
	r := &s.request
	type alike struct{ header, prove bool }
	how := alike{s.proxied, s.chance(25)}
	r.Alike = how
	if how.header {
		r.Through = []netip.Prefix{proxy}
		r.Header = func(c net.Conn) (net.Conn, netip.Addr, error) { return c.(*modelConn).header() }
	}
	if how.prove {
		r.Prove = func(c net.Conn) (net.Conn, uint64, error) { return c.(*modelConn).prove() }
	}
}
