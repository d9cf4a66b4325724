package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// some runs the scenarios that tell whether data connections work at all.
func some(t *testing.T, r *rig, c client, modes ...mode) {
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) {
			for _, sc := range []struct {
				name string
				run  func(*bench)
			}{{"list", (*bench).lists}, {"download", (*bench).downloads}, {"upload", (*bench).uploads}} {
				t.Run(sc.name, func(t *testing.T) {
					to := r.target(t, m.ipv6)
					dir := strings.ReplaceAll(t.Name(), "/", "-")
					sc.run(newBench(t, r, to, m, c, dir))
				})
			}
		})
	}
}

// TestServerLies: the server writes an address in its 227 that nobody can reach.
func TestServerLies(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	p := newPlace(t)
	s := startVsftpdWith(t, p.server, folder(t), "pasv_address=192.0.2.77", serverTLS{})
	r := &rig{server: s, proxy: startProxy(t, configure(t, p, s.addr)), place: p}
	some(t, r, ftplib{python(t)}, mode{"PASV", false}, mode{"EPSV", true})
}

// TestServerIPv6: IPv4 clients reach a server that has IPv6 only.
func TestServerIPv6(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	if !haveIPv6() {
		lack(t, "no IPv6 on loopback")
	}
	p := newPlace(t)
	s := startVsftpd(t, netip.IPv6Loopback(), folder(t))
	r := &rig{server: s, proxy: startProxy(t, configure(t, p, s.addr)), place: p}
	some(t, r, curl{command(t, "curl")},
		mode{"PASV", false}, mode{"EPSV", false}, mode{"PORT", false}, mode{"EPRT", false}, mode{"EPRT", true})
}

// TestWildcard: the frontend listens on the wildcard; what a client is
// told is the address that it reached.
func TestWildcard(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	p := newPlace(t)
	s := startVsftpd(t, p.server, folder(t))
	c := configure(t, p, s.addr)
	wildcard := netip.AddrPortFrom(netip.IPv4Unspecified(), freePort(t, netip.IPv4Unspecified()))
	c.listen = []netip.AddrPort{wildcard}
	ftproxy := startProxy(t, c)
	for i := range 3 {
		a := p.proxy.As4()
		a[3] += byte(i)
		ftproxy.addr4 = netip.AddrPortFrom(netip.AddrFrom4(a), wildcard.Port())
		t.Run(fmt.Sprintf("reached-at-%d", a[3]), func(t *testing.T) {
			some(t, &rig{server: s, proxy: ftproxy, place: p}, curl{command(t, "curl")}, mode{"PASV", false}, mode{"PORT", false})
		})
	}
}
