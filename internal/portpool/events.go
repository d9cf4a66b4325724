package portpool

import "net/netip"

// Events is told what happens in a pool. Its methods are called with the pool
// locked: they must return at once and must not call the pool.
type Events interface {
	// Leased: a lease began. Every Leased is followed by one Returned.
	Leased(r Request)
	// Returned: the key of a lease is no longer lent. used tells whether a
	// connection came.
	Returned(r Request, used bool)
	// Waiting: a request has to wait for a port.
	Waiting(r Request)
	// Full: a request has waited in vain.
	Full(r Request)
	// Expired: an unused lease was taken back for one who waits; Returned follows.
	Expired(r Request)
	// Stranger: a connection that belongs to no lease was closed. hold tells
	// whether the port listened for a lease with Hold.
	Stranger(local netip.AddrPort, peer netip.Addr, hold bool)
	// Busy: a port cannot be listened on, usually because another program has it.
	Busy(local netip.AddrPort, err error)
	// AcceptFailed: the listener could not accept (too many open files) and
	// tries again after a pause.
	AcceptFailed(local netip.AddrPort, err error)
}

// NoEvents ignores all events. Embed it to be told of some only.
type NoEvents struct{}

func (NoEvents) Leased(Request)                            {}
func (NoEvents) Returned(Request, bool)                    {}
func (NoEvents) Waiting(Request)                           {}
func (NoEvents) Full(Request)                              {}
func (NoEvents) Expired(Request)                           {}
func (NoEvents) Stranger(netip.AddrPort, netip.Addr, bool) {}
func (NoEvents) Busy(netip.AddrPort, error)                {}
func (NoEvents) AcceptFailed(netip.AddrPort, error)        {}
