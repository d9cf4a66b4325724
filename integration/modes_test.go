package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// dataModes are what a backend can be told of its servers.
var dataModes = []string{"client", "passive", "pasv", "epsv", "active", "port", "eprt"}

// crossedServers are those that every mode is crossed with.
var crossedServers = []string{"vsftpd", "proftpd", "pure-ftpd"}

// A crossing is a client's mode, a backend's, and the family of the server.
type crossing struct {
	client mode
	data   string
	ipv6   bool // the server
}

func (c crossing) String() string {
	return fmt.Sprintf("%s-%s-%s", c.client, c.data, family(c.ipv6))
}

func family(ipv6 bool) string {
	if ipv6 {
		return "IPv6"
	}
	return "IPv4"
}

// families are those that this machine has.
func families() []bool {
	if haveIPv6() {
		return []bool{false, true}
	}
	return []bool{false}
}

func allCrossings() (all []crossing) {
	for _, server6 := range families() {
		for _, data := range dataModes {
			for _, client6 := range families() {
				for _, verb := range []string{"PASV", "EPSV", "PORT", "EPRT"} {
					all = append(all, crossing{mode{verb, client6}, data, server6})
				}
			}
		}
	}
	return all
}

// want is what the server must be told, or how the client must be refused: a
// verb that has no room for an address of IPv6 is of no use there.
func (c crossing) want() (told string, refused int) {
	switch {
	case c.client.ipv6 && c.client.verb == "PASV":
		return "", 425
	case c.client.ipv6 && c.client.verb == "PORT":
		return "", 501
	case c.ipv6 && (c.data == "pasv" || c.data == "port"):
		return "", 425
	}
	passive := c.client.passive()
	switch c.data {
	case "pasv", "epsv", "port", "eprt":
		return strings.ToUpper(c.data), 0
	case "passive", "active":
		passive = c.data == "passive"
	}
	extended := c.ipv6 || c.client.verb[0] == 'E'
	switch {
	case passive && extended:
		return "EPSV", 0
	case passive:
		return "PASV", 0
	case extended:
		return "EPRT", 0
	}
	return "PORT", 0
}

// A crossroads is one kind of server in both families, and one ftproxy in front
// of it with a frontend for each of its modes and families.
type crossroads struct {
	place   place
	servers map[bool]*server // by ipv6
	proxy   *proxy
	at      map[crossing][2]netip.AddrPort // of the frontend, IPv4 and IPv6; without the client's mode
	client  map[bool]netip.Addr
	data    portRange
}

// newCrossroads starts both. startProxy is given wrap.
func newCrossroads(t *testing.T, kind serverKind, wrap ...string) *crossroads {
	t.Helper()
	throughProxy(t)
	needRoot(t, "a program with an /etc/hosts of its own")
	p := newPlace(t)
	x := &crossroads{
		place: p, servers: make(map[bool]*server), at: make(map[crossing][2]netip.AddrPort),
		client: map[bool]netip.Addr{false: p.client, true: netip.IPv6Loopback()},
	}
	root := folder(t)
	places.Lock()
	control := freeRange(t, p.proxy)
	places.Unlock()
	var more strings.Builder
	for _, ipv6 := range families() {
		addr := kind.address(p)
		if ipv6 {
			addr = ownIPv6(t, p)
		}
		s := kind.start(t, addr, root)
		s.kind = kind
		x.servers[ipv6] = s
		for _, data := range dataModes {
			at := [2]netip.AddrPort{
				netip.AddrPortFrom(p.proxy, control.first), netip.AddrPortFrom(netip.IPv6Loopback(), control.first),
			}
			control.first++
			x.at[crossing{data: data, ipv6: ipv6}] = at
			listen := at[:len(families())]
			fmt.Fprintf(&more, `
[frontend.%[1]s-%[2]s]
listen = [%[3]s]
passive_ports = "%[4]s"
backend = "%[1]s-%[2]s"
[backend.%[1]s-%[2]s]
servers = [%[5]q]
data = "%[1]s"
data_ports = "%[6]s"
`, data, family(ipv6), quoted(listen), p.passive, named(data, s.addr), p.data)
		}
	}
	c := configure(t, p, x.servers[false].addr) // its own frontend has no part
	c.more = more.String()
	x.data = c.dataPort
	if haveIPv6() {
		wrap = append(wrap, nameServers(t, x.servers[true].addr.Addr())...)
	}
	x.proxy = startProxy(t, c, wrap...)
	return x
}

