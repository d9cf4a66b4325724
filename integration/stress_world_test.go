package integration

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A stressRig is where a row runs: the world of its clients, and ftproxy.
type stressRig struct {
	*stressWorld
	place      place
	proxy      *process // nil in direct mode
	config     string   // its file
	texts      []string // what reloads write there, by turns
	background sync.WaitGroup
}

// start starts the server, ftproxy and HAProxy of a row.
func (row stressRow) start(t *testing.T) *stressRig {
	t.Helper()
	p := newPlace(t)
	l := newLedger()
	s := startStressServer(t, p.server, l)
	r := &stressRig{place: p, stressWorld: &stressWorld{
		ledger: l, server: s, to: s.addr, setups: row.setups, conns: make(map[net.Conn]struct{}),
	}}
	if stressDirect {
		return r
	}
	throughProxy(t)
	p.passive.last = p.passive.first + uint16(row.ports) - 1
	c := configure(t, p, s.addr)
	if row.haproxy {
		c = behindHAProxy(t, p, s.addr)
	}
	c.listen = c.listen[:1]
	if row.ports > rangeSize { // They reach into the place's other range.
		c.dataPort = portRange{p.passive.last + 1, p.passive.last + rangeSize}
	}
	if row.dataPorts > 0 {
		c.dataPort.last = c.dataPort.first + uint16(row.dataPorts) - 1
	}
	c.timeouts = map[string]string{"port_wait": "6s", "data_connect": promised.String()}
	c.frontend += row.frontend + "\n"
	c.backend = row.backend
	if row.version != "" {
		certificate := certificateFor(t, p.proxy)
		c.frontend += fmt.Sprintf("tls = { mode = \"required\", certificate = %q, require_session_reuse = %t }\n", certificate.File, row.reuse)
		r.tls = func() *tls.Config {
			return clientConfig(certificate.Pool, row.version, new(stressTicket))
		}
	}
	if row.fast {
		c.binary = plainBinary(t)
	}
	r.to = c.listen[0]
	r.serve(t, c)
	if r.haproxy = row.haproxy; row.haproxy {
		r.to = startHAProxy(t, p, r.to, haproxyConfig{send: "send-proxy-v2"}).addr
	}
	return r
}

// serve starts ftproxy, and prepares the texts for its reloads.
func (r *stressRig) serve(t *testing.T, c *proxyConfig) {
	t.Helper()
	admin := netip.AddrPortFrom(c.place.proxy, freePort(t, c.place.proxy))
	text := func() string { return strings.Replace(c.text(admin), `level = "debug"`, `level = "warn"`, 1) }
	r.config = filepath.Join(t.TempDir(), "config.toml")
	write(t, r.config, text())
	r.texts = append(r.texts, text())
	c.frontend += "passive_bind = \"0.0.0.0\"\n"
	r.texts = append(r.texts, text())

	program := binary
	if c.binary != "" {
		program = c.binary
	}
	if other := os.Getenv("FTPROXY_STRESS_BINARY"); other != "" {
		program = other
	}
	cmd := ftproxyCommand(program, "serve", "-config", r.config)
	out := new(lastLines)
	cmd.Stdout, cmd.Stderr = out, out
	r.proxy = start(t, "ftproxy", cmd)
	running := &proxy{process: r.proxy, admin: admin}
	t.Cleanup(func() {
		if !r.proxy.running() {
			t.Errorf("ftproxy ended by itself: %v\n%s", r.proxy.err, out)
		} else if code := r.proxy.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("ftproxy: exit code %d after SIGTERM, want 0\n%s", code, out)
		}
		if out.race() {
			t.Errorf("ftproxy: data race\n%s", out)
		}
	})
	waitFor(t, "ftproxy is ready", patience, func() bool {
		if !r.proxy.running() {
			t.Fatalf("ftproxy ended: %v\n%s", r.proxy.err, out)
		}
		_, err := running.get("/readyz")
		return err == nil
	})
}

// reloads has ftproxy read another configuration twice a second.
func (row stressRow) reloads(r *stressRig) {
	if r.proxy == nil {
		return
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-r.stop.Done():
			return
		}
		next := r.config + ".next"
		err := os.WriteFile(next, []byte(r.texts[n%len(r.texts)]), 0o644)
		if err == nil {
			err = os.Rename(next, r.config)
		}
		if err == nil {
			err = r.proxy.cmd.Process.Signal(syscall.SIGHUP)
		}
		if err != nil {
			r.fault(broken, "reload: %v", err)
			return
		}
	}
}

// lastLines keeps the end of what a process writes, however long it runs. After a
// data race it keeps that.
type lastLines struct {
	mu    sync.Mutex
	b     []byte
	raced bool
}

func (o *lastLines) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	const most = 64 << 10
	if o.raced && len(o.b) > most {
		return len(p), nil
	}
	from := max(len(o.b)-len("DATA RACE"), 0)
	o.b = append(o.b, p...)
	o.raced = o.raced || strings.Contains(string(o.b[from:]), "DATA RACE")
	if len(o.b) > 2*most && !o.raced {
		o.b = append(o.b[:0], o.b[len(o.b)-most:]...)
	}
	return len(p), nil
}

func (o *lastLines) race() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.raced
}

func (o *lastLines) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return tail(string(o.b), 200)
}
