// Package names keeps the addresses of host names, as the resolver said last.
package names

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"ftproxy/internal/logline"
)

// Names are the addresses of host names. A resolver that fails changes nothing. The
// zero value is ready.
type Names struct {
	mu    sync.Mutex
	known map[string][]netip.Addr
}

// IPv4 is the first IPv4 address of the hosts.
func (n *Names) IPv4(hosts []string) (addr netip.Addr, ok bool) {
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
func (n *Names) set(host string, addrs []netip.Addr) bool {
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

// Resolve asks for all hosts at once, and logs what is news.
func (n *Names) Resolve(ctx context.Context, hosts []string, ask func(context.Context, string) ([]netip.Addr, error), log logline.Log) {
	var asking sync.WaitGroup
	for _, host := range hosts {
		asking.Go(func() {
			addrs, err := ask(ctx, host)
			switch {
			case err != nil:
				log.Warn().Err(err).Str("host", logline.Word(host)).Msg("public address not resolved, the last answer stays")
			case n.set(host, addrs):
				log.Info().Str("host", logline.Word(host)).Addrs("addresses", addrs).Msg("public address resolved")
			}
		})
	}
	asking.Wait()
}
