package proxy

import (
	"bytes"
	"errors"
	"net/netip"

	"ftproxy/internal/ftp"
	"ftproxy/internal/portpool"
	"ftproxy/internal/report"
	"ftproxy/internal/tcp"
	"ftproxy/rewrite"
)

// The client's verb picks the client's leg, and the verbs that the server is
// told pick the server's; the two have nothing else in common.

// A setup is a data connection that is being agreed on with the server.
type setup struct {
	client   string         // the client's verb
	target   netip.AddrPort // the client's, after PORT and EPRT
	attempts []string       // the verbs to tell the server, first is out
	ports    portpool.Pair  // those that the legs which listen need
	asks     *ftp.Command   // a transfer command without a data connection, which the server is to refuse; else nil
	refused  chan error     // why a connection that may be the client's was refused; one, buffered
}

// passiveClient tells whether the client connects to us.
func (st *setup) passiveClient() bool { return ftp.IsPassive(st.client) }

// Texts that more than one verb is answered with.
const (
	textTransfers  = "Too many transfers, try again later."
	textNoPort     = "Can't open data connection, no port is free."
	textSetupFirst = "Use PASV, EPSV, PORT or EPRT first."
	textNoConnect  = "Can't open data connection."
	textAborted    = "Connection closed; transfer aborted."
	textEPSVAll    = "EPSV ALL is in force."
	textNotReused  = "The data connection must resume the TLS session of the control connection."
)

// doPASV answers with an IPv4 address of ours, so it needs an IPv4 client.
func (s *session) doPASV(q *queued) error {
	if len(bytes.TrimSpace(q.Arg)) > 0 {
		return refuse(501, "Syntax: PASV.", nil)
	}
	if s.data.epsvAll {
		return refuse(503, textEPSVAll, nil)
	}
	if !s.ClientAddr.Addr().Is4() {
		return refuse(425, "PASV is for IPv4, use EPSV.", nil)
	}
	if _, ok := s.advertised(); !ok {
		err := s.noPublic()
		s.log.Often(report.NoConnection).Err(err).Masked("user", s.user).Verb("PASV").Msg(report.NoConnection.Message)
		return refuse(425, "No IPv4 address for PASV, use EPSV.", err)
	}
	return s.setUp("PASV", netip.AddrPort{})
}

// doEPSV serves the network protocol of the control connection (RFC 2428 §3).
// EPSV ALL is between the client and ftproxy: it protects the client's side,
// whatever the server's side uses (§4, H38).
func (s *session) doEPSV(q *queued) error {
	kind, err := rewrite.ParseEPSVArg(string(q.Arg))
	switch {
	case errors.Is(err, rewrite.ErrProtocol):
		return s.refuseProtocol(err)
	case err != nil:
		return refuse(501, "Syntax: EPSV, EPSV 1, EPSV 2 or EPSV ALL.", err)
	case kind == rewrite.EPSVAll:
		s.data.epsvAll = true
		s.say(200, "EPSV ALL command successful.")
		return nil
	case kind == rewrite.EPSVIPv4 && !s.ClientAddr.Addr().Is4(), kind == rewrite.EPSVIPv6 && s.ClientAddr.Addr().Is4():
		return s.refuseProtocol(nil)
	}
	return s.setUp("EPSV", netip.AddrPort{})
}

// refuseProtocol is the 522 that lists what works here: the protocol of the
// control connection (RFC 2428 §2).
func (s *session) refuseProtocol(cause error) error {
	family := "2"
	if s.ClientAddr.Addr().Is4() {
		family = "1"
	}
	return refuse(522, "Network protocol not supported, use ("+family+").", cause)
}

func (s *session) doPORT(q *queued) error {
	if !s.data.epsvAll && !s.ClientAddr.Addr().Is4() {
		return refuse(501, "PORT is for IPv4, use EPRT.", nil)
	}
	target, err := rewrite.ParsePORT(string(q.Arg))
	return s.active("PORT", target, err)
}

func (s *session) doEPRT(q *queued) error {
	target, err := rewrite.ParseEPRT(string(q.Arg))
	if errors.Is(err, rewrite.ErrProtocol) || err == nil && target.Addr().Is4() != s.ClientAddr.Addr().Is4() {
		return s.refuseProtocol(err)
	}
	return s.active("EPRT", target, err)
}

// active agrees on a data connection to the client. Its target must be the
// client itself, or in a network that the configuration allows, and no port of
// a service: ftproxy attacks nobody on behalf of another (RFC 2577 §3, H41).
func (s *session) active(verb string, target netip.AddrPort, err error) error {
	switch {
	case s.data.epsvAll:
		return refuse(503, textEPSVAll, nil)
	case err != nil:
		return refuse(501, "Syntax error in "+verb+" argument.", err)
	case !s.isOwn(target.Addr()):
		return refuseAdvised(504, verb+" must name your own address.", errors.New("foreign address "+target.String()),
			"the client says "+verb+" from behind a NAT, or for another machine: set it to passive mode, or allow_foreign_data")
	case target.Port() < 1024:
		return refuseAdvised(504, verb+" must name a port above 1023.", errors.New("port of "+target.String()), "the client says "+verb+" for a port of a service: set it to passive mode")
	}
	if !tcp.Within(s.fe.foreign, target.Addr()) { // A link-local address needs its zone.
		target = netip.AddrPortFrom(s.ClientAddr.Addr(), target.Port())
	}
	return s.setUp(verb, target)
}

// setUp begins to agree on a data connection with the server.
func (s *session) setUp(verb string, target netip.AddrPort) error {
	if !s.takeSlot() {
		s.log.Often(report.NoConnection).Masked("user", s.user).Verb(verb).Str("limit", "transfers").Msg(report.NoConnection.Message)
		return refuse(425, textTransfers, nil)
	}
	attempts, err := s.serverVerbs(verb)
	if err != nil {
		s.log.Often(report.NoConnection).Err(err).Masked("user", s.user).Verb(verb).Msg(report.NoConnection.Message)
		return refuse(425, textNoConnect, err)
	}
	s.movedOn(verb, s.client.saidAt, true)
	return s.leasePorts(&setup{client: verb, target: target, attempts: attempts})
}
