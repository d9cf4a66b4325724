package transfer

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// An Unmet says of one side what its connection was to be that never came.
type Unmet struct {
	Addr    netip.AddrPort // where we wait for the peer, or where we dial it
	Listens bool           // we wait
	Since   time.Time      // how long already
	Err     error          // why the last attempt to dial failed; nil: it got no answer yet
	// Rejected is who came to the port and was nobody; invalid: nobody came.
	Rejected netip.Addr
}

// dials are the attempts to reach a peer.
type dials struct {
	began  atomic.Pointer[time.Time] // the first; nil: there was none
	failed atomic.Pointer[error]     // the last
}

// Unmet tells of a side whose connection never came, and that it was waited for. A
// connection that is here and whose TLS fails has come.
func (t *Transfer) Unmet(at Side) (u Unmet, ok bool) {
	if at == ClientSide && (t.ClientHere() || t.clientCame()) || at == ServerSide && t.ServerCame() {
		return u, false
	}
	switch l := t.leg(at).(type) {
	case ListenLeg:
		u = Unmet{Addr: l.Lease.Addr(), Listens: true, Since: t.began}
		u.Rejected, _ = l.Lease.TurnedAway()
		return u, true
	case DialLeg:
		began := t.dials[at].began.Load()
		if began == nil {
			return u, false
		}
		u = Unmet{Addr: l.Remote, Since: *began}
		if failed := t.dials[at].failed.Load(); failed != nil {
			u.Err = *failed
		}
		return u, true
	}
	return u, false
}

// clientCame tells whether the client's connection came to the port that it was told.
func (t *Transfer) clientCame() bool {
	l, listens := t.options.Client.(ListenLeg)
	return listens && l.Lease.Came()
}
