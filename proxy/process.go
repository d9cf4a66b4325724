package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/binds"
	"ftproxy/internal/listeners"
	"ftproxy/internal/logline"
	"ftproxy/internal/metrics"
	"ftproxy/internal/names"
	"ftproxy/internal/pace"
	"ftproxy/internal/portpool"
	"ftproxy/internal/registry"
	"ftproxy/internal/report"
	"ftproxy/internal/servers"
	"ftproxy/internal/tcp"
	"ftproxy/internal/tickets"
	"ftproxy/internal/transfer"
	"ftproxy/internal/workers"
)

// ErrShutdown is why sessions end when the process leaves service.
var ErrShutdown = errors.New("the proxy is shutting down")

// A Network is where a process listens and dials. [tcp.Network] is the real one;
// tests give a fake one.
type Network interface {
	binds.Network
	servers.Network
	listeners.Network
}

// Options is what a process is made of. Network and Metrics must be set.
type Options struct {
	Network Network
	Log     zerolog.Logger
	Metrics *metrics.Metrics
	// Descriptors is how many file descriptors the process may have open, or 0
	// where that is not known. New sessions are refused before they run out.
	Descriptors int
}

// A Process is what outlives every runtime: listeners, data ports, counters
// and what was learned about servers, all keyed by address.
type Process struct {
	network Network
	log     logline.Log
	repeats logline.Summary // of what peers cause at will
	metrics *metrics.Metrics
	ports   *portpool.Pool
	servers servers.Set
	refused servers.Refusals
	names   names.Names
	paces   pace.Set
	tickets tickets.Keys

	descriptors int // how many there may be; 0: unknown
	listeners   *listeners.Listeners
	workers     workers.Pool
	runner      transfer.Runner // of transfers, on the workers
	runtime     atomic.Pointer[Runtime]

	certificates report.Certificates

	sessions registry.Registry

	serving   context.Context         // until no new work is wanted
	leave     context.CancelCauseFunc // ends serving; called with mu held
	hardStop  context.Context         // until a hard stop, or the end of Shutdown
	stopHard  context.CancelCauseFunc // ends hardStop
	accepting sync.WaitGroup          // connections whose PROXY header is read, and the refreshing of names

	// applying is held while a configuration is put in force, which may take as
	// long as the resolver does. Sessions wait for mu only.
	applying  sync.Mutex
	mu        sync.Mutex
	following bool      // a goroutine refreshes names
	applied   time.Time // when the runtime was put in force
}

// New makes a process that listens nowhere yet: Apply gives it its rules.
func New(o Options) *Process {
	p := &Process{
		network:     o.Network,
		log:         logline.Log{Logger: o.Log, Verbs: secretVerbs},
		metrics:     o.Metrics,
		descriptors: o.Descriptors,
	}
	p.sessions.Init(secretVerbs)
	p.listeners = listeners.New(listeners.Options{Network: o.Network, Log: p.log, Descriptors: o.Descriptors, Serve: p.serve})
	p.repeats.Log = p.log
	p.certificates.Log, p.certificates.Metrics = p.log, p.metrics
	p.servers.Init(servers.Options{Network: o.Network, Metrics: o.Metrics, Log: p.log, Own: p.isOwn, Usable: p.followServers})
	p.ports = portpool.New(portpool.Options{Listen: p.listenData, Clock: tcp.Ticks, Born: tcp.Born, Events: report.Ports{Lines: &p.repeats, Metrics: p.metrics, Go: p.workers.Go}, Spawn: p.workers.Go})
	p.serving, p.leave = context.WithCancelCause(context.Background())
	p.hardStop, p.stopHard = context.WithCancelCause(context.Background())
	p.runner = transfer.Runner{Go: p.workers.Go, Outlive: p.outlive, Cut: p.hardStop}
	return p
}

