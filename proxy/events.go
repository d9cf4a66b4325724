package proxy

import (
	"net/netip"

	"ftproxy/internal/metrics"
	"ftproxy/internal/portpool"
)

// poolEvents counts what happens in the port pool, and logs what an
// administrator has to mend. It is called with the pool locked.
type poolEvents struct {
	portpool.NoEvents
	p *Process
}

func (e poolEvents) Leased(r portpool.Request)           { e.p.metrics.LeaseTaken(r.Ports.String()) }
func (e poolEvents) Returned(r portpool.Request, _ bool) { e.p.metrics.LeaseReturned(r.Ports.String()) }
func (e poolEvents) Waiting(r portpool.Request)          { e.p.metrics.LeaseWaiting(r.Ports.String()) }
func (e poolEvents) Full(r portpool.Request)             { e.p.metrics.LeaseFull(r.Ports.String()) }

// Stranger tells the sides apart by their ports: only servers' are held.
func (e poolEvents) Stranger(local netip.AddrPort, peer netip.Addr, hold bool) {
	at := metrics.Client
	if hold {
		at = metrics.Server
	}
	e.p.metrics.StrangerClosed(at)
	if line := e.p.often(stranger, at, "", peer); line.written() {
		e.p.repeats.later(e.p.workers.Go, func() { // The log may be slow, and the pool waits here.
			line.Stringer("local", local).Stringer("peer", peer).Str("side", word(at)).Msg(stranger.message)
		})
	}
}

func (e poolEvents) Busy(local netip.AddrPort, err error) {
	e.p.log.Warn().Err(err).Stringer("local", local).Msg("data port not usable, another program has it")
}

func (e poolEvents) AcceptFailed(local netip.AddrPort, err error) {
	e.p.log.Error().Err(err).Stringer("local", local).Msg("accept failed")
}
