package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A netns is a network namespace that belongs to one test. It has a loopback of
// its own and no route to anywhere.
type netns struct{ name string }

var netnsCount atomic.Int32

// needNamespaces ends a test that cannot have namespaces of its own.
func needNamespaces(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		lack(t, "network namespaces need root")
	}
	if out, err := exec.Command(command(t, "ip"), "netns", "list").CombinedOutput(); err != nil {
		lack(t, fmt.Sprintf("ip netns: %v: %s", err, out))
	}
	probe := netnsName("probe")
	if out, err := exec.Command("ip", "netns", "add", probe).CombinedOutput(); err != nil {
		lack(t, fmt.Sprintf("no network namespaces here: %v: %s", err, out))
	}
	ip(t, "netns", "del", probe)
}

func netnsName(role string) string {
	return fmt.Sprintf("ftproxy-%d-%d-%s", os.Getpid(), netnsCount.Add(1), role)
}

func newNetns(t *testing.T, role string) *netns {
	t.Helper()
	n := &netns{netnsName(role)}
	ip(t, "netns", "add", n.name)
	t.Cleanup(func() { ip(t, "netns", "del", n.name) })
	ip(t, "-n", n.name, "link", "set", "lo", "up")
	n.do(t, func() {
		for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+key, []byte("0"), 0); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	})
	return n
}

// enter moves the calling goroutine into the namespace, with the sockets and
// processes that it makes, until leave is called in the same goroutine.
func (n *netns) enter() (leave func(), err error) {
	runtime.LockOSThread()
	defer func() {
		if err != nil {
			runtime.UnlockOSThread()
		}
	}()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	there, err := os.Open(filepath.Join("/run/netns", n.name))
	if err != nil {
		home.Close()
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		home.Close()
		return nil, err
	}
	return func() {
		defer home.Close()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // Otherwise the thread ends with the goroutine.
		}
	}, nil
}

// do calls f within the namespace. What f starts in other goroutines is
// outside of it.
func (n *netns) do(t *testing.T, f func()) {
	t.Helper()
	leave, err := n.enter()
	if err != nil {
		t.Fatalf("entering %s: %v", n.name, err)
	}
	defer leave()
	f()
}

// A lab is three namespaces in a row: what is in the first reaches what is in
// the last only through a program in the middle one.
type lab struct {
	client, proxy, server *netns
	ends                  map[string]labEnds // "IPv4" and, where the machine has it, "IPv6"
}

// labEnds are the addresses on the two links of a lab.
type labEnds struct{ client, outside, inside, server netip.Addr }

// labLink is what the single link of the outer two namespaces is called.
const labLink = "eth0"

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{client: newNetns(t, "client"), proxy: newNetns(t, "proxy"), server: newNetns(t, "server")}
	l.ends = map[string]labEnds{"IPv4": {
		netip.MustParseAddr("198.51.100.77"), netip.MustParseAddr("198.51.100.10"),
		netip.MustParseAddr("10.20.30.40"), netip.MustParseAddr("10.20.30.50"),
	}}
	if haveIPv6() {
		l.ends["IPv6"] = labEnds{
			netip.MustParseAddr("2001:db8:c::77"), netip.MustParseAddr("2001:db8:c::10"),
			netip.MustParseAddr("fd20:30::40"), netip.MustParseAddr("fd20:30::50"),
		}
	}
	ip(t, "-n", l.client.name, "link", "add", labLink, "type", "veth", "peer", "name", "outside", "netns", l.proxy.name)
	ip(t, "-n", l.server.name, "link", "add", labLink, "type", "veth", "peer", "name", "inside", "netns", l.proxy.name)
	for _, e := range l.ends {
		for _, a := range []struct {
			at   *netns
			link string
			addr netip.Addr
		}{{l.client, labLink, e.client}, {l.proxy, "outside", e.outside}, {l.proxy, "inside", e.inside}, {l.server, labLink, e.server}} {
			args := []string{"-n", a.at.name, "addr", "add", a.addr.String() + "/24", "dev", a.link}
			if a.addr.Is6() {
				args[4] = a.addr.String() + "/64"
				args = append(args, "nodad")
			}
			ip(t, args...)
			ip(t, "-n", a.at.name, "link", "set", a.link, "up")
		}
	}
	for _, e := range l.ends {
		l.client.do(t, func() {
			if c, err := net.DialTimeout("tcp", netip.AddrPortFrom(e.server, 21).String(), time.Second); err == nil {
				c.Close()
				t.Fatalf("the client reaches %s without ftproxy", e.server)
			}
		})
	}
	return l
}

// A labProxy is an ftproxy in the middle of a lab.
type labProxy struct {
	*process
	http *http.Client
	url  string
}

// startProxy runs ftproxy on port 21 until the end of the test, where it must
// end in good order.
func (l *lab) startProxy(t *testing.T, timeouts map[string]string, server netip.AddrPort) *labProxy {
	t.Helper()
	throughProxy(t)
	var listen []netip.AddrPort
	for _, e := range l.ends {
		listen = append(listen, netip.AddrPortFrom(e.outside, 21))
	}
	admin := netip.MustParseAddrPort("127.0.0.1:9121")
	c := &proxyConfig{
		servers: []netip.AddrPort{server}, timeouts: timeouts, listen: listen,
		passive: portRange{30000, 30009}, dataPort: portRange{31000, 31009},
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	write(t, path, c.text(admin))
	p := &labProxy{url: "http://" + admin.String()}
	p.http = &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			leave, err := l.proxy.enter()
			if err != nil {
				return nil, err
			}
			defer leave()
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	l.proxy.do(t, func() { p.process = start(t, "ftproxy", ftproxyCommand(binary, "serve", "-config", path)) })
	t.Cleanup(func() { // before start's own
		if code := p.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("ftproxy: exit code %d after SIGTERM, want 0", code)
		}
	})
	waitFor(t, "ftproxy is ready", patience, func() bool {
		if !p.running() {
			t.Fatalf("ftproxy ended: %v\n%s", p.err, p.out)
		}
		_, err := p.get("/healthz")
		return err == nil && strings.Contains(p.out.String(), `"admin listening"`) // the last of its addresses
	})
	return p
}

func (p *labProxy) get(page string) (string, error) {
	resp, err := p.http.Get(p.url + page)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", page, resp.Status)
	}
	return string(body), err
}
