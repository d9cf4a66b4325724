package proxy

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// namesRefresh is how often the host names that clients are told are resolved
// again: a public address may change at any time.
const namesRefresh = 30 * time.Second

// names are the addresses of host names, as the resolver said last. A resolver
// that fails changes nothing.
type names struct {
	mu       sync.Mutex
	known    map[string][]netip.Addr
	followed bool // a goroutine refreshes them
}

// ipv4 is the first IPv4 address of the hosts.
func (n *names) ipv4(hosts []string) (addr netip.Addr, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, host := range hosts {
		if i := slices.IndexFunc(n.known[host], netip.Addr.Is4); i >= 0 {
			return n.known[host][i], true
		}
	}
	return netip.Addr{}, false
}

// set notes an answer and reports whether it is news.
func (n *names) set(host string, addrs []netip.Addr) bool {
	slices.SortFunc(addrs, netip.Addr.Compare) // Resolvers rotate their answers.
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Equal(n.known[host], addrs) {
		return false
	}
	if n.known == nil {
		n.known = make(map[string][]netip.Addr)
	}
	n.known[host] = addrs
	return true
}

// follow keeps the names of the runtime in force fresh, until the process leaves
// service.
func (p *Process) follow(rt *Runtime) {
	if len(rt.hosts) == 0 {
		return
	}
	p.names.mu.Lock()
	defer p.names.mu.Unlock()
	if !p.names.followed {
		p.names.followed = true
		p.accepting.Add(1)
		go p.refreshNames()
	}
}

func (p *Process) refreshNames() {
	defer p.accepting.Done()
	tick := time.NewTicker(namesRefresh)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.resolve(p.runtime.Load())
		case <-p.drain:
			return
		}
	}
}

// resolve asks for all names of rt at once.
func (p *Process) resolve(rt *Runtime) {
	if len(rt.hosts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(p.hardStop, rt.timeouts.Connect)
	defer cancel()
	var asking sync.WaitGroup
	for _, host := range rt.hosts {
		asking.Go(func() {
			addrs, err := p.network.Resolve(ctx, host)
			switch {
			case err != nil:
				p.log.Warn().Err(err).Str("host", word(host)).Msg("public address not resolved, the last answer stays")
			case p.names.set(host, addrs):
				p.log.Info().Str("host", word(host)).Addrs("addresses", addrs).Msg("public address resolved")
			}
		})
	}
	asking.Wait()
}
