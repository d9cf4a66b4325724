package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"ftproxy/internal/transfer"
)

// Data connections that never came. What else is said of such a transfer is what the peers
// make of it, and they do not know the reason: a firewall, most often.

// slowConnection is how long a connection may take before its absence is a reason for
// anything.
const slowConnection = 3 * time.Second

var errNoAnswer = errors.New("no answer")

// tellUnmet tells an administrator of the connections that a transfer with this final
// reply waited for in vain.
func (s *session) tellUnmet(d *delivery, code int) {
	if code < 400 || !d.accepted && !d.aborted && d.final != nil && !endsData(d.final.Code) {
		return
	}
	// A client that has gone, and a server that has failed, may leave the other no time.
	timely := errors.Is(d.result.Err, transfer.ErrDataConnect)
	if u, ok := d.transfer.Unmet(transfer.ClientSide); ok && (u.Err != nil || timely || isSlow(u)) {
		s.tellClientUnmet(d.transfer, u)
	}
	failed := timely || d.final != nil && endsData(d.final.Code) && !d.aborted
	if u, ok := d.transfer.Unmet(transfer.ServerSide); ok && (u.Err != nil || failed && u.Listens || isSlow(u) || timely) {
		s.tellServerUnmet(d, u)
	}
}

func isSlow(u transfer.Unmet) bool { return time.Since(u.Since) >= slowConnection }

// tellUnused tells of a data connection that the session gives up because its client does
// something else, if the client was told a port and never came there.
func (s *session) tellUnused() {
	if s.data.next == nil || s.data.next.Refused() {
		return
	}
	if u, ok := s.data.next.Unmet(transfer.ClientSide); ok && u.Listens {
		s.tellClientUnmet(s.data.next, u)
	}
}

// tellClientUnmet tells of a client's connection that never came.
func (s *session) tellClientUnmet(t *transfer.Transfer, u transfer.Unmet) {
	kind, verb := clientUnreachable, t.Modes().Client
	if u.Listens {
		kind = clientAbsent
	}
	e := s.log.often(kind, s.fe.name, s.ClientAddr.Addr()).Masked("user", s.user).Verb(verb)
	if !u.Listens {
		e.Stringer("client_data", u.Addr).Err(noAnswer(u)).
			Str("check", "a firewall or NAT in front of the client; a client that says PASV needs no connection to it").Msg(kind.Message)
		return
	}
	told := s.told(verb, u.Addr.Port())
	check := fmt.Sprintf("firewalls between the client and ftproxy must let it connect to passive_ports (%s); public_address (%s) must be where clients reach ftproxy",
		s.fe.passivePorts, told.Addr())
	switch {
	case s.from.Proxy.IsValid():
		check = fmt.Sprintf("the load balancer must pass connections to passive_ports (%s) on to ftproxy; public_address (%s) must be where clients reach it",
			s.fe.passivePorts, told.Addr())
	case verb == "EPSV":
		check = fmt.Sprintf("firewalls between the client and ftproxy must let it connect to passive_ports (%s) at the address of its control connection", s.fe.passivePorts)
	}
	e = e.Stringer("told", told).Stringer("listen", u.Addr)
	if u.Rejected.IsValid() {
		e = e.Stringer("rejected", u.Rejected)
		check = "whether the client connects from another address than that of its control connection: data_peer"
	}
	e.Str("check", word(check)).Msg(kind.Message)
}

// told is where the client was told to connect to.
func (s *session) told(verb string, port uint16) netip.AddrPort {
	addr := s.LocalAddr.Addr() // EPSV names a port only.
	if ip, ok := s.advertised(); ok && verb == "PASV" {
		addr = ip
	}
	return netip.AddrPortFrom(addr, uint16(int(port)+s.fe.portOffset))
}

// tellServerUnmet tells of a server's connection that never came.
func (s *session) tellServerUnmet(d *delivery, u transfer.Unmet) {
	kind := serverUnreachable
	if u.Listens {
		kind = serverAbsent
	}
	e := s.log.often(kind, s.backend.Name, s.server.Addr.Addr()).Masked("user", s.user).Verb(d.transfer.Modes().Server)
	if d.final != nil {
		e = e.Text("reply", d.final.Text())
	}
	if !u.Listens {
		e.Stringer("server_data", u.Addr).Err(noAnswer(u)).
			Str("check", "firewalls between ftproxy and the server must let ftproxy connect to the server's passive ports; trust_data_address where the server listens at another address").Msg(kind.Message)
		return
	}
	check := fmt.Sprintf("firewalls between the server and ftproxy must let the server connect to data_ports (%s)", s.backend.dataPorts)
	if u.Rejected.IsValid() {
		e = e.Stringer("rejected", u.Rejected)
		check = "whether the server connects from another address: trust_data_address"
	}
	e.Stringer("told", u.Addr).Str("check", word(check)).Msg(kind.Message)
}

// noAnswer is why a dial failed.
func noAnswer(u transfer.Unmet) error {
	if u.Err == nil {
		return fmt.Errorf("%w for %s", errNoAnswer, time.Since(u.Since).Round(time.Second/10))
	}
	return u.Err
}
