package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/metrics"
	"ftproxy/internal/pace"
	"ftproxy/internal/portpool"
	"ftproxy/internal/workers"
)

// ErrShutdown is why sessions end when the process leaves service.
var ErrShutdown = errors.New("the proxy is shutting down")

// Options is what a process is made of. Network and Metrics must be set.
type Options struct {
	Network Network
	Log     zerolog.Logger
	Metrics *metrics.Metrics
}

// A Process is what outlives every runtime: listeners, data ports, counters
// and what was learned about servers, all keyed by address.
type Process struct {
	network Network
	log     zerolog.Logger
	metrics *metrics.Metrics
	ports   *portpool.Pool
	servers serverStates
	names   names
	paces   pace.Set
	workers workers.Pool
	runtime atomic.Pointer[Runtime]

	sessionPrefix string // tells the sessions of one process from those of its predecessor
	lastSession   atomic.Uint64
	sessions      sync.WaitGroup // sessions and their lingering transfers

	drain     chan struct{} // closed when no new work is wanted
	cut       context.Context
	cutNow    context.CancelCauseFunc
	cuts      cuts
	accepting sync.WaitGroup

	mu        sync.Mutex
	listeners map[netip.AddrPort]*listener
	counts    sessionCounts
	draining  bool
}

// New makes a process that listens nowhere yet: Apply gives it its rules.
func New(o Options) *Process {
	prefix := make([]byte, 3)
	_, _ = rand.Read(prefix) // It never fails (crypto/rand).
	p := &Process{
		network:       o.Network,
		log:           o.Log,
		metrics:       o.Metrics,
		sessionPrefix: hex.EncodeToString(prefix),
		drain:         make(chan struct{}),
		listeners:     make(map[netip.AddrPort]*listener),
		counts:        sessionCounts{byClient: make(map[netip.Addr]int)},
	}
	p.ports = portpool.New(o.Network.ListenData, poolEvents{p: p}, p.workers.Go)
	p.cut, p.cutNow = context.WithCancelCause(context.Background())
	return p
}

// Apply builds the runtime of a checked configuration, opens its listeners and
// puts it in force for new sessions. On any error nothing has changed.
func (p *Process) Apply(c *config.Config) error {
	rt, err := newRuntime(c)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		return ErrShutdown
	}
	if err := p.checkSources(c); err != nil {
		return err
	}
	opened, err := p.listen(rt)
	if err != nil {
		return err
	}
	p.follow(rt)
	p.paces.SetLimits(rt.bandwidths)
	p.runtime.Store(rt)
	for _, fe := range rt.frontends {
		p.metrics.Declare(fe.name, fe.backend.name, fe.passivePorts.String(), fe.backend.dataPorts.String())
	}
	for addr, l := range opened {
		p.listeners[addr] = l
		p.accepting.Add(1)
		go p.accept(l)
	}
	for addr, l := range p.listeners {
		if _, wanted := rt.frontends[addr]; !wanted {
			delete(p.listeners, addr)
			_ = l.Close()
		}
	}
	return nil
}

// checkSources finds source ports that the process may not use.
func (p *Process) checkSources(c *config.Config) error {
	var failed []error
	for _, f := range c.Frontends {
		for _, r := range f.ActiveSourcePorts {
			if err := p.network.MayBind(r.First); err != nil {
				failed = append(failed, &SourceError{Frontend: f.Name, Port: r.First, Err: err})
			}
		}
	}
	return errors.Join(failed...)
}

// A SourceError says which of a frontend's active_source_ports this process may
// not use.
type SourceError struct {
	Frontend string
	Port     uint16
	Err      error
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("frontend %s: connecting from port %d: %v", e.Frontend, e.Port, e.Err)
}

func (e *SourceError) Unwrap() error { return e.Err }

