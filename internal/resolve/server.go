package resolve

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"ftproxy/config"
	"ftproxy/internal/logline"
)

// maxAsked is how many names of one SRV record's targets are asked for at once: each
// costs a descriptor.
const maxAsked = 16

// maxLogged is how many addresses of an answer the log has.
const maxLogged = 10

// families are the networks of LookupNetIP. They are asked for one by one, so that the
// failure of one does not look like the end of its addresses.
var families = []string{"ip4", "ip6"}

// A server is one server of the configuration, and the last good answers for it.
type server struct {
	conf config.Server

	mu      sync.Mutex
	targets []Target
	records []*net.SRV              // of the last good answer
	addrs   map[string][]netip.Addr // by family and host: "ip4 ftp.example.net"
	failing map[string]string       // names whose last answer was an error, and its kind
	cut     bool                    // the last answer had too many addresses
}

func newServer(conf config.Server, old *server) *server {
	v := &server{conf: conf, addrs: make(map[string][]netip.Addr), failing: make(map[string]string)}
	if v.literal() {
		ip, _ := netip.ParseAddr(conf.Host)
		v.targets = []Target{v.target(conf.Host, netip.AddrPortFrom(ip, conf.Port), 1, 0)}
		return v
	}
	if old != nil {
		old.mu.Lock()
		defer old.mu.Unlock()
		v.records, v.cut = old.records, old.cut
		maps.Copy(v.addrs, old.addrs)
		maps.Copy(v.failing, old.failing)
		v.targets, _ = v.assemble()
	}
	return v
}

// literal tells whether the server is an address.
func (v *server) literal() bool {
	_, err := netip.ParseAddr(v.conf.Host)
	return err == nil && !v.conf.SRV
}

// answer is the targets of the last good answer.
func (v *server) answer() []Target {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.targets
}

// target is one address of the server. weight is that of its SRV record.
func (v *server) target(host string, addr netip.AddrPort, weight, tier int) Target {
	if v.conf.Backup {
		tier += BackupTier
	}
	return Target{Name: v.conf.Name(), Host: host, Addr: addr, Weight: min(config.MaxWeight, weight*max(1, v.conf.Weight)), Tier: tier, Max: v.conf.MaxSessions}
}

// resolve looks up all that a server needs.
func (s *Set) resolve(ctx context.Context, v *server) {
	if v.conf.SRV {
		_, records, err := s.Lookup.LookupSRV(ctx, "", "", v.conf.Host)
		if records = usable(records); err == nil && len(records) == 0 {
			err = errEmpty
		}
		v.mu.Lock()
		if err == nil {
			v.records = records
		}
		known := len(v.records) > 0
		v.mu.Unlock()
		s.note(v, v.conf.String(), err, known)
	}
	places := make(chan struct{}, maxAsked)
	var asking sync.WaitGroup
	for _, host := range v.hosts() {
		asking.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			s.resolveHost(ctx, v, host)
		})
	}
	asking.Wait()
	v.mu.Lock()
	targets, cut := v.assemble()
	news := !slices.Equal(targets, v.targets)
	wasCut := v.cut
	v.targets, v.cut = targets, cut > 0
	v.forget()
	v.mu.Unlock()
	if cut > 0 && !wasCut {
		s.line(s.Log.Warn(), v).Int("left_out", cut).Int("used", maxAddrs).Msg("server has too many addresses, check the name in DNS")
	}
	if news {
		var addrs []string
		for _, t := range targets[:min(len(targets), maxLogged)] {
			addrs = append(addrs, t.Addr.String())
		}
		s.line(s.Log.Info(), v).Int("count", len(targets)).Str("addresses", logline.Word(strings.Join(addrs, ", "))).Msg("server resolved")
	}
}

// errEmpty is an answer without addresses or records.
var errEmpty = errors.New("the answer is empty")

// resolveHost looks up the addresses of one host. A family that it does not have is
// no failure while it has the other.
func (s *Set) resolveHost(ctx context.Context, v *server, host string) {
	if _, err := netip.ParseAddr(host); err == nil { // some resolvers put addresses into SRV records
		return
	}
	var asking sync.WaitGroup
	answers, errs := make([][]netip.Addr, len(families)), make([]error, len(families))
	for i, family := range families {
		asking.Go(func() {
			answers[i], errs[i] = s.Lookup.LookupNetIP(ctx, family, host)
			if errs[i] == nil && len(answers[i]) == 0 {
				errs[i] = errEmpty
			}
		})
	}
	asking.Wait()
	none := true // the host has no address at all, so the last answer stays
	for _, err := range errs {
		none = none && err != nil
	}
	v.mu.Lock()
	known := false
	for i, family := range families {
		key := family + " " + host
		switch {
		case errs[i] == nil:
			v.addrs[key] = answers[i]
		case !none && kindOf(errs[i]) == notFound:
			delete(v.addrs, key)
			errs[i] = nil
		}
		known = known || len(v.addrs[key]) > 0
	}
	v.mu.Unlock()
	err := cmp.Or(errs[0], errs[1])
	if none && kindOf(errs[0]) == notFound && errs[1] != nil { // tell the one that may pass
		err = errs[1]
	}
	s.note(v, host, err, known)
}

