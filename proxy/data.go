package proxy

import (
	"context"
	"errors"
	"net/netip"
	"strconv"

	"ftproxy/internal/ftp"
	"ftproxy/internal/portpool"
	"ftproxy/rewrite"
)

// The client's verb picks the client's leg, and the verbs that the server is
// told pick the server's; the two have nothing else in common.

// A setup is a data connection that is being agreed on with the server.
type setup struct {
	client   string          // the client's verb
	attempts []string        // the verbs to tell the server, first is out
	lease    *portpool.Lease // ours: public after PASV and EPSV, inside after PORT and EPRT
	target   netip.AddrPort  // the client's, after PORT and EPRT
}

// A portWait is a request for a data port. The session lives on meanwhile.
type portWait struct {
	setup  *setup
	cancel context.CancelFunc
	leased chan leased // one, buffered
}

// leased is what came of it.
type leased struct {
	lease *portpool.Lease
	err   error
}

// Texts that more than one verb is answered with.
const (
	textNoPort     = "Can't open data connection, no port is free."
	textSetupFirst = "Use PASV, EPSV, PORT or EPRT first."
	textNoConnect  = "Can't open data connection."
	textAborted    = "Connection closed; transfer aborted."
	textEPSVAll    = "EPSV ALL is in force."
)

// doPASV answers with an IPv4 address of ours, so it needs an IPv4 client.
func (s *session) doPASV(*queued) error {
	if s.epsvAll {
		return refuse(503, textEPSVAll, nil)
	}
	if !s.clientAddr.Addr().Is4() {
		return refuse(425, "PASV is for IPv4, use EPSV.", nil)
	}
	if _, ok := s.fe.advertised(s.local.Addr()); !ok {
		return refuse(425, "No IPv4 address for PASV, use EPSV.", nil)
	}
	return s.passive("PASV")
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
		s.epsvAll = true
		s.say(200, "EPSV ALL command successful.")
		return nil
	case kind == rewrite.EPSVIPv4 && !s.clientAddr.Addr().Is4(), kind == rewrite.EPSVIPv6 && s.clientAddr.Addr().Is4():
		return s.refuseProtocol(nil)
	}
	return s.passive("EPSV")
}

// refuseProtocol is the 522 that lists what works here: the protocol of the
// control connection (RFC 2428 §2).
func (s *session) refuseProtocol(cause error) error {
	family := "2"
	if s.clientAddr.Addr().Is4() {
		family = "1"
	}
	return refuse(522, "Network protocol not supported, use ("+family+").", cause)
}

// passive leases the port for a client that will connect.
func (s *session) passive(verb string) error {
	s.leasePort(&setup{client: verb, attempts: s.serverVerbs(verb)}, portpool.Request{
		Local: s.local.Addr(),
		Ports: s.fe.passivePorts,
		Peer:  hostPrefix(s.clientAddr.Addr()),
		Owner: s.id,
	})
	return nil
}

func (s *session) doPORT(q *queued) error {
	if !s.epsvAll && !s.clientAddr.Addr().Is4() {
		return refuse(501, "PORT is for IPv4, use EPRT.", nil)
	}
	target, err := rewrite.ParsePORT(string(q.Arg))
	return s.active("PORT", target, err)
}

func (s *session) doEPRT(q *queued) error {
	target, err := rewrite.ParseEPRT(string(q.Arg))
	if errors.Is(err, rewrite.ErrProtocol) || err == nil && target.Addr().Is4() != s.clientAddr.Addr().Is4() {
		return s.refuseProtocol(err)
	}
	return s.active("EPRT", target, err)
}

