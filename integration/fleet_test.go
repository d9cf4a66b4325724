package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A fleet is several ftproxies behind one HAProxy, all by the files of
// examples/haproxy with other addresses and ports.
type fleet struct {
	place   place
	server  *server
	haproxy *haproxy
	nodes   []*node
}

// A node is one of a fleet's ftproxies.
type node struct {
	*proxy
	name string
	path string // of its configuration
}

// fleetConfig is what a test chooses of a fleet.
type fleetConfig struct {
	variant string                   // a folder of examples/haproxy
	haproxy func(text string) string // nil: as it is
}

// exampleAddress is what must not be left of an example in a configuration that runs.
var exampleAddress = regexp.MustCompile(`\b(10\.\d+\.\d+\.\d+|203\.0\.113\.\d+|300\d\d)\b|:(21|9121|8404)\b`)

// startFleet starts vsftpd, two nodes and HAProxy.
func startFleet(t *testing.T, c fleetConfig) *fleet {
	t.Helper()
	throughProxy(t)
	program := unpacked(t, "haproxy", "usr/sbin/haproxy")
	p := newPlace(t)
	f := &fleet{place: p, server: startVsftpd(t, p.server, folder(t))}
	front, back := haproxyAddr(p), haproxyAddr(p).Next()
	peer := back.Next()
	one, two := peer.Next(), peer.Next().Next()
	at := []netip.AddrPort{netip.AddrPortFrom(one, freePort(t, one)), netip.AddrPortFrom(two, freePort(t, two))}
	middle := (p.passive.first + p.passive.last) / 2
	dir := shortFolder(t)
	f.haproxy = &haproxy{addr: netip.AddrPortFrom(front, freePort(t, front)), socket: filepath.Join(dir, "socket")}
	lo := netip.MustParseAddr("127.0.0.1")
	own := strings.NewReplacer(
		"127.0.0.1:8404", fmt.Sprintf("%s:%d", lo, freePort(t, lo)),
		"/run/haproxy/admin.sock", f.haproxy.socket, "maxconn 8000", "maxconn 1000", // for the descriptors of a test
		"203.0.113.9:21", f.haproxy.addr.String(), "203.0.113.9", front.String(),
		"10.1.0.2:10000", fmt.Sprintf("%s:%d", back, freePort(t, back)), "10.1.0.3:10000", fmt.Sprintf("%s:%d", peer, freePort(t, peer)),
		"10.1.0.2", back.String(), "10.1.0.3", peer.String(),
		"10.1.0.11:21", at[0].String(), "10.1.0.12:21", at[1].String(),
		"10.1.0.11", one.String(), "10.1.0.12", two.String(), "10.0.0.5:21", f.server.addr.String(),
		"30000-30099", p.passive.String(), "30000-30049", portRange{p.passive.first, middle}.String(),
		"30050-30099", portRange{middle + 1, p.passive.last}.String(), "31000-31099", p.data.String(),
	)
	example := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "examples", "haproxy", c.variant, name))
		if err != nil {
			t.Fatal(err)
		}
		return own.Replace(string(text))
	}
	for i, name := range []string{"node1", "node2"} {
		n := &node{name: name, path: filepath.Join(dir, name+".toml")}
		admin := netip.AddrPortFrom(lo, freePort(t, lo))
		text := strings.ReplaceAll(example(name+".toml"), "127.0.0.1:9121", admin.String()) + "data_ports = \"" + p.data.String() + "\"\n"
		n.proxy = &proxy{addr4: at[i], admin: admin}
		f.write(t, n.path, text)
		n.start(t)
		f.nodes = append(f.nodes, n)
	}
	text := example("haproxy.cfg")
	if c.haproxy != nil {
		changed := c.haproxy(text)
		if changed == text {
			t.Fatal("the change of the example does not change it")
		}
		text = changed
	}
	conf := filepath.Join(dir, "haproxy.cfg")
	f.write(t, conf, text)
	f.haproxy.run(t, program, conf)
	for _, n := range f.nodes {
		f.await(t, n, "UP")
	}
	return f
}

// write writes a configuration once nothing of the example's addresses is left.
func (f *fleet) write(t *testing.T, path, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if code, _, _ := strings.Cut(line, "#"); exampleAddress.MatchString(code) {
			t.Fatalf("%s: left of the example: %s", path, line)
		}
	}
	write(t, path, text)
}

func (n *node) start(t *testing.T) {
	t.Helper()
	n.serve(t, n.path, binary)
}

// serves counts the sessions that a node had from a client's address.
func (n *node) serves(client netip.Addr) (sessions int) {
	for line := range strings.Lines(n.out.String()) {
		if strings.Contains(line, `"session started"`) && strings.Contains(line, fmt.Sprintf(`"client":"%s:`, client)) {
			sessions++
		}
	}
	return sessions
}

