// Package servers has the servers of all backends: it keeps their addresses up to date,
// checks whether they work, and gives sessions their places at them. It outlives
// configurations; a server that stays keeps its state.
package servers

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"ftproxy/config"
	"ftproxy/internal/balance"
	"ftproxy/internal/dial"
	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/metrics"
	"ftproxy/internal/resolve"
)

// A Network is where servers are looked up and checked.
type Network interface {
	dial.Network
	// Resolve gives the addresses of a host name.
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
}

// Options are what a Set works with.
type Options struct {
	Network Network
	Metrics *metrics.Metrics
	Log     logline.Log
	// Own tells where clients reach ftproxy itself: no check succeeds there.
	Own func(netip.AddrPort) bool
	// Usable is called, by any goroutine, when a backend has lost its last server that is
	// up, or has one again.
	Usable func()
}

// A Set is the servers of all backends in force. It is ready after Init.
type Set struct {
	Options

	mu       sync.Mutex
	backends map[string]*backend
	running  sync.WaitGroup // what looks up names
	closed   bool
}

// A backend is the servers of one.
type backend struct {
	group    *balance.Group
	names    *resolve.Set
	features *features
	stop     context.CancelFunc // looking up names; nil: it has none
	servers  []string           // their names in the configuration
}

// Init makes the set ready.
func (s *Set) Init(o Options) {
	s.Options = o
	s.backends = make(map[string]*backend)
	o.Metrics.Servers(s.count)
}

// Spec is what a configuration says of the servers of one backend.
type Spec struct {
	Backend  config.Backend
	TLS      *ftps.Backend // towards them; nil: in the clear
	Connect  time.Duration // the timer
	Password []byte        // of checks that log in
}

// A Plan is what a configuration wants, with the answers of the resolver. Nothing is in
// force before Use.
type Plan struct {
	set   *Set
	specs map[string]Spec
	all   map[string]*backend
}

// Prepare looks up the names of all servers, for as long as each backend's timer connect lets it.
func (s *Set) Prepare(ctx context.Context, specs []Spec) *Plan {
	p := &Plan{set: s, specs: make(map[string]Spec, len(specs)), all: make(map[string]*backend, len(specs))}
	s.mu.Lock()
	for _, spec := range specs {
		name := spec.Backend.Name
		b := new(backend)
		var before *resolve.Set
		if known := s.backends[name]; known != nil {
			b.group, b.features, before = known.group, known.features, known.names
		} else {
			b.features = new(features)
			b.group = balance.New(balance.Options{Changed: s.changed(name), Usable: s.usable(name)})
		}
		group := b.group
		b.names = resolve.New(spec.Backend.Servers, resolve.Options{
			Backend: name, Lookup: lookup{s.Network}, Timeout: spec.Connect, Log: s.Log,
			Changed: func(all []resolve.Target) {
				if s.uses(name, b) {
					b.features.keep(targets(all))
					group.SetTargets(targets(all))
				}
			},
		}, before)
		for _, server := range spec.Backend.Servers {
			b.servers = append(b.servers, server.Name())
		}
		p.specs[name], p.all[name] = spec, b
	}
	s.mu.Unlock()
	var asking sync.WaitGroup
	for _, b := range p.all {
		if b.names.Names() {
			asking.Go(func() { b.names.Resolve(ctx) })
		}
	}
	asking.Wait()
	for name, b := range p.all {
		if s.isNew(name) { // Nobody uses its group yet, and it is asked whether it has a server.
			b.group.SetTargets(targets(b.names.Targets()))
		}
	}
	return p
}

func (s *Set) isNew(backend string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.backends[backend] == nil
}

// Group is the servers of a backend.
func (p *Plan) Group(backend string) *balance.Group { return p.all[backend].group }

// Use puts a plan in force. Backends that it does not name any more are not checked any
// longer; sessions that have places there keep them.
func (s *Set) Use(p *Plan) {
	s.mu.Lock()
	before := s.backends
	s.backends = p.all
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return
	}
	for name, b := range before {
		if b.stop != nil {
			b.stop()
		}
		for _, server := range b.servers {
			if p.all[name] == nil || !slices.Contains(p.all[name].servers, server) {
				s.Metrics.ForgetServer(name, server)
			}
		}
		if p.all[name] == nil {
			b.group.Configure(balance.Settings{}, targets(b.names.Targets()))
		}
	}
	for name, b := range p.all {
		b.features.keep(targets(b.names.Targets()))
		b.group.Configure(s.settings(p.specs[name], b.features), targets(b.names.Targets()))
		if !b.names.Names() {
			continue
		}
		var ctx context.Context
		ctx, b.stop = context.WithCancel(context.Background())
		s.running.Go(func() { b.names.Run(ctx) })
	}
}

// uses tells whether a backend is the one in force.
func (s *Set) uses(name string, b *backend) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.backends[name] == b
}

