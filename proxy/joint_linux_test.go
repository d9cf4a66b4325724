package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/ftp"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
	"ftproxy/rewrite"
)

// A joint is how the two legs of a data connection are agreed on, each in
// passive or in active mode and in the family of its control connection.
type joint struct {
	client, server   string // "passive" or "active"
	client6, server6 bool
}

func (j joint) String() string {
	family := map[bool]string{false: "IPv4", true: "IPv6"}
	return fmt.Sprintf("%s-%s-%s-%s", j.client, family[j.client6], j.server, family[j.server6])
}

// straight is the joint of a harness that nobody has asked for another one.
func straight(mode string) joint { return joint{client: mode, server: mode} }

// jointsOf are the pairs of modes, each with families of its own; with n from 0 to 3
// every pair has had all of them.
func jointsOf(n int) (all []joint) {
	for i, modes := range [][2]string{{"passive", "passive"}, {"active", "active"}, {"passive", "active"}, {"active", "passive"}} {
		j := joint{client: modes[0], server: modes[1]}
		if haveIPv6() {
			j.client6, j.server6 = (n+i)%2 == 1, (n+i)/2%2 == 1
		}
		all = append(all, j)
	}
	return all
}

var haveIPv6 = sync.OnceValue(func() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		_ = l.Close()
	}
	return err == nil
})

// loopback is the address of this machine in a family.
func loopback(ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func listenOn(t testing.TB, ipv6 bool) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(loopback(ipv6), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// data is what the backend must be told for the joint.
func (j joint) data() config.DataMode {
	switch {
	case j.client == j.server:
		return config.DataClient
	case j.server == "passive":
		return config.DataPassive
	}
	return config.DataActive
}

// agree agrees on a data connection. Each of the two functions opens one end of
// it: a passive client and an active server connect, the other two are
// connected to.
func (th *harness) agree(j joint) (client, server func() *net.TCPConn) {
	th.t.Helper()
	dial := func(at netip.AddrPort, err error) func() *net.TCPConn {
		if err != nil {
			th.t.Fatal(err)
		}
		return func() *net.TCPConn { return dialLoopback(th.t, at.String()) }
	}
	accept := func(l *net.TCPListener) func() *net.TCPConn {
		return func() *net.TCPConn { return acceptOne(th.t, l) }
	}
	at := func(l *net.TCPListener) netip.AddrPort { return tcp.AddrPort(l.Addr()) }

	verb := map[joint]string{
		{client: "passive"}: "PASV", {client: "passive", client6: true}: "EPSV",
		{client: "active"}: "PORT", {client: "active", client6: true}: "EPRT",
	}[joint{client: j.client, client6: j.client6}]
	command := verb
	if j.client == "active" {
		l := listenOn(th.t, j.client6)
		client = accept(l)
		if command += " " + rewrite.FormatEPRT(at(l)); verb == "PORT" {
			command = "PORT " + rewrite.FormatPORT(at(l))
		}
	}
	th.client.say(command)
	heard := th.server.hear("")
	told, arg, _ := strings.Cut(heard, " ")
	if ftp.IsPassive(told) != (j.server == "passive") {
		th.t.Fatalf("server hears %q, want that of %v", heard, j)
	}
	switch l := (*net.TCPListener)(nil); told {
	case "PASV":
		l = listenOn(th.t, j.server6)
		server = accept(l)
		th.server.say(rewrite.FormatPASV(at(l)))
	case "EPSV":
		l = listenOn(th.t, j.server6)
		server = accept(l)
		th.server.say(rewrite.FormatEPSV(at(l).Port()))
	case "PORT":
		server = dial(rewrite.ParsePORT(arg))
		th.server.say("200 ok")
	case "EPRT":
		server = dial(rewrite.ParseEPRT(arg))
		th.server.say("200 ok")
	default:
		th.t.Fatalf("server hears %q", heard)
	}
	switch answer := th.client.hear("2"); verb {
	case "PASV":
		client = dial(rewrite.ParsePASV(answer))
	case "EPSV":
		port, err := rewrite.ParseEPSV(answer)
		client = dial(netip.AddrPortFrom(loopback(true), port), err)
	}
	th.agreed = transfer.Modes{Client: verb, Server: told}
	return client, server
}

// open opens both ends of a data connection and begins the transfer. An active
// client's end opens when the server has accepted it.
func (th *harness) open(mode, command string) (client, server *net.TCPConn) {
	th.t.Helper()
	return th.openBehind(func(*net.TCPConn) {}, transfer.Download, straight(mode), command)
}

// openBehind does the same so that sending, which is given the sender's end,
// is over before the proxy has both ends: what is sent then does not have to be
// quicker than any timer of the transfer. Only where it connects to both itself,
// in an upload, it has them at once; see hurried.
func (th *harness) openBehind(sending func(*net.TCPConn), d transfer.Direction, j joint, command string) (client, server *net.TCPConn) {
	th.t.Helper()
	toClient, toServer := th.agree(j)
	switch {
	case j.client == "passive":
		client, server = toClient(), toServer()
		sending(map[transfer.Direction]*net.TCPConn{transfer.Download: server, transfer.Upload: client}[d])
		th.begin(command)
	case d == transfer.Download:
		server = toServer()
		sending(server)
		th.begin(command)
		client = toClient()
	default:
		th.begin(command)
		client = toClient()
		sending(client)
		server = toServer()
	}
	return client, server
}

// hurried tells that an uploading client has to be quicker than the timers.
func (j joint) hurried(d transfer.Direction) bool {
	return d == transfer.Upload && j.client == "active" && j.server == "passive"
}

// lack skips a test for what the machine does not have, but not in CI, where all of
// it has to be there.
func lack(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
