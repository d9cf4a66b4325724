// Package resolve keeps the addresses of a backend's servers up to date: host names
// with all their addresses, and SRV records.
package resolve

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ftproxy/config"
	"ftproxy/internal/logline"
)

// Refresh is how often names are looked up again. A resolver does not say for how long
// its answers hold.
const Refresh = 30 * time.Second

// maxAddrs is how many addresses of one server are used, and how many SRV records.
const maxAddrs = 256

// BackupTier is added to the tier of backup servers: it is above the tiers of all others.
const BackupTier = 1 << 16

// A Target is one address of a server of the configuration.
type Target struct {
	Name   string // config.Server.Name
	Host   string // the host name, or the address: whom a certificate is for
	Addr   netip.AddrPort
	Weight int // 1 to config.MaxWeight
	Tier   int // the lowest is used first: SRV priorities by their rank, then the same for backup servers
	Max    int // sessions at once; 0 means no limit
}

// A Lookup asks the resolver. A *net.Resolver is one.
type Lookup interface {
	// LookupNetIP gives the addresses of a host name; network is ip4 or ip6.
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	// LookupSRV gives the records of name, where service and proto are empty.
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)
}

// Options is what a Set works with.
type Options struct {
	Backend string // for the log
	Lookup  Lookup
	Timeout time.Duration // of all that is asked at once
	Log     logline.Log
	// Own tells whether ftproxy itself listens at an address, which is then left out. It
	// may be nil.
	Own func(netip.AddrPort) bool
	// Changed is called with all targets, in the order of the servers, whenever they are
	// others than before. It is called by one goroutine at a time, and must not call the
	// Set. It may be nil.
	Changed func([]Target)
}

// A Set is the targets of the servers of one backend.
type Set struct {
	Options
	servers []*server

	mu      sync.Mutex
	targets []Target
	warned  map[netip.AddrPort]bool // addresses that are ftproxy itself, as the log says
}

// New returns a set of servers. Their literal addresses are known at once. The answers
// for names that old has are kept; old may be nil, and may go on.
func New(servers []config.Server, o Options, old *Set) *Set {
	s := &Set{Options: o, warned: make(map[netip.AddrPort]bool)}
	for _, c := range servers {
		s.servers = append(s.servers, newServer(c, old.of(c)))
	}
	if old != nil {
		old.mu.Lock()
		for addr := range old.warned {
			s.warned[addr] = true
		}
		old.mu.Unlock()
	}
	s.targets = s.gather()
	return s
}

// of returns the server with the same name to look up.
func (s *Set) of(c config.Server) *server {
	if s == nil {
		return nil
	}
	for _, known := range s.servers {
		if known.conf.Host == c.Host && known.conf.Port == c.Port && known.conf.SRV == c.SRV {
			return known
		}
	}
	return nil
}

// Targets are those of all servers, in the order of the servers; those of one server
// are in the order of their tiers and addresses. Nobody may write to them.
func (s *Set) Targets() []Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.targets
}

// Names tells whether there is anything to look up.
func (s *Set) Names() bool {
	return slices.ContainsFunc(s.servers, func(v *server) bool { return !v.literal() })
}

// Resolve looks up all names once, at the same time, and returns when all have an answer
// or the time is over. Each answer counts as soon as it is there.
func (s *Set) Resolve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	var asking sync.WaitGroup
	for _, v := range s.servers {
		if !v.literal() {
			asking.Go(func() {
				s.resolve(ctx, v)
				s.publish()
			})
		}
	}
	asking.Wait()
}

// Run looks up all names again and again, until the context ends. It does not begin
// with that: Resolve does.
func (s *Set) Run(ctx context.Context) {
	if !s.Names() {
		return
	}
	for {
		pause := Refresh
		if s.lacks() {
			pause = retry
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			s.Resolve(ctx)
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// retry is how soon names are looked up again if one has had no answer yet: at boot the
// resolver may come up after ftproxy.
const retry = 2 * time.Second

// lacks tells whether a server has no address.
func (s *Set) lacks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.servers, func(v *server) bool { return len(v.answer()) == 0 })
}

// publish tells of the targets, if they are others than before.
func (s *Set) publish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.gather()
	if slices.Equal(now, s.targets) {
		return
	}
	s.targets = now
	if s.Changed != nil {
		s.Changed(now)
	}
}

// gather puts the targets of all servers together. It is called with the set locked,
// or known to nobody else.
func (s *Set) gather() (all []Target) {
	for _, v := range s.servers {
		for _, t := range v.answer() {
			if s.Own == nil || !s.Own(t.Addr) {
				all = append(all, t)
				continue
			}
			if !s.warned[t.Addr] {
				s.warned[t.Addr] = true
				s.Log.Warn().Str("backend", logline.Word(s.Backend)).Str("server", logline.Word(v.conf.Name())).Stringer("address", t.Addr).
					Msg("server is ftproxy itself and is not used, check the name in DNS")
			}
		}
	}
	return all
}
