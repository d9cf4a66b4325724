package proxy

import (
	"errors"
	"io"
	"slices"
	"syscall"

	"ftproxy/internal/portpool"
	"ftproxy/internal/tcp"
)

// A data port that a peer was told of is a promise: the peer may be on its way
// to it, and nobody else may be given that way before it is known that the peer
// is not. The session tells the port pool what it knows of that: that the peer
// has moved on, or was told that nobody waits
// (docs/decisions/0004-whose-a-connection-is.md).

// A promise is a port that the client was told of and whose connection was not
// there yet when that was last looked at.
type promise struct {
	lease *portpool.Lease
	// told: the client heard since that nobody waits.
	told bool
	// silent: it had the time that it was promised, and let it pass.
	silent bool
	// mark counts what had been read from the client when the last word about the
	// promise was written to it; -1: it is not written yet. A command that was read
	// before proves nothing.
	mark int
}

// A serverPromise is a port that the server was told of.
type serverPromise struct {
	lease *portpool.Lease
	// asked: it was sent a command that may use the port.
	asked bool
}

// promises are the ports that a session's peers were told of.
type promises struct {
	client []promise
	server []serverPromise
	// pipelines: the client has sent a command before it was answered.
	pipelines bool
	evict     chan struct{} // asks the session to leave; nil: it never promised anything
	asked     bool          // it was asked, and is to look again when it has nothing to do
}

// evictor is what the port pool calls when others need the port of a silent client.
func (p *promises) evictor() func() {
	if p.evict == nil {
		p.evict = make(chan struct{}, 1)
	}
	evict := p.evict
	return func() {
		select {
		case evict <- struct{}{}:
		default:
		}
	}
}

// promiseClient is called when the reply that names the port is about to be written.
func (s *session) promiseClient(l *portpool.Lease) {
	l.Promise()
	s.promises.client = append(s.promises.client, promise{lease: l, mark: -1})
}

// promiseServer is called before the command that names the port is written.
func (s *session) promiseServer(l *portpool.Lease) {
	l.Promise()
	if !slices.ContainsFunc(s.promises.server, func(p serverPromise) bool { return p.lease == l }) {
		s.promises.server = append(s.promises.server, serverPromise{lease: l})
	}
}

// expectServer is called before a command is sent that may use a data connection.
func (s *session) expectServer() {
	if n := len(s.promises.server); n > 0 {
		s.promises.server[n-1].asked = true
	}
}

// forgetMet forgets the promises whose connection has come.
func (s *session) forgetMet() {
	s.promises.client = slices.DeleteFunc(s.promises.client, func(p promise) bool { return !p.lease.Unmet() })
}

// tell says that a reply that is about to be written tells the client that nobody
// waits for its connection.
func (p *promise) tell() {
	if !p.told {
		p.told, p.silent, p.mark = true, false, -1
		p.lease.Told()
	}
}

// tellUnmet does so for all that the client was promised. The reply to a command that
// made these void is one, too: if the command came too early to prove anything, the
// next one does.
func (s *session) tellUnmet() {
	s.forgetMet()
	for i := range s.promises.client {
		s.promises.client[i].tell()
	}
}

// markPromises is called after replies were written to the client.
func (s *session) markPromises() {
	for i := range s.promises.client {
		if p := &s.promises.client[i]; p.mark < 0 {
			p.mark = s.client.filled()
			if tcp.Unread(s.client.conn) > 0 {
				p.mark++ // Nor does what the kernel has already.
			}
		}
	}
}

// movedOn takes a command for what it says of the client's promises: the client that
// was told that nobody waits, or that asks for another data connection (setup), has
// ended its attempt, if it knew when it sent the command. It knew if its kernel has
// our reply and the command came after that, unless it crossed the reply on its way. That
// is so with what clients say during a transfer, and with clients that do not wait for
// replies: their commands prove nothing. fill is when the command was read.
func (s *session) movedOn(verb string, fill int, setup bool) {
	if len(s.promises.client) == 0 || s.promises.pipelines || verbs[verb].has(crosses) {
		return
	}
	s.forgetMet()
	if len(s.promises.client) == 0 {
		return
	}
	proves := func(p promise) bool { return p.mark >= 0 && fill > p.mark && (p.told || setup) }
	if !slices.ContainsFunc(s.promises.client, proves) {
		return
	}
	if waiting, _ := tcp.Unacknowledged(s.client.conn); waiting > 0 { // What cannot tell has no such delay.
		return
	}
	s.promises.client = slices.DeleteFunc(s.promises.client, func(p promise) bool {
		if proves(p) {
			p.lease.MovedOn()
			return true
		}
		return false
	})
}

// hearEarly notes a client that says something before it was answered.
func (s *session) hearEarly(verb string) {
	if !verbs[verb].has(crosses) {
		s.promises.pipelines = true
	}
}

// serverMovedOn is called while no command is under way: the server has finally
// answered all of them, so it does not connect any more to what it was told, except to
// what was agreed on last.
func (s *session) serverMovedOn() {
	if len(s.promises.server) == 0 {
		return
	}
	var next *portpool.Lease
	if s.data != nil {
		if leg, ok := s.data.server.(listenLeg); ok {
			next = leg.lease
		}
	}
	s.promises.server = slices.DeleteFunc(s.promises.server, func(p serverPromise) bool {
		switch {
		case p.lease == next:
			return false
		case p.asked:
			p.lease.MovedOn()
		default: // It dials for a transfer, or (pyftpdlib) at once, and has done so then.
			p.lease.Withdraw()
		}
		return true
	})
}

// silence ends the promises that the client has let pass.
func (s *session) silence() {
	for i := range s.promises.client {
		p := &s.promises.client[i]
		p.silent = !p.told
		p.lease.Silent()
	}
}

// onEvicted ends the session for others of its client's address, who wait for the
// port that it was promised and never used.
func (s *session) onEvicted() error {
	if s.wait != nil || len(s.client.queue) > 0 { // What waits may tell more, or be the one that asks.
		s.promises.asked = true
		return nil
	}
	s.promises.asked = false
	s.forgetMet()
	if !slices.ContainsFunc(s.promises.client, func(p promise) bool { return p.silent }) {
		return nil // It has moved on meanwhile.
	}
	return &ending{reason: endPortUnused, text: "Data port not used, and others wait for it."}
}

// endPromises tells the port pool of the end of a session, whose last reply is
// about to be written or has failed.
func (s *session) endPromises() {
	s.tellUnmet()
	for _, p := range s.promises.server {
		p.lease.Told()
	}
}

// leftPromises does what can be said more when it is known how the control
// connections have ended.
func (s *session) leftPromises() {
	if closedByPeer(s.client.failure) && !s.from.Proxy.IsValid() {
		for _, p := range s.promises.client {
			p.lease.MovedOn()
		}
	}
	if s.server != nil && closedByPeer(s.server.failure) {
		for _, p := range s.promises.server {
			p.lease.MovedOn()
		}
	}
}

// closedByPeer tells whether a stream ended with the peer's own FIN or RST.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}