// Apply builds the runtime of a checked configuration, opens its listeners and
// puts it in force for new sessions; those that run keep theirs to their end. On any
// error nothing has changed. A listener that both configurations have is not
// touched, and where a wildcard and a single address of the same port follow each
// other, the socket that is open stays.
func (p *Process) Apply(c *config.Config) error {
	p.applying.Lock()
	defer p.applying.Unlock()
	if p.Draining() {
		return ErrShutdown
	}
	rt, err := newRuntime(c)
	if err != nil {
		return err
	}
	if err := binds.Check(p.network, c); err != nil {
		return err
	}
	specs, err := rt.specs(c)
	if err != nil {
		return err
	}
	plan := p.servers.Prepare(p.hardStop, specs)
	for name, b := range rt.backends {
		b.Group = plan.Group(name)
	}
	p.resolve(rt)
	opened, err := p.listeners.Open(rt.listens())
	if err != nil && p.Draining() { // A listener beside it may be closed by now.
		return ErrShutdown
	}
	if err != nil {
		return err
	}
	if !p.enforce(rt, opened, plan) {
		opened.Close()
		return ErrShutdown
	}
	return nil
}

// enforce puts rt in force, unless the process began to leave service meanwhile.
func (p *Process) enforce(rt *Runtime, opened *listeners.Opened, plan *servers.Plan) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Draining() {
		return false
	}
	p.follow(rt)
	p.paces.SetLimits(rt.bandwidths)
	p.runtime.Store(rt)
	p.servers.Use(plan)
	p.applied = time.Now()
	p.certificates.Use(rt.certificates, rt.unverified())
	for _, fe := range rt.frontends {
		p.metrics.Declare(fe.name, fe.backend.Name, fe.passivePorts.String(), fe.backend.dataPorts.String())
	}
	p.listeners.Use(opened)
	return true
}

// Addrs are the addresses that the process listens on, by the configured
// address: they differ where a port 0 was asked for.
func (p *Process) Addrs() map[netip.AddrPort]net.Addr {
	rt := p.runtime.Load()
	if rt == nil {
		return nil
	}
	return p.listeners.Addrs(rt.listens())
}

// listenData opens a listener for the port pool. FreeBind is as the
// runtime in force has it, also for a session that keeps an earlier runtime.
func (p *Process) listenData(addr netip.AddrPort, transparent bool) (net.Listener, error) {
	rt := p.runtime.Load()
	return p.network.ListenData(tcp.Local{AddrPort: addr, Transparent: transparent, FreeBind: rt != nil && rt.free[addr.Addr()]})
}

// Draining tells whether the process is leaving service.
func (p *Process) Draining() bool { return p.serving.Err() != nil }

// Shutdown leaves service: no new sessions, idle ones get 421, the others end
// after their running command. When ctx ends, there is a hard stop: transfers
// are aborted as aborts. It returns nil when no hard stop was needed, otherwise
// the context's error, and in either case only when all is released.
func (p *Process) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	if !p.Draining() {
		p.leave(ErrShutdown)
		p.sessions.Drain()
		p.listeners.Close()
		p.certificates.Stop()
	}
	p.mu.Unlock()

	ended := make(chan struct{})
	go p.waitSessions(ended)
	var hard error
	select {
	case <-ended:
	case <-ctx.Done():
		if p.sessions.Busy() {
			hard = ctx.Err()
		}
		p.stopHard(ErrShutdown)
		p.sessions.StopAll(&ending{reason: endShutdown, text: textShutdown, cause: ErrShutdown})
		<-ended
	}
	p.stopHard(ErrShutdown)
	p.servers.Close()
	p.workers.Close()
	err := errors.Join(hard, p.ports.Close())
	p.repeats.Close()
	return err
}

// outlive runs f at once, on a goroutine that may outlive the session that the caller
// belongs to. Shutdown waits for it.
func (p *Process) outlive(f func()) {
	p.sessions.Add(1)
	p.workers.Go(func() {
		defer p.sessions.Done()
		f()
	})
}

func (p *Process) waitSessions(ended chan<- struct{}) {
	p.listeners.Wait()
	p.accepting.Wait()
	p.sessions.Wait()
	close(ended)
}