// active leases the port that the server will connect to. The client's target
// must be the client itself, and no port of a service: ftproxy attacks nobody
// on behalf of another (RFC 2577 §3, H41).
func (s *session) active(verb string, target netip.AddrPort, err error) error {
	switch {
	case s.epsvAll:
		return refuse(503, textEPSVAll, nil)
	case err != nil:
		return refuse(501, "Syntax error in "+verb+" argument.", err)
	case target.Addr() != netip.IPv6Unspecified() && target.Addr() != s.clientAddr.Addr().WithZone(""):
		return refuse(504, verb+" must name your own address.", errors.New("foreign address "+target.String()))
	case target.Port() < 1024:
		return refuse(504, verb+" must name a port above 1023.", errors.New("port of "+target.String()))
	}
	// A link-local one has a zone, and lftp writes "::" for its own.
	target = netip.AddrPortFrom(s.clientAddr.Addr(), target.Port())
	s.leasePort(&setup{client: verb, attempts: s.serverVerbs(verb), target: target}, portpool.Request{
		Local: addrPort(s.server.conn.LocalAddr()).Addr(),
		Ports: s.fe.backend.dataPorts,
		Peer:  hostPrefix(s.serverAddr.Addr()),
		Owner: s.id,
		Hold:  true, // Servers dial from port 20: one 4-tuple for each of our ports.
	})
	return nil
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// serverVerbs are what a client's verb may become towards the server, in the
// order to try them. Its address family is that of its control connection, and
// what it refused before is not tried again.
func (s *session) serverVerbs(client string) []string {
	extended, plain := "EPSV", "PASV"
	if client == "PORT" || client == "EPRT" {
		extended, plain = "EPRT", "PORT"
	}
	switch {
	case !s.serverAddr.Addr().Is4():
		return []string{extended}
	case client == plain || s.p.servers.refuses(s.serverAddr, extended):
		return []string{plain}
	}
	return []string{extended, plain}
}

// leasePort asks for a data port without waiting for it: onLeased goes on. A
// data connection that was agreed on before is void now (RFC 959 §3.2, H47).
func (s *session) leasePort(st *setup, r portpool.Request) {
	s.dropData()
	ctx, cancel := context.WithTimeout(s.ctx, s.rt.timeouts.PortWait)
	s.wait = &portWait{setup: st, cancel: cancel, leased: make(chan leased, 1)}
	go lease(ctx, s.p.ports, r, s.wait.leased)
}

func lease(ctx context.Context, pool *portpool.Pool, r portpool.Request, out chan<- leased) {
	l, err := pool.Lease(ctx, r)
	out <- leased{l, err}
}

func (s *session) leased() <-chan leased {
	if s.wait == nil {
		return nil
	}
	return s.wait.leased
}

// onLeased tells the server of the data connection.
func (s *session) onLeased(l leased) error {
	st := s.wait.setup
	s.wait.cancel()
	s.wait = nil
	if l.err != nil {
		s.log.Warn().Err(l.err).Str("user", s.user).Str("verb", st.client).
			Dur("port_wait", s.rt.timeouts.PortWait).Msg("no data port")
		return refuse(425, textNoPort, l.err)
	}
	st.lease = l.lease
	return s.sendSetup(st)
}

// releasePort gives up a port that is waited for, or that the server has not
// agreed to yet.
func (s *session) releasePort() {
	for _, ex := range s.pending {
		if ex.setup != nil {
			_ = ex.setup.lease.Close()
		}
	}
	if s.wait == nil {
		return
	}
	s.wait.cancel()
	if l := <-s.wait.leased; l.lease != nil {
		_ = l.lease.Close()
	}
	s.wait = nil
}

func (s *session) sendSetup(st *setup) error {
	c := ftp.Command{Verb: st.attempts[0]}
	switch c.Verb {
	case "PORT":
		c.Arg, c.HasArg = []byte(rewrite.FormatPORT(st.lease.Addr())), true
	case "EPRT":
		c.Arg, c.HasArg = []byte(rewrite.FormatEPRT(st.lease.Addr())), true
	}
	if _, err := s.send(c, &exchange{owed: true, setup: st}); err != nil {
		_ = st.lease.Close()
		return err
	}
	return nil
}

// replyPassive takes the server's answer to PASV or EPSV.
func (s *session) replyPassive(ex *exchange) error {
	st := ex.setup
	port, err := passivePort(ex)
	if err != nil {
		return s.setupRefused(ex, err)
	}
	// The address in a 227 is not believed: many servers behind NAT write a
	// wrong one, and a bad one could send us anywhere (H9, RFC 2577 §4).
	server := dialLeg{
		network: s.p.network,
		local:   addrPort(s.server.conn.LocalAddr()).Addr(),
		remote:  netip.AddrPortFrom(s.serverAddr.Addr(), port),
	}
	s.agreed(listenLeg{st.lease}, server, modes{st.client, ex.verb})
	s.client.out = append(s.client.out, s.passiveReply(ex)...)
	return nil
}

// errSetup is a reply that agrees to no data connection.
var errSetup = errors.New("the server refuses the data connection")

// passivePort is the port that the server listens on. A server that answers
// EPSV with a 227 is taken at its word (H8); a port below 1024 is one of its
// services rather than a data port (H5).
func passivePort(ex *exchange) (port uint16, err error) {
	text := ex.reply.Text()
	switch {
	case ex.reply.Code == 227:
		var addr netip.AddrPort
		addr, err = rewrite.ParsePASV(text)
		port = addr.Port()
	case ex.reply.Code == 229 && ex.verb == "EPSV":
		port, err = rewrite.ParseEPSV(text)
	default:
		return 0, errSetup
	}
	if err == nil && port < 1024 {
		err = errors.New("port " + strconv.Itoa(int(port)) + " is no data port")
	}
	return port, err
}

// passiveReply is what the client is told: the server's words with our
// address where it has the same form, our own words otherwise.
func (s *session) passiveReply(ex *exchange) []byte {
	st, text := ex.setup, ex.reply.Text()
	port := st.lease.Addr().Port()
	var line string
	if st.client == "PASV" {
		ip, _ := s.fe.advertised(s.local.Addr()) // doPASV has seen that there is one.
		addr := netip.AddrPortFrom(ip, port)
		if line = rewrite.FormatPASV(addr); ex.reply.Code == 227 {
			line = rewrite.ReplacePASV(text, addr)
		}
	} else if line = rewrite.FormatEPSV(port); ex.reply.Code == 229 {
		line = rewrite.ReplaceEPSV(text, port)
	}
	return append([]byte(line), '\r', '\n')
}

// replyActive takes the server's answer to PORT or EPRT. The words are always
// ours: a server that refuses likes to name the addresses that it compared.
func (s *session) replyActive(ex *exchange) error {
	st := ex.setup
	if ftp.Class(ex.reply.Code) != 2 {
		return s.setupRefused(ex, errSetup)
	}
	client := dialLeg{network: s.p.network, local: s.local.Addr(), remote: st.target, late: true}
	s.agreed(client, listenLeg{st.lease}, modes{st.client, ex.verb})
	s.say(200, st.client+" command successful.")
	return nil
}

// agreed makes the data connection the session's next.
func (s *session) agreed(client, server leg, m modes) {
	if s.last != nil { // One at most lingers.
		s.last.unlinger()
		s.last = nil
	}
	s.data = s.startTransfer(client, server, m)
	s.timers.set(timerUnused, s.rt.timeouts.DataConnect)
}

// setupRefused tries the next verb of a setup, where the server does not know
// this one, or tells the client that there is none (H22).
func (s *session) setupRefused(ex *exchange, cause error) error {
	st, code := ex.setup, ex.reply.Code
	s.log.Debug().Err(cause).Str("verb", ex.verb).Str("reply", ftp.Quote([]byte(ex.reply.Text()))).Msg("setup refused")
	if len(st.attempts) > 1 && unknownVerb(code) {
		s.p.servers.remember(s.serverAddr, ex.verb)
		st.attempts = st.attempts[1:]
		return s.sendSetup(st)
	}
	_ = st.lease.Close()
	if ftp.Class(code) < 4 || code == 522 {
		code = 425 // A 2xx without an address; or a family that is not the client's affair.
	}
	return refuse(code, textNoConnect, cause)
}

// unknownVerb tells the replies that mean "not this verb" from those that mean
// "not now". A 200 to EPSV comes from servers that understood something else
// (H8).
func unknownVerb(code int) bool {
	switch code {
	case 500, 501, 502, 504, 522, 200, 202:
		return true
	}
	return false
}

// dropData ends a data connection that was agreed on and not used.
func (s *session) dropData() {
	if s.data == nil {
		return
	}
	s.data.abort(errSuperseded)
	<-s.data.results
	s.data = nil
	s.timers.clear(timerUnused)
}