// Close ends the checks.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	all := s.backends
	s.mu.Unlock()
	for _, b := range all {
		if b.stop != nil {
			b.stop()
		}
		_ = b.group.Close()
	}
	s.running.Wait()
}

// SetByHand is an administrator's word on a server: ready, drain or down. It holds until the
// next word, also over reloads. The error says which servers there are.
func (s *Set) SetByHand(backend, server, word string) error {
	to, err := balance.ParseState(word)
	if err != nil {
		return err
	}
	s.mu.Lock()
	b := s.backends[backend]
	names := slices.Sorted(maps.Keys(s.backends))
	s.mu.Unlock()
	if b == nil {
		return fmt.Errorf("there is no backend %q, only %s", backend, strings.Join(names, ", "))
	}
	if err = b.group.Set(server, to); err == nil {
		return nil
	}
	names = nil
	for _, r := range b.group.Snapshot().Servers {
		if !slices.Contains(names, r.Target.Name) {
			names = append(names, r.Target.Name)
		}
	}
	return fmt.Errorf("backend %s has no server %q, only %s", backend, server, strings.Join(names, ", "))
}

// Snapshots tells of the servers of all backends, by the backend's name.
func (s *Set) Snapshots() map[string]balance.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]balance.Snapshot, len(s.backends))
	for name, b := range s.backends {
		all[name] = b.group.Snapshot()
	}
	return all
}

// count is what metrics show.
func (s *Set) count() (all []metrics.ServerNow) {
	for backend, snapshot := range s.Snapshots() {
		at := make(map[string]int) // by name
		for _, sv := range snapshot.Servers {
			i, known := at[sv.Target.Name]
			if !known && sv.Gone {
				continue // The configuration does not name it any more.
			}
			if !known {
				i = len(all)
				at[sv.Target.Name] = i
				all = append(all, metrics.ServerNow{Backend: backend, Name: sv.Target.Name, Failures: make(map[string]uint64), CheckOK: true})
			}
			now := &all[i]
			now.Sessions += sv.Sessions
			for kind, n := range sv.Failures {
				now.Failures[kind] += n
			}
			if sv.Gone {
				continue
			}
			now.Addresses++
			if sv.State == balance.Up {
				now.Up++
			}
			if !sv.Check.At.IsZero() {
				now.Checked = true
				now.CheckOK = now.CheckOK && sv.Check.Err == nil
				now.CheckSeconds = max(now.CheckSeconds, sv.Check.Took.Seconds())
			}
		}
	}
	return all
}

// Features are those that every server of a backend was seen to have.
func (s *Set) Features(backend string) []string {
	s.mu.Lock()
	b := s.backends[backend]
	s.mu.Unlock()
	if b == nil {
		return nil
	}
	return b.features.common()
}

// changed logs each change of a server's state.
func (s *Set) changed(backend string) func(balance.Event) {
	return func(e balance.Event) {
		line := s.Log.Info()
		if e.To == balance.Down && e.By != balance.ByHand {
			line = s.Log.Warn()
		}
		line = line.Str("backend", logline.Word(backend)).Str("server", logline.Word(e.Target.Name)).Stringer("address", e.Target.Addr).
			Str("state", logline.Word(e.To.String())).Str("by", logline.Word(string(e.By))).Text("reason", e.Why)
		switch {
		case e.To == balance.Up:
			line.Msg("server is up")
		case e.By == balance.ByHand:
			line.Msg("server gets no new sessions")
		default:
			line.Str("check", "the FTP server at this address, and the firewall between it and ftproxy").Msg("server gets no new sessions")
		}
	}
}

func (s *Set) usable(backend string) func(bool) {
	return func(is bool) {
		if !is {
			s.Log.Warn().Str("backend", logline.Word(backend)).Str("check", "its servers: ftproxy status lists them").
				Msg("no server of the backend is up, clients get 421")
		}
		if s.Usable != nil {
			s.Usable()
		}
	}
}

// targets are what the resolver knows, as balance has it.
func targets(all []resolve.Target) []balance.Target {
	list := make([]balance.Target, len(all))
	for i, t := range all {
		list[i] = balance.Target(t)
	}
	return list
}

// A lookup asks a Network as resolve does.
type lookup struct{ Network }

// LookupNetIP gives the addresses of one family.
func (l lookup) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	all, err := l.Resolve(ctx, host)
	var family []netip.Addr
	for _, addr := range all {
		if addr.Unmap().Is4() == (network == "ip4") {
			family = append(family, addr)
		}
	}
	return family, err
}

// LookupSRV gives the records of a name.
func (l lookup) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if asks, can := l.Network.(interface {
		LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	}); can {
		return asks.LookupSRV(ctx, service, proto, name)
	}
	return net.DefaultResolver.LookupSRV(ctx, service, proto, name)
}
