package servers

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"ftproxy/config"
	"ftproxy/internal/balance"
	"ftproxy/internal/ftp"
	"ftproxy/internal/resolve"
)

func reply(code int, lines ...string) ftp.Reply { return ftp.Reply{Code: code, Lines: lines} }

func backendOf(servers ...config.Server) []Spec {
	return []Spec{{Backend: config.Backend{Name: "legacy", Servers: servers}, Connect: time.Second}}
}

// States outlive a reload, by the server's name and address; a word by hand does so, too.
func TestReloads(t *testing.T) {
	s := newSet(new(network))
	defer s.Close()
	one, two := config.Server{Host: "10.0.0.5", Port: 21}, config.Server{Host: "10.0.0.6", Port: 21}
	plan := s.Prepare(t.Context(), backendOf(one, two))
	group := plan.Group("legacy")
	if !group.Usable() {
		t.Error("a plan's group has no servers before it is in force")
	}
	s.Use(plan)
	s.Metrics.ServerGreeted("legacy", "10.0.0.5:21", time.Second)
	s.Metrics.ServerGreeted("legacy", "10.0.0.6:21", time.Second)
	lease, err := group.Pick(t.Context(), balance.Key{})
	if err != nil || lease.Target.Name != "10.0.0.5:21" {
		t.Fatalf("%+v, %v", lease, err)
	}
	if err := s.SetByHand("legacy", "10.0.0.6:21", "drain"); err != nil {
		t.Fatal(err)
	}
	plan = s.Prepare(t.Context(), backendOf(two))
	if plan.Group("legacy") != group {
		t.Fatal("a reload makes another group")
	}
	s.Use(plan)
	if n := testutil.CollectAndCount(s.Metrics.Registry(), "ftproxy_server_greeting_seconds"); n != 1 {
		t.Errorf("greetings of %d servers are told of, want one", n)
	}
	if _, err := group.Pick(t.Context(), balance.Key{}); err == nil {
		t.Error("a server that was drained by hand is picked after a reload")
	}
	snapshot := s.Snapshots()["legacy"].Servers
	if len(snapshot) != 2 || snapshot[0].State != balance.Drain || !snapshot[1].Gone || snapshot[1].Sessions != 1 {
		t.Errorf("%+v", snapshot)
	}
	lease.Release()
	if n := len(s.Snapshots()["legacy"].Servers); n != 1 {
		t.Errorf("%d servers are known, want one", n)
	}
	for _, tt := range [][4]string{{"other", "10.0.0.6:21", "down", "only legacy"}, {"legacy", "10.0.0.5:21", "down", "only 10.0.0.6:21"}, {"legacy", "10.0.0.6:21", "off", "ready, drain or down"}} {
		if err := s.SetByHand(tt[0], tt[1], tt[2]); err == nil || !strings.Contains(err.Error(), tt[3]) {
			t.Errorf("%q: %v", tt[:3], err)
		}
	}
	s.Use(s.Prepare(t.Context(), nil))
	if len(s.Snapshots()) != 0 {
		t.Error("a backend that is gone is told of")
	}
}

// A name's addresses are followed, and the last good answer stays.
func TestNamesFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{names: map[string][]netip.Addr{"ftp.internal": {netip.MustParseAddr("10.0.0.5")}}}
		s := newSet(n)
		defer s.Close()
		plan := s.Prepare(t.Context(), backendOf(config.Server{Host: "ftp.internal", Port: 21}))
		s.Use(plan)
		addrs := func(want ...string) {
			t.Helper()
			var got []string
			for _, sv := range s.Snapshots()["legacy"].Servers {
				got = append(got, sv.Target.Addr.String())
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%q; want %q", got, want)
			}
		}
		set := func(all ...string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.names["ftp.internal"] = nil
			for _, a := range all {
				n.names["ftp.internal"] = append(n.names["ftp.internal"], netip.MustParseAddr(a))
			}
		}
		pass := func() {
			time.Sleep(resolve.Refresh + time.Second)
			synctest.Wait()
		}
		addrs("10.0.0.5:21")
		set("10.0.0.6", "2001:db8::6", "10.0.0.5")
		pass()
		addrs("10.0.0.5:21", "10.0.0.6:21", "[2001:db8::6]:21")
		set()
		pass()
		addrs("10.0.0.5:21", "10.0.0.6:21", "[2001:db8::6]:21")
		set("10.0.0.7")
		pass()
		addrs("10.0.0.7:21")
	})
}

// A name that has had no answer yet is asked for again soon: the resolver may come up late.
func TestNameWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{names: make(map[string][]netip.Addr)}
		s := newSet(n)
		defer s.Close()
		plan := s.Prepare(t.Context(), backendOf(config.Server{Host: "ftp.internal", Port: 21}))
		s.Use(plan)
		if plan.Group("legacy").Usable() {
			t.Error("a name without an address is a server")
		}
		n.mu.Lock()
		n.names["ftp.internal"] = []netip.Addr{netip.MustParseAddr("10.0.0.5")}
		n.mu.Unlock()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !plan.Group("legacy").Usable() {
			t.Error("the answer that came late is not used")
		}
	})
}
