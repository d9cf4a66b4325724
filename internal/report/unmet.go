package report

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"ftproxy/internal/logline"
	"ftproxy/internal/portpool"
	"ftproxy/internal/transfer"
)

// Data connections that never came. What else is said of such a transfer is what the peers
// make of it, and they do not know the reason: a firewall, most often.

var errNoAnswer = errors.New("no answer")

// An Absence is a data connection that never came, and what was agreed on.
type Absence struct {
	transfer.Unmet
	User    logline.Masked
	Verb    string         // that the peer has said, or was told
	Ports   portpool.Range // those of ours that the peer may connect to
	Told    netip.AddrPort // where the client was told to connect to
	Proxied bool           // a proxy before us passes the client's connections on
	Reply   string         // the server's final reply; empty: none
}

// ClientAbsent tells of a client's connection that never came.
func (s *Session) ClientAbsent(a Absence) {
	kind := ClientUnreachable
	if a.Listens {
		kind = ClientAbsent
	}
	e := s.Often(kind).Masked("user", a.User).Verb(a.Verb)
	if !a.Listens {
		e.Stringer("client_data", a.Addr).Err(a.noAnswer()).
			Str("check", "a firewall or NAT in front of the client; a client that says PASV needs no connection to it").Msg(kind.Message)
		return
	}
	check := fmt.Sprintf("firewalls between the client and ftproxy must let it connect to passive_ports (%s); public_address (%s) must be where clients reach ftproxy",
		a.Ports, a.Told.Addr())
	switch {
	case a.Proxied:
		check = fmt.Sprintf("the load balancer must pass connections to passive_ports (%s) on to ftproxy; public_address (%s) must be where clients reach it",
			a.Ports, a.Told.Addr())
	case a.Verb == "EPSV":
		check = fmt.Sprintf("firewalls between the client and ftproxy must let it connect to passive_ports (%s) at the address of its control connection", a.Ports)
	}
	e = e.Stringer("told", a.Told).Stringer("listen", a.Addr)
	if a.Rejected.IsValid() {
		e = e.Stringer("rejected", a.Rejected)
		check = "whether the client connects from another address than that of its control connection: data_peer"
	}
	e.Str("check", word(check)).Msg(kind.Message)
}

// ServerAbsent tells of a server's connection that never came.
func (s *Session) ServerAbsent(a Absence) {
	kind := ServerUnreachable
	if a.Listens {
		kind = ServerAbsent
	}
	e := s.Often(kind).Masked("user", a.User).Verb(a.Verb)
	if a.Reply != "" {
		e = e.Text("reply", a.Reply)
	}
	if !a.Listens {
		e.Stringer("server_data", a.Addr).Err(a.noAnswer()).
			Str("check", "firewalls between ftproxy and the server must let ftproxy connect to the server's passive ports; trust_data_address where the server listens at another address").Msg(kind.Message)
		return
	}
	check := fmt.Sprintf("firewalls between the server and ftproxy must let the server connect to data_ports (%s)", a.Ports)
	if a.Rejected.IsValid() {
		e = e.Stringer("rejected", a.Rejected)
		check = "whether the server connects from another address: trust_data_address"
	}
	e.Stringer("told", a.Addr).Str("check", word(check)).Msg(kind.Message)
}

// noAnswer is why a dial failed.
func (a *Absence) noAnswer() error {
	if a.Err == nil {
		return fmt.Errorf("%w for %s", errNoAnswer, time.Since(a.Since).Round(time.Second/10))
	}
	return a.Err
}
