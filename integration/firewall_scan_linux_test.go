package integration

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A witness is a table in ftproxy's namespace that notes to which ports
// connections were tried there, before any rule of ftproxy's own machine sees
// them. So a scan is judged by what has passed the firewall in front, and not
// by answers that may come late.
const witness = `table inet witness
delete table inet witness
table inet witness {
	set %[1]s {
		type inet_service
		size 65536
		flags dynamic
	}
	chain note_%[1]s {
		type filter hook prerouting priority raw; policy accept;
		iifname "%[1]s" tcp flags & (syn | ack) == syn add @%[1]s { tcp dport }
	}
}
`

// watch begins to note what comes to ftproxy from a link.
func (w *walledLab) watch(t *testing.T, link string) {
	t.Helper()
	w.proxy.load(t, fmt.Sprintf(witness, link), "nft", "-f", "-")
}

var digits = regexp.MustCompile(`\d+`)

// seen are the ports that were tried from a link, sorted.
func (w *walledLab) seen(t *testing.T, link string) (ports []uint16) {
	t.Helper()
	w.proxy.do(t, func() {
		out, err := exec.Command(command(t, "nft"), "list", "set", "inet", "witness", link).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, elements, _ := strings.Cut(string(out), "elements = {")
		for _, text := range digits.FindAllString(elements, -1) {
			port, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, uint16(port))
		}
	})
	slices.Sort(ports)
	return ports
}

// scan tries every TCP port of an address and returns those that answered, with
// a connection or with a refusal. gate is the firewall on the way.
func scan(to, gate netip.Addr) (answered []uint16, err error) {
	const batch = 500 // fits into the queue of a link
	for first := 1; first < 1<<16; first += batch {
		var fds []unix.PollFd
		var ports []uint16
		for port := first; port < min(first+batch, 1<<16); port++ {
			fd, err := knock(netip.AddrPortFrom(to, uint16(port)))
			if err != nil {
				return nil, err
			}
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT})
			ports = append(ports, uint16(port))
		}
		// What is answered behind them was behind them all the way.
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(gate, 1).String(), time.Minute)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			if err == nil {
				c.Close()
			}
			return nil, fmt.Errorf("port 1 of the firewall: %v, want a refusal", err)
		}
		_, err = unix.Poll(fds, 0)
		for i, fd := range fds {
			if fd.Revents != 0 {
				answered = append(answered, ports[i])
			}
			unix.Close(int(fd.Fd))
		}
		if err != nil && err != unix.EINTR {
			return nil, err
		}
	}
	return answered, nil
}

// knock begins to connect and does not wait.
func knock(to netip.AddrPort) (fd int, err error) {
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Connect(fd, addr); err != nil && err != unix.EINPROGRESS && err != unix.ECONNREFUSED {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", to, err)
	}
	return fd, nil
}