// A ListenError says which listener of which frontend could not be opened.
type ListenError struct {
	Frontend string
	Addr     netip.AddrPort
	Err      error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("frontend %s: listening on %s: %v", e.Frontend, e.Addr, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

// listen opens the listeners that rt needs and the process does not have yet.
func (p *Process) listen(rt *Runtime) (map[netip.AddrPort]*listener, error) {
	opened := make(map[netip.AddrPort]*listener)
	var failed []error
	for addr, fe := range rt.frontends {
		if _, open := p.listeners[addr]; open {
			continue
		}
		l, err := p.network.Listen(addr)
		if err != nil && withoutIPv6(rt, addr, err) {
			p.log.Warn().Err(err).Str("frontend", fe.name).Stringer("listen", addr).
				Msg("this machine has no IPv6, listening on IPv4 only")
			continue
		}
		if err != nil {
			failed = append(failed, &ListenError{Frontend: fe.name, Addr: addr, Err: err})
			continue
		}
		opened[addr] = &listener{Listener: l, key: addr}
	}
	if len(failed) == 0 {
		return opened, nil
	}
	for _, l := range opened {
		_ = l.Close()
	}
	return nil, errors.Join(failed...)
}

// withoutIPv6 tells whether addr is the IPv6 half of ":21" on a machine where
// IPv6 is switched off: the other half is enough there.
func withoutIPv6(rt *Runtime, addr netip.AddrPort, err error) bool {
	_, ipv4 := rt.frontends[netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())]
	return ipv4 && addr.Addr() == netip.IPv6Unspecified() &&
		(errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL))
}

// Addrs are the addresses that the process listens on, by the configured
// address: they differ where a port 0 was asked for.
func (p *Process) Addrs() map[netip.AddrPort]net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	addrs := make(map[netip.AddrPort]net.Addr, len(p.listeners))
	for key, l := range p.listeners {
		addrs[key] = l.Addr()
	}
	return addrs
}

// Draining tells whether the process is leaving service.
func (p *Process) Draining() bool {
	select {
	case <-p.drain:
		return true
	default:
		return false
	}
}

// Shutdown leaves service: no new sessions, idle ones get 421, the others end
// after their running command. When ctx ends, what is left is cut: transfers
// are aborted as aborts. It returns nil when nothing had to be cut, otherwise
// the context's error, and in either case only when all is released.
func (p *Process) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	if !p.draining {
		p.draining = true
		close(p.drain)
		for _, l := range p.listeners {
			_ = l.Close()
		}
		clear(p.listeners)
	}
	p.mu.Unlock()

	ended := make(chan struct{})
	go p.waitSessions(ended)
	var cut error
	select {
	case <-ended:
	case <-ctx.Done():
		cut = ctx.Err()
		p.cutNow(ErrShutdown)
		p.cuts.interrupt()
		<-ended
	}
	p.cutNow(ErrShutdown)
	p.workers.Close()
	return errors.Join(cut, p.ports.Close())
}

func (p *Process) waitSessions(ended chan<- struct{}) {
	p.accepting.Wait()
	p.sessions.Wait()
	close(ended)
}

// sessionCounts are the sessions that live now.
type sessionCounts struct {
	total    int
	byClient map[netip.Addr]int
}

// admit counts a new session of client, or says which limit forbids it.
func (p *Process) admit(client netip.Addr, limits config.Limits) (refusal string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.draining:
		return "draining"
	case limits.Sessions > 0 && p.counts.total >= limits.Sessions:
		return "sessions"
	case limits.SessionsPerClient > 0 && p.counts.byClient[client] >= limits.SessionsPerClient:
		return "sessions_per_client"
	}
	p.counts.total++
	p.counts.byClient[client]++
	p.sessions.Add(1)
	return ""
}

// dismiss takes back what admit counted.
func (p *Process) dismiss(client netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.total--
	if p.counts.byClient[client]--; p.counts.byClient[client] == 0 {
		delete(p.counts.byClient, client)
	}
	p.sessions.Done()
}

// serverStates is what sessions learned about servers, so that the next
// session need not learn it again.
type serverStates struct {
	refused sync.Map // refusedVerb → time.Time until which it is believed
}

// A refusedVerb is a verb that a server does not know.
type refusedVerb struct {
	server netip.AddrPort
	verb   string
}

// refusalMemory is how long a server that refused EPSV or EPRT is not asked
// again: it may have been replaced meanwhile.
const refusalMemory = time.Hour

func (s *serverStates) refuses(server netip.AddrPort, verb string) bool {
	until, known := s.refused.Load(refusedVerb{server, verb})
	return known && time.Now().Before(until.(time.Time))
}

func (s *serverStates) remember(server netip.AddrPort, verb string) {
	s.refused.Store(refusedVerb{server, verb}, time.Now().Add(refusalMemory))
}
