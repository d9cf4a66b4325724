// Package names keeps the addresses of host names, as the resolver said last.
package names

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

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

// resolved tells whether a host has had an answer.
func (n *Names) resolved(host string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.known[host]) > 0
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

// patience is how long a resolver may take before the log says what is waited for:
// the start and each reload wait for the names.
const patience = time.Second

// Resolve asks for all hosts at once, and logs what is news.
func (n *Names) Resolve(ctx context.Context, hosts []string, ask func(context.Context, string) ([]netip.Addr, error), log logline.Log) {
	slow := time.AfterFunc(patience, func() {
		log.Warn().Str("hosts", logline.Word(strings.Join(hosts, ", "))).Msg("waiting for the resolver to answer for public_address, check DNS")
	})
	defer slow.Stop()
	var asking sync.WaitGroup
	for _, host := range hosts {
		asking.Go(func() {
			addrs, err := ask(ctx, host)
			switch {
			case err != nil && !n.resolved(host):
				log.Warn().Err(err).Str("host", logline.Word(host)).
					Msg("public address not resolved and no earlier answer is known, PASV gets 425: check the name and DNS")
			case err != nil:
				log.Warn().Err(err).Str("host", logline.Word(host)).Msg("public address not resolved, the last answer stays")
			case n.set(host, addrs):
				log.Info().Str("host", logline.Word(host)).Addrs("addresses", addrs).Msg("public address resolved")
			}
		})
	}
	asking.Wait()
}

// Refresh is how often names are asked for again: a public address may change at any time.
const Refresh = 30 * time.Second

// Run has the names asked for again and again, until ctx ends.
func (n *Names) Run(ctx context.Context, ask func()) {
	tick := time.NewTicker(Refresh)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			ask()
		case <-ctx.Done():
			return
		}
	}
}