// await waits until HAProxy says so of a node.
func (f *fleet) await(t *testing.T, n *node, status string) {
	t.Helper()
	waitFor(t, n.name+" is "+status, patience, func() bool {
		s := f.haproxy.status(t, "ftp_control/"+n.name, "status")
		return s == status || strings.HasPrefix(s, status+" ") // "DOWN 1/2" is on its way up
	})
}

// client is the address of the i-th client.
func (f *fleet) client(i int) netip.Addr {
	b := f.place.client.As4()
	b[3] = byte(50 + i)
	return netip.AddrFrom4(b)
}

// at is the node that serves a client who had one session only.
func (f *fleet) at(t *testing.T, client netip.Addr) *node {
	t.Helper()
	i := slices.IndexFunc(f.nodes, func(n *node) bool { return n.serves(client) > 0 })
	if i < 0 {
		t.Fatalf("no node serves %s", client)
	}
	return f.nodes[i]
}

// visit is a whole session: it begins, fetches small, and says goodbye.
func (f *fleet) visit(client netip.Addr) error {
	r, code, err := dialRaw(client, f.haproxy.addr, 3*patience)
	if err != nil {
		return err
	}
	defer r.Close()
	if code != 220 {
		return fmt.Errorf("greeting %d", code)
	}
	if err := r.login(f.server.user, f.server.pass); err != nil {
		return err
	}
	if err := fetchSmall(r); err != nil {
		return err
	}
	_, err = r.expect(221, "QUIT")
	return err
}

const smallText = "small but whole\n"

func fetchSmall(r *raw) error {
	at, err := r.passive()
	if err != nil {
		return err
	}
	got, err := r.fetch("small", at)
	if err == nil && string(got) != smallText {
		err = fmt.Errorf("small is %q", got)
	}
	return err
}

// fleetFile is more than all buffers on the way of one transfer hold.
const fleetFile = 32 << 20

// fill puts what the clients fetch onto the server.
func (f *fleet) fill(t *testing.T) {
	t.Helper()
	write(t, filepath.Join(f.server.root, "small"), smallText)
	large := filepath.Join(f.server.root, "large")
	write(t, large, "")
	if err := os.Truncate(large, fleetFile); err != nil {
		t.Fatal(err)
	}
}

// A download is a client in the middle of one.
type download struct {
	*raw
	data net.Conn
	got  int64
}

// download begins to fetch large, and reads the first part of it.
func (f *fleet) download(client netip.Addr) (*download, error) {
	r, _, err := dialRaw(client, f.haproxy.addr, 5*patience)
	if err != nil {
		return nil, err
	}
	d := &download{raw: r}
	if err := d.begin(f.server); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *download) begin(s *server) error {
	if err := d.login(s.user, s.pass); err != nil {
		return err
	}
	at, err := d.passive()
	if err != nil {
		return err
	}
	d.data, err = (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.bind, 0)), Timeout: patience}).Dial("tcp", at.String())
	if err != nil {
		return err
	}
	d.data.SetDeadline(time.Now().Add(5 * patience))
	if _, err := d.expect(150, "RETR large"); err != nil {
		return err
	}
	d.got, err = io.CopyN(io.Discard, d.data, 64<<10)
	return err
}

func (d *download) close() {
	if d.data != nil {
		d.data.Close()
	}
	d.Close()
}

// finish reads the rest, and wants all of it, 226, and a session that goes on.
func (d *download) finish() error {
	n, err := io.Copy(io.Discard, d.data)
	if err != nil {
		return err
	}
	if d.got+n != fleetFile {
		return fmt.Errorf("%d bytes of %d", d.got+n, fleetFile)
	}
	if code, text, err := d.reply(); code != 226 {
		return fmt.Errorf("after it: %d %s, %w", code, text, err)
	}
	if err := fetchSmall(d.raw); err != nil {
		return err
	}
	_, err = d.expect(221, "QUIT")
	return err
}

// breaks expects that the session is gone, with a part of the file.
func (d *download) breaks() error {
	n, _ := io.Copy(io.Discard, d.data)
	if d.got+n >= fleetFile {
		return errors.New("the whole file came from a node that is dead")
	}
	if code, text, err := d.reply(); err == nil {
		return fmt.Errorf("a reply from a node that is dead: %d %s", code, text)
	}
	return nil
}

