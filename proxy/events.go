package proxy

import (
	"net/netip"

	"ftproxy/internal/logline"
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

// Stranger tells the sides apart by Request.Hold, which only the ports for servers have.
func (e poolEvents) Stranger(local netip.AddrPort, peer netip.Addr, hold bool) {
	at := metrics.Client
	if hold {
		at = metrics.Server
	}
	e.p.metrics.StrangerClosed(at)
	e.tell(stranger, at, local, peer)
}

// Late is the fault of the network or of a slow client.
func (e poolEvents) Late(local netip.AddrPort, peer netip.Addr) {
	e.p.metrics.DataLate()
	e.tell(tooLate, metrics.Client, local, peer)
}

func (e poolEvents) Crowded(local netip.AddrPort, peer netip.Addr) {
	e.p.metrics.DataUnproven()
	e.tell(crowded, metrics.Client, local, peer)
}

// tell writes a line of a connection that was reset, later: the log may be slow, and the
// pool waits here.
func (e poolEvents) tell(k *logline.Kind, at string, local netip.AddrPort, peer netip.Addr) {
	if line := e.p.often(k, at, "", peer); line.Written() {
		e.p.repeats.Later(e.p.workers.Go, func() {
			line.Stringer("local", local).Stringer("peer", peer).Str("side", word(at)).Msg(k.Message)
		})
	}
}

func (e poolEvents) Evicted(r portpool.Request) {
	e.p.metrics.LeaseEvicted(r.Ports.String())
	e.p.log.Warn().Str("range", word(r.Ports.String())).Stringer("peer", r.Peer).
		Msg("session asked to leave, others wait for its data port")
}

func (e poolEvents) Ambiguous(local netip.AddrPort, peer netip.Addr) {
	e.p.log.Error().Stringer("local", local).Stringer("peer", peer).
		Msg("one data connection fits two leases")
}

func (e poolEvents) Busy(local netip.AddrPort, err error) {
	e.p.log.Warn().Err(err).Stringer("local", local).Msg("data port not usable, another program has it")
}

func (e poolEvents) AcceptFailed(local netip.AddrPort, err error) {
	e.p.log.Error().Err(err).Stringer("local", local).Msg("accept failed")
}
