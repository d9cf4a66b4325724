package proxy

import (
	"time"

	"ftproxy/internal/portpool"
	"ftproxy/internal/transfer"
)

// data is what a session has of data connections. A data connection has one name in each
// stage of its life:
//
//	setup     is being agreed on with the server (data_setup.go), and may have to wait
//	          for ports (data_ports.go);
//	transfer  is agreed on: its legs open, move the data and close (internal/transfer);
//	delivery  is a transfer that a command uses (data_transfer.go), until the client has a
//	          final reply that is true (data_verdict.go);
//	record    is what log and metrics are told then (data_transfer.go).
type data struct {
	wait     *portWait          // for the ports of a setup
	next     *transfer.Transfer // agreed on, not yet used
	delivery *delivery          // of the transfer in use
	last     *transfer.Transfer // delivered; it may wait for its receiver's FIN

	bandwidth transfer.Bandwidth
	promises  portpool.Promises
	givenUp   bool      // ftproxy has refused a setup, or given up what was agreed on last
	toldPort  bool      // the server was told a port of ours
	evicted   bool      // it was asked to leave, and is to look again when it has nothing to do
	epsvAll   bool      // EPSV ALL was said (RFC 2428 §4)
	slot      bool      // among the transfers that limits.transfers allows
	portless  time.Time // when it was last refused a port at once
}

// takeSlot makes one of the transfers that limits.transfers allows this session's,
// until it has none: advance gives it back.
func (s *session) takeSlot() bool {
	s.data.slot = s.data.slot || s.p.sessions.TakeTransfer(s.rt.limits.Transfers)
	return s.data.slot
}

func (s *session) freeSlot() {
	if s.data.slot {
		s.data.slot = false
		s.p.sessions.FreeTransfer()
	}
}

// dropData ends a data connection that was agreed on and not used.
func (s *session) dropData() {
	if s.data.next == nil {
		return
	}
	s.data.next.Abort(transfer.ErrUnused)
	<-s.data.next.Result()
	s.data.next, s.data.givenUp = nil, true
	s.timers.Clear(timerUnused)
}
