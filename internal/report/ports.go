package report

import (
	"net/netip"

	"ftproxy/internal/logline"
	"ftproxy/internal/metrics"
	"ftproxy/internal/portpool"
)

// Ports counts what happens in the port pool, and logs what an administrator has to
// mend. It is called with the pool locked.
type Ports struct {
	portpool.NoEvents
	Lines   *logline.Summary
	Metrics *metrics.Metrics
	Go      func(func()) // runs a function on a goroutine of its own
}

func (e Ports) Leased(r portpool.Request)           { e.Metrics.LeaseTaken(r.Ports.String()) }
func (e Ports) Returned(r portpool.Request, _ bool) { e.Metrics.LeaseReturned(r.Ports.String()) }
func (e Ports) Waiting(r portpool.Request)          { e.Metrics.LeaseWaiting(r.Ports.String()) }
func (e Ports) Full(r portpool.Request)             { e.Metrics.LeaseFull(r.Ports.String()) }

// Stranger tells the sides apart by Request.Hold, which only the ports for servers have.
func (e Ports) Stranger(local netip.AddrPort, peer netip.Addr, hold bool) {
	at := metrics.Client
	if hold {
		at = metrics.Server
	}
	e.Metrics.StrangerClosed(at)
	e.tell(Stranger, at, local, peer)
}

// Late is the fault of the network or of a slow client.
func (e Ports) Late(local netip.AddrPort, peer netip.Addr) {
	e.Metrics.DataLate()
	e.tell(TooLate, metrics.Client, local, peer)
}

func (e Ports) Crowded(local netip.AddrPort, peer netip.Addr) {
	e.Metrics.DataUnproven()
	e.tell(Crowded, metrics.Client, local, peer)
}

// tell writes a line of a connection that was reset, later: the log may be slow, and the
// pool waits here.
func (e Ports) tell(k *logline.Kind, at string, local netip.AddrPort, peer netip.Addr) {
	if line := e.Lines.Often(k, at, "", peer); line.Written() {
		e.Lines.Later(e.Go, func() {
			line.Stringer("local", local).Stringer("peer", peer).Str("side", word(at)).Msg(k.Message)
		})
	}
}

func (e Ports) Evicted(r portpool.Request) {
	e.Metrics.LeaseEvicted(r.Ports.String())
	e.Lines.Log.Warn().Str("range", word(r.Ports.String())).Stringer("peer", r.Peer).
		Msg("session asked to leave, others wait for its data port")
}

func (e Ports) Ambiguous(local netip.AddrPort, peer netip.Addr) {
	e.Lines.Log.Error().Stringer("local", local).Stringer("peer", peer).
		Msg("one data connection fits two leases")
}

func (e Ports) Busy(local netip.AddrPort, err error) {
	e.Lines.Log.Warn().Err(err).Stringer("local", local).Msg("data port not usable, another program has it")
}

func (e Ports) AcceptFailed(local netip.AddrPort, err error) {
	e.Lines.Log.Error().Err(err).Stringer("local", local).Msg("accept failed")
}