// ownIPv6 gives this machine another address of IPv6 for a test's server.
// pure-ftpd's connections from port 20 would keep those of a vsftpd at the same
// address from that port for a minute.
func ownIPv6(t *testing.T, p place) netip.Addr {
	t.Helper()
	v4 := p.server.As4()
	addr := netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x21, 12: v4[0], 13: v4[1], 14: v4[2], 15: v4[3]})
	ip(t, "addr", "add", addr.String()+"/128", "dev", "lo", "nodad")
	t.Cleanup(func() { ip(t, "addr", "del", addr.String()+"/128", "dev", "lo") })
	return addr
}

// name6 has an address of IPv6, for the servers that nameServers looks up.
const name6 = "server6.test"

// nameServers runs a program that knows name6 from /etc/hosts, of which it has
// one of its own.
func nameServers(t *testing.T, addr netip.Addr) (wrap []string) {
	t.Helper()
	hosts := filepath.Join(t.TempDir(), "hosts")
	write(t, hosts, "127.0.0.1 localhost\n"+addr.String()+" "+name6+"\n")
	return []string{command(t, "unshare"), "--mount", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts}
}

// named is how the configuration names a server: by its name where ftproxy
// would not start with its address, so that it is the client who hears of it.
func named(data string, server netip.AddrPort) string {
	if _, code := (crossing{mode{"EPSV", false}, data, server.Addr().Is6()}).want(); code != 0 {
		return fmt.Sprintf("%s:%d", name6, server.Port())
	}
	return server.String()
}

// cross downloads a file of its own and uploads another, of size bytes each.
func (x *crossroads) cross(c crossing, size int) error {
	at := x.at[crossing{data: c.data, ipv6: c.ipv6}][0]
	if c.client.ipv6 {
		at = x.at[crossing{data: c.data, ipv6: c.ipv6}][1]
	}
	s := x.servers[c.ipv6]
	down, up := content(c.String()+" down", size), content(c.String()+" up", size)
	if err := os.WriteFile(filepath.Join(s.root, c.String()+"-down"), down, 0o644); err != nil {
		return err
	}
	r, err := dialIn(x.client[c.client.ipv6], at, s)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := r.get(c.client.verb, c.String()+"-down")
	if err != nil {
		return err
	}
	if !bytes.Equal(got, down) {
		return fmt.Errorf("download: %d bytes that are not the file's %d", len(got), len(down))
	}
	if err := r.put(c.client.verb, c.String()+"-up", up); err != nil {
		return err
	}
	if got, err = os.ReadFile(filepath.Join(s.root, c.String()+"-up")); err != nil {
		return err
	}
	if !bytes.Equal(got, up) {
		return fmt.Errorf("upload: the server has %d bytes that are not the file's %d", len(got), len(up))
	}
	_, err = r.expect(221, "QUIT")
	return err
}

// content is size bytes that no other name has.
func content(name string, size int) []byte {
	var seed [32]byte
	copy(seed[:], name)
	b := make([]byte, size)
	rand.NewChaCha8(seed).Read(b)
	return b
}

// crossAll crosses everything, several at a time, and returns how each went.
func (x *crossroads) crossAll(t *testing.T, size int) map[crossing]error {
	t.Helper()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		went = make(map[crossing]error)
		work = make(chan crossing)
	)
	for range 6 {
		all.Go(func() {
			for c := range work {
				err := x.cross(c, size)
				mu.Lock()
				went[c] = err
				mu.Unlock()
			}
		})
	}
	for _, c := range allCrossings() {
		work <- c
	}
	close(work)
	all.Wait()
	return went
}

// TestCrossings crosses the modes of clients, of backends and the families of both
// sides, with a download and an upload each, or the reply that says why not.
func TestCrossings(t *testing.T) {
	t.Run("servers", func(t *testing.T) {
		for _, name := range crossedServers {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				x := newCrossroads(t, serverNamed(name))
				went := x.crossAll(t, 100_003)
				told := x.judge(t, went)
				crossed.add(name, told)
				x.compareLogs(t, told)
			})
		}
	})
	if !t.Failed() {
		crossed.checkPage(t)
	}
}