// The kinds of failures that the log tells apart. Their texts differ at every try.
const (
	notFound = "not found"
	timeout  = "timeout"
	other    = "other"
)

func kindOf(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, errEmpty) || errors.As(err, &dns) && dns.IsNotFound:
		return notFound
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &dns) && dns.IsTimeout:
		return timeout
	}
	return other
}

// note logs how the answer for a name differs from the one before: a failure once, and
// its end. known tells whether there is a good answer, old or new.
func (s *Set) note(v *server, name string, err error, known bool) {
	if errors.Is(err, context.Canceled) {
		return // We are leaving.
	}
	kind := ""
	if err != nil {
		kind = kindOf(err)
	}
	v.mu.Lock()
	was := v.failing[name]
	if v.failing[name] = kind; kind == "" {
		delete(v.failing, name)
	}
	v.mu.Unlock()
	switch {
	case kind == was:
	case err == nil:
		s.line(s.Log.Info(), v).Str("host", logline.Word(name)).Msg("server name resolved again")
	case known:
		s.line(s.Log.Warn(), v).Err(err).Str("host", logline.Word(name)).Msg("server name not resolved, the last answer stays: check the name and DNS")
	default:
		s.line(s.Log.Warn(), v).Err(err).Str("host", logline.Word(name)).
			Msg("server name not resolved and no earlier answer is known, the server is not used: check the name and DNS")
	}
}

func (s *Set) line(l logline.Line, v *server) logline.Line {
	return l.Str("backend", logline.Word(s.Backend)).Str("server", logline.Word(v.conf.Name()))
}

// hosts are the names whose addresses the server has.
func (v *server) hosts() (all []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.conf.SRV {
		return []string{v.conf.Host}
	}
	for _, r := range v.records {
		if host := bare(r.Target); !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

// forget drops what is known of names that no record has any more.
func (v *server) forget() {
	named := map[string]bool{v.conf.String(): true, v.conf.Host: true}
	for _, r := range v.records {
		named[bare(r.Target)] = true
	}
	maps.DeleteFunc(v.failing, func(name, _ string) bool { return !named[name] })
	maps.DeleteFunc(v.addrs, func(key string, _ []netip.Addr) bool {
		_, host, _ := strings.Cut(key, " ")
		return !named[host]
	})
}

// bare is the name of a host in the one form that all its spellings have.
func bare(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// usable are the records that name a host and a port, sorted, and maxAddrs at most. The
// target "." says that there is no such service (RFC 2782).
func usable(records []*net.SRV) (all []*net.SRV) {
	for _, r := range records {
		if r.Port != 0 && bare(r.Target) != "" {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(bare(a.Target), bare(b.Target)), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Weight, b.Weight))
	})
	return all[:min(len(all), maxAddrs)]
}

// assemble makes targets of the last good answers, and tells how many are too many.
func (v *server) assemble() (targets []Target, cut int) {
	seen := make(map[netip.AddrPort]bool)
	add := func(host string, port uint16, weight, tier int) {
		addrs := slices.Concat(v.addrs["ip4 "+host], v.addrs["ip6 "+host])
		if ip, err := netip.ParseAddr(host); err == nil {
			addrs = []netip.Addr{ip}
		}
		for _, a := range addrs {
			addr := netip.AddrPortFrom(a.Unmap(), port)
			if !seen[addr] {
				seen[addr] = true
				targets = append(targets, v.target(host, addr, weight, tier))
			}
		}
	}
	if !v.conf.SRV {
		add(v.conf.Host, v.conf.Port, 1, 0)
	}
	tier, heaviest := -1, 1
	for _, r := range v.records {
		heaviest = max(heaviest, int(r.Weight)*max(1, v.conf.Weight))
	}
	for i, r := range v.records { // sorted by priority
		if i == 0 || r.Priority != v.records[i-1].Priority {
			tier++
		}
		add(bare(r.Target), r.Port, scaled(int(r.Weight), heaviest), tier)
	}
	slices.SortFunc(targets, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Tier, b.Tier), a.Addr.Compare(b.Addr))
	})
	if cut = len(targets) - maxAddrs; cut > 0 {
		targets = targets[:maxAddrs]
	}
	return targets, max(0, cut)
}

// scaled brings the weight of a record within bounds. heaviest is the largest one, with
// that of the server. A record of weight 0 has a very small share (RFC 2782).
func scaled(weight, heaviest int) int {
	if heaviest > config.MaxWeight {
		weight = (weight*config.MaxWeight + heaviest/2) / heaviest
	}
	return max(1, weight)
}
