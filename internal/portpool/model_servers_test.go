package portpool

import (
	"context"
	"net/netip"
	"time"
)

// A serverSession is a session's other side: a server that is told an inside port and
// dials it from port 20, so that one port is one connection. Its replies come in
// order; its final reply is its moving on.
type serverSession struct {
	*world
	request Request
	over    bool
	waiting context.CancelFunc
	promise *promise
	conn    *modelConn
	attempt *attempt
	lastOut time.Time
}

var modelServer = netip.MustParseAddr("10.0.0.5")

// arriveServer begins a session with the server.
func (w *world) arriveServer() {
	if w.at() > w.end {
		return
	}
	w.owners++
	s := &serverSession{world: w}
	s.request = Request{
		Local: netip.MustParseAddr("10.0.0.1"), Ports: Range{41000, 41001},
		Peer: netip.PrefixFrom(modelServer, 32), Owner: w.owners, Hold: true,
	}
	if w.chance(20) {
		s.request.Local = netip.IPv4Unspecified()
	}
	w.servers[s] = struct{}{}
	w.tally.sessions++
	s.cycle()
}

func (s *serverSession) rest() {
	s.after(s.span(10*time.Second), func() {
		switch {
		case s.over:
		case s.chance(5) || s.at() > s.end:
			s.lost()
		default:
			s.cycle()
		}
	})
}

// cycle is a PORT and its transfers.
func (s *serverSession) cycle() {
	s.waiting = s.ask(s.request, nil, func(p *promise) {
		s.waiting = nil
		switch {
		case p == nil:
			s.rest()
		case s.over:
			p.giveUp()
		default:
			s.promise = p
			p.promise()
			p.accept(func(c *modelConn) {
				if s.over || s.promise != p {
					c.Close()
					p.close()
					return
				}
				s.conn = c
			})
			s.command(s.transfer)
		}
	})
}

// command does something at the server, later.
func (s *serverSession) command(do func()) { s.after(s.delay(), do) }

// reply does something here, in the order of the server's replies.
func (s *serverSession) reply(do func()) {
	at := time.Now().Add(s.delay())
	if s.chance(5) {
		at = at.Add(s.span(3 * time.Second))
	}
	if at.Before(s.lastOut) {
		at = s.lastOut
	}
	s.lastOut = at
	s.after(time.Until(at), func() {
		if !s.over {
			do()
		}
	})
}

// transfer is RETR at the server.
func (s *serverSession) transfer() {
	p := s.promise
	if s.over || p == nil {
		return
	}
	if s.chance(15) { // Refused: the next transfer may use the same address.
		s.reply(func() {
			if s.chance(50) {
				s.command(s.transfer)
				return
			}
			s.finish(p)
		})
		return
	}
	a := &attempt{world: s.world, promise: p, from: modelServer, to: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), p.lease.Addr().Port())}
	s.attempt = a
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		a.close() // It has given up before its reply leaves.
		s.reply(func() { s.finish(p) })
	}
	a.failed = func() { s.after(s.span(time.Second), end) }
	d := s.span(100 * time.Millisecond)
	if s.chance(30) {
		d = s.span(20 * time.Second)
	}
	s.after(d, a.open)
	s.after(d+s.span(40*time.Second), end)
	if s.chance(30) { // The session has no patience.
		s.after(s.span(dataConnect), func() {
			if !s.over && s.promise == p && p.waits() {
				p.close()
			}
		})
	}
}

// finish is the server's final reply, read.
func (s *serverSession) finish(p *promise) {
	if s.promise != p {
		return
	}
	s.promise = nil
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	p.moveOn()
	s.rest()
}

// lost is the end of the server's control connection.
func (s *serverSession) lost() {
	if s.over {
		return
	}
	s.over = true
	delete(s.servers, s)
	if s.waiting != nil {
		s.waiting()
	}
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	if p := s.promise; p != nil {
		p.tell()
	}
	if a := s.attempt; a != nil {
		s.after(s.span(25*time.Second), a.close)
	}
	s.after(s.span(time.Minute), func() { s.arriveServer() })
}
