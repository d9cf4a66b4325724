package proxy

import (
	"ftproxy/internal/portpool"
	"ftproxy/internal/tcp"
)

// What a session hears from its peers, and writes to them, for what it says of the ports
// that they were told of (portpool.Promises).

// markPromises is called after replies were written to the client.
func (s *session) markPromises() {
	if !s.data.promises.Unwritten() {
		return
	}
	mark := s.client.Filled()
	if tcp.Unread(s.client.Conn) > 0 {
		mark++ // What the kernel has already proves nothing, either.
	}
	s.data.promises.Written(mark)
}

// movedOn takes a command for what it says of the client's promises. The client knew what
// they had become if its kernel has our reply and the command came after that, unless it
// crossed the reply on its way. That is so with what clients say during a transfer, and
// with clients that do not wait for replies: their commands prove nothing. fill is when
// the command was read; setup asks for another data connection.
func (s *session) movedOn(verb string, fill int, setup bool) {
	if verbs[verb].has(crosses) || !s.data.promises.ClientMayMoveOn(fill, setup) {
		return
	}
	if waiting, _ := tcp.Unacknowledged(s.client.Conn); waiting > 0 { // What cannot tell has no such delay.
		return
	}
	s.data.promises.ClientMovedOn(fill, setup)
}

// hearEarly notes a client that says something before it was answered.
func (s *session) hearEarly(verb string) {
	if !verbs[verb].has(crosses) {
		s.data.promises.ClientPipelines()
	}
}

// serverMovedOn is called while no command is under way.
func (s *session) serverMovedOn() {
	var next *portpool.Lease
	if s.data.next != nil {
		next = s.data.next.ServerLease()
	}
	s.data.promises.ServerMovedOn(next)
}

// onEvicted ends the session for others of its client's address, who wait for the
// port that it was promised and never used.
func (s *session) onEvicted() error {
	if s.data.wait != nil || len(s.client.queue) > 0 { // What waits may tell more, or be the one that asks.
		s.data.evicted = true
		return nil
	}
	s.data.evicted = false
	if !s.data.promises.Silent() {
		return nil
	}
	return &ending{reason: endPortUnused, text: "Data port not used, and others wait for it."}
}

// leftPromises says what more is known of the promises when it is known how the control
// connections have ended.
func (s *session) leftPromises() {
	if tcp.ByPeer(s.client.Failure) && !s.from.Proxy.IsValid() {
		s.data.promises.ClientLeft()
	}
	if s.server != nil && tcp.ByPeer(s.server.Failure) {
		s.data.promises.ServerLeft()
	}
}
