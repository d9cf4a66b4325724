package portpool

import "net/netip"

// Events is told what happens in a pool. Its methods are called with the pool
// locked: they must return at once and must not call the pool.
type Events interface {
	// Leased: a lease began. Every Leased is followed by one Returned.
	Leased(r Request)
	// Returned: a lease ended, with Hold when it was closed. used tells whether
	// a connection came. Its key may go on keeping others from the port.
	Returned(r Request, used bool)
	// Waiting: a request has to wait for a port.
	Waiting(r Request)
	// Full: a request has waited in vain.
	Full(r Request)
	// Evicted: the owner of a silent lease is asked to leave for one who waits.
	Evicted(r Request)
	// Stranger: a connection that belongs to no lease was reset. hold tells
	// whether the port listened for a lease with Hold.
	Stranger(local netip.AddrPort, peer netip.Addr, hold bool)
	// Late: a connection was reset whose lease had ended before it came.
	Late(local netip.AddrPort, peer netip.Addr)
	// Crowded: too many connections of a peer, or of a proxy, wait to be
	// identified on a port, and the oldest was reset.
	Crowded(local netip.AddrPort, peer netip.Addr)
	// Ambiguous: a connection fitted more than one lease. This is a fault of ours.
	Ambiguous(local netip.AddrPort, peer netip.Addr)
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
func (NoEvents) Evicted(Request)                           {}
func (NoEvents) Stranger(netip.AddrPort, netip.Addr, bool) {}
func (NoEvents) Late(netip.AddrPort, netip.Addr)           {}
func (NoEvents) Crowded(netip.AddrPort, netip.Addr)        {}
func (NoEvents) Ambiguous(netip.AddrPort, netip.Addr)      {}
func (NoEvents) Busy(netip.AddrPort, error)                {}
func (NoEvents) AcceptFailed(netip.AddrPort, error)        {}