// all runs f for 0 to n-1 at once, and ends the test where one fails.
func all(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := f(i); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// TestFleet: fifty clients download from two nodes, and one of these is killed. The
// sessions of the other lose nothing, who lost his session has a new one at once, and
// the node is used again when it is back.
func TestFleet(t *testing.T) {
	const clients = 50
	for _, variant := range []string{"split", "stick"} {
		t.Run(variant, func(t *testing.T) {
			f := startFleet(t, fleetConfig{variant: variant})
			f.fill(t)
			victim, other := f.nodes[0], f.nodes[1]
			downloads := make([]*download, clients)
			all(t, clients, func(i int) (err error) {
				downloads[i], err = f.download(f.client(i))
				return err
			})
			lost := make([]bool, clients)
			n := 0
			for i, d := range downloads {
				defer d.close()
				if lost[i] = f.at(t, f.client(i)) == victim; lost[i] {
					n++
				}
			}
			if n < clients/4 || n > clients*3/4 {
				t.Errorf("%d of %d sessions are at %s, want about half of them", n, clients, victim.name)
			}
			victim.stop(t, syscall.SIGKILL)
			all(t, clients, func(i int) error {
				if !lost[i] {
					return downloads[i].finish()
				}
				if err := downloads[i].breaks(); err != nil {
					return err
				}
				return f.visit(f.client(i))
			})
			f.await(t, victim, "DOWN")
			if err := f.visit(f.client(clients)); err != nil || other.serves(f.client(clients)) != 1 {
				t.Errorf("a new client, when %s is known to be dead: %v", victim.name, err)
			}
			victim.start(t)
			f.await(t, victim, "UP")
			// Nobody is there, so both nodes get some of the next ones.
			again := 0
			for i := range 4 {
				client := f.client(clients + 1 + i)
				if err := f.visit(client); err != nil {
					t.Errorf("%s is back, a new client: %v", victim.name, err)
				}
				again += victim.serves(client)
			}
			if again == 0 {
				t.Errorf("%s is back, and gets no client", victim.name)
			}
			for _, n := range f.nodes {
				if refused := n.metrics(t)["ftproxy_proxy_headers_refused_total"]; refused > 0 {
					t.Errorf("%s refused %v connections", n.name, refused)
				}
			}
		})
	}
}

// seldomChecked is a HAProxy that checks each node once, at the start.
func seldomChecked(text string) string {
	return strings.ReplaceAll(text, "inter 2s fastinter 500ms downinter 1s", "inter 1h")
}

// TestFleetBeforeTheCheck: a node is dead and no check has told HAProxy so. New
// clients are served all the same, by the other one.
func TestFleetBeforeTheCheck(t *testing.T) {
	for _, variant := range []string{"split", "stick"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, fleetConfig{variant: variant, haproxy: seldomChecked})
			f.fill(t)
			// The only check of the first node is over: killed in the middle of it, it would be down.
			waitFor(t, "HAProxy has checked it", patience, func() bool {
				return strings.HasPrefix(f.haproxy.status(t, "ftp_control/node1", "check_status"), "L7OK")
			})
			// Clients that the table of the stick variant knows, and others.
			for i := range 4 {
				if err := f.visit(f.client(i)); err != nil {
					t.Fatal(err)
				}
			}
			f.nodes[0].stop(t, syscall.SIGKILL)
			for i := range 8 {
				before := f.nodes[1].serves(f.client(i))
				if err := f.visit(f.client(i)); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
				if f.nodes[1].serves(f.client(i)) != before+1 {
					t.Errorf("client %d is not at %s", i, f.nodes[1].name)
				}
			}
			if status := f.haproxy.status(t, "ftp_control/node1", "status"); status != "UP" {
				t.Errorf("HAProxy says %s, so this was not before the check", status)
			}
		})
	}
}

// TestFleetDrain: a node is taken out of service. Its transfer goes on to its end,
// also when HAProxy has found it down, and new clients go to the other one.
func TestFleetDrain(t *testing.T) {
	for _, variant := range []string{"split", "stick"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, fleetConfig{variant: variant})
			f.fill(t)
			d, err := f.download(f.client(0))
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			n := f.at(t, f.client(0))
			ended := make(chan int, 1)
			go func() { ended <- n.stop(t, syscall.SIGTERM) }()
			f.await(t, n, "DOWN")
			for i := range 4 {
				if err := f.visit(f.client(1 + i)); err != nil {
					t.Errorf("a new client: %v", err)
				}
			}
			if rest, err := io.Copy(io.Discard, d.data); err != nil || d.got+rest != fleetFile {
				t.Errorf("the transfer ends after %d bytes of %d, %v", d.got+rest, fleetFile, err)
			}
			for _, want := range []int{226, 421} {
				if code, text, err := d.reply(); code != want {
					t.Errorf("%d %s %v, want %d", code, text, err, want)
				}
			}
			if code := <-ended; code != 0 {
				t.Errorf("%s ends with %d", n.name, code)
			}
		})
	}
}