// judge compares how each crossing went with what it must do, by the log of
// ftproxy too, and returns what the page says of it.
func (x *crossroads) judge(t *testing.T, went map[crossing]error) map[crossing]string {
	t.Helper()
	cells := make(map[crossing]string)
	worked := 0
	for _, err := range went {
		if err == nil {
			worked++
		}
	}
	log := x.proxy.transfers(t, 2*worked)
	for c, err := range went {
		want, code := c.want()
		var refused *refusal
		switch {
		case code != 0 && errors.As(err, &refused) && refused.code == code && refused.command == c.client.verb:
			cells[c] = fmt.Sprint(refused.code, " ", refused.text)
			if _, ok := log[c.String()+"-down"]; ok {
				t.Errorf("%s: refused, and transferred", c)
			}
		case code != 0:
			t.Errorf("%s: %v, want %d to %s", c, err, code, c.client.verb)
		case err != nil:
			t.Errorf("%s: %v", c, err)
		default:
			cells[c] = want
			for _, file := range []string{c.String() + "-down", c.String() + "-up"} {
				if err := x.confirm(c, want, log[file]); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
		}
	}
	return cells
}

// confirm looks at the addresses of both data connections: who has called whom,
// in which family, and at which port.
func (x *crossroads) confirm(c crossing, told string, got *crossedLine) error {
	switch {
	case got == nil:
		return errors.New("ftproxy has not logged it")
	case got.ClientMode != c.client.verb || got.ServerMode != told:
		return fmt.Errorf("modes %s and %s, want %s and %s", got.ClientMode, got.ServerMode, c.client.verb, told)
	case got.Result != "ok":
		return fmt.Errorf("result %s", got.Result)
	}
	for _, end := range []struct {
		side          string
		local, remote netip.AddrPort
		listens, ipv6 bool
		ports         portRange
	}{
		{"client", got.ClientDataLocal, got.ClientData, c.client.passive(), c.client.ipv6, x.place.passive},
		{"server", got.ServerDataLocal, got.ServerData, told == "PORT" || told == "EPRT", c.ipv6, x.data},
	} {
		if end.ports.contains(end.local.Port()) != end.listens || end.local.Addr().Is6() != end.ipv6 || end.remote.Addr().Is6() != end.ipv6 {
			return fmt.Errorf("%s: from %v to %v of ours, want it of %s and in %v: %t", end.side, end.remote, end.local, family(end.ipv6), end.ports, end.listens)
		}
	}
	return nil
}

// verbsLogged finds the verbs of data connections in the log of a server that
// writes its commands.
var verbsLogged = map[string]*regexp.Regexp{
	"vsftpd":  regexp.MustCompile(`FTP command: Client "[^"]*", "(PASV|EPSV|PORT|EPRT)\b`),
	"proftpd": regexp.MustCompile(`(?m)^\S+ (PASV|EPSV|PORT|EPRT)\b`),
}

// compareLogs counts the verbs that the servers were told, where they log that:
// two for each crossing that worked, none for any other.
func (x *crossroads) compareLogs(t *testing.T, told map[crossing]string) {
	t.Helper()
	for ipv6, s := range x.servers {
		logged := verbsLogged[s.kind.name]
		if logged == nil {
			continue
		}
		got, want := make(map[string]int), make(map[string]int)
		for _, m := range logged.FindAllStringSubmatch(s.log(), -1) {
			got[m[1]]++
		}
		for c, verb := range told {
			if c.ipv6 == ipv6 && len(verb) == len("PASV") {
				want[verb] += 2
			}
		}
		for _, verb := range []string{"PASV", "EPSV", "PORT", "EPRT"} {
			if got[verb] != want[verb] {
				t.Errorf("%s of %s was told %d times %s, want %d", s.kind.name, family(ipv6), got[verb], verb, want[verb])
			}
		}
		if strings.Contains(s.log(), x.place.client.String()) || strings.Contains(s.log(), comma(x.place.client)) {
			t.Errorf("%s has seen the client's address", s.kind.name)
		}
	}
}

// A crossedLine is what ftproxy logs of a transfer.
type crossedLine struct {
	Message         string         `json:"message"`
	Path            string         `json:"path"`
	Result          string         `json:"result"`
	ClientMode      string         `json:"client_mode"`
	ServerMode      string         `json:"server_mode"`
	Bytes           int64          `json:"bytes"`
	ClientData      netip.AddrPort `json:"client_data"`
	ClientDataLocal netip.AddrPort `json:"client_data_local"`
	ServerData      netip.AddrPort `json:"server_data"`
	ServerDataLocal netip.AddrPort `json:"server_data_local"`
	ClientDataTLS   string         `json:"client_data_tls"` // the version
	ServerDataTLS   string         `json:"server_data_tls"`
}

// transfers waits until so many files have been transferred, by ftproxy's log,
// and returns the last line of each.
func (p *proxy) transfers(t *testing.T, n int) map[string]*crossedLine {
	t.Helper()
	all := make(map[string]*crossedLine)
	holdsWithin(patience, func() bool {
		for line := range strings.Lines(p.out.String()) {
			if !strings.Contains(line, `"message":"transfer"`) || !strings.HasSuffix(line, "\n") {
				continue
			}
			l := new(crossedLine)
			if err := json.Unmarshal([]byte(line), l); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all[l.Path] = l
		}
		return len(all) >= n
	})
	return all
}
