package integration

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A proxy is a running ftproxy.
type proxy struct {
	*process
	addr4, addr6 netip.AddrPort // addr6 is zero without IPv6
	admin        netip.AddrPort
	path         string // of the configuration
}

// proxyConfig is what tests choose of the configuration.
type proxyConfig struct {
	place    place
	servers  []netip.AddrPort
	timeouts map[string]string // those that the test is about, by key
	frontend string            // more keys of the frontend
	backend  string            // more keys of the backend
	more     string            // more tables
	binary   string            // "" is the one that is tested
	listen   []netip.AddrPort
	passive  portRange
	dataPort portRange
}

// configure returns the usual configuration: one frontend on the place's proxy
// address and on ::1, one backend.
func configure(t *testing.T, p place, servers ...netip.AddrPort) *proxyConfig {
	t.Helper()
	c := &proxyConfig{place: p, servers: servers, passive: p.passive, dataPort: p.data}
	c.listen = []netip.AddrPort{netip.AddrPortFrom(p.proxy, freePort(t, p.proxy))}
	if haveIPv6() {
		lo := netip.IPv6Loopback()
		c.listen = append(c.listen, netip.AddrPortFrom(lo, freePort(t, lo)))
	}
	return c
}

// never is a timeout that must not be what ends anything: who waits for it fails
// when patience ends.
const never = "10m"

// long are the timeouts that are never, unless the test is about them. Those
// that are not here have long defaults, but for linger: servers that do not
// speak after a failure are waited for that long.
var long = []string{"connect", "greeting", "login", "port_wait", "data_connect", "client_write"}

// text is the configuration file.
func (c *proxyConfig) text(admin netip.AddrPort) string {
	timeouts := make(map[string]string)
	for _, key := range long {
		timeouts[key] = never
	}
	maps.Copy(timeouts, c.timeouts)
	var lines []string
	for key, value := range timeouts {
		lines = append(lines, fmt.Sprintf("%s = %q", key, value))
	}
	return fmt.Sprintf(`[log]
level = "debug"
[admin]
listen = "%s"
[timeouts]
%s
[frontend.public]
listen = [%s]
passive_ports = "%s"
backend = "inside"
%s
[backend.inside]
servers = [%s]
data_ports = "%s"
%s
%s
`, admin, strings.Join(lines, "\n"), quoted(c.listen), c.passive, c.frontend, quoted(c.servers), c.dataPort, c.backend, c.more)
}

func quoted(addrs []netip.AddrPort) string {
	var list []string
	for _, a := range addrs {
		list = append(list, strconv.Quote(a.String()))
	}
	return strings.Join(list, ", ")
}

// startProxy runs ftproxy until the end of the test, where it must end in good
// order: exit code 0, and no data race if the tests run with -race.
func startProxy(t *testing.T, c *proxyConfig, wrap ...string) *proxy {
	t.Helper()
	throughProxy(t)
	p := &proxy{admin: netip.AddrPortFrom(c.place.proxy, freePort(t, c.place.proxy))}
	path := filepath.Join(t.TempDir(), "config.toml")
	p.path = path
	write(t, path, c.text(p.admin))
	program := binary
	if c.binary != "" {
		program = c.binary
	}
	for _, a := range c.listen {
		if a.Addr().Is4() {
			p.addr4 = a
		} else {
			p.addr6 = a
		}
	}
	p.serve(t, path, append(wrap, program)...)
	return p
}

// serve runs a program that is ftproxy with a configuration.
func (p *proxy) serve(t *testing.T, path string, program ...string) {
	t.Helper()
	p.process = start(t, "ftproxy", ftproxyCommand(append(program, "serve", "-config", path)...))
	running := p.process
	t.Cleanup(func() { // before start's own
		if !running.running() && !running.stopped {
			t.Errorf("ftproxy ended by itself: %v", running.err)
			return
		}
		if code := running.stop(t, syscall.SIGTERM); code != 0 && !running.killed {
			t.Errorf("ftproxy: exit code %d after SIGTERM, want 0", code)
		}
		if strings.Contains(running.out.String(), "DATA RACE") {
			t.Error("ftproxy: data race")
		}
	})
	waitFor(t, "ftproxy is ready", patience, func() bool {
		if !p.running() {
			t.Fatalf("ftproxy ended: %v\n%s", p.err, p.out)
		}
		_, err := p.get("/readyz")
		return err == nil
	})
}

func ftproxyCommand(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0 exitcode=66")
	return cmd
}

var adminClient = &http.Client{
	Timeout:   patience,
	Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil},
}

// get reads a page of the admin address.
func (p *proxy) get(page string) (string, error) {
	resp, err := adminClient.Get("http://" + p.admin.String() + page)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", page, resp.Status)
	}
	return string(body), nil
}

// metrics returns the samples of /metrics, summed over their labels.
func (p *proxy) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	text, err := p.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if i < 0 {
			continue
		}
		name, _, _ := strings.Cut(line[:i], "{")
		value, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
		if err != nil {
			t.Fatalf("/metrics: %q: %v", line, err)
		}
		sums[name] += value
	}
	return sums
}
