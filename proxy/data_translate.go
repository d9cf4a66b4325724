package proxy

import (
	"errors"
	"fmt"
	"net/netip"

	"ftproxy/config"
	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
	"ftproxy/internal/transfer"
	"ftproxy/rewrite"
)

// Mode translation: what the server is told of a data connection, and what the
// client is told of the server's answer.

// passiveVerb tells whether the side that is told so listens.
func passiveVerb(verb string) bool { return verb == "PASV" || verb == "EPSV" }

// errVerbFamily is a data mode that a server of another family cannot have.
var errVerbFamily = errors.New("the backend's data mode is for IPv4, the server's address is not")

// serverVerbs are what a client's verb may become towards the server, in the
// order to try them. The mode is the backend's. Its family is that of the
// server's control connection; where that leaves a choice, an extended verb is
// tried for an extended one, unless this server is known to refuse it (H22).
func (s *session) serverVerbs(client string) ([]string, error) {
	mode, ipv4 := s.backend.data, s.server.Addr.Addr().Is4()
	passive := mode == config.DataPassive || mode == config.DataClient && passiveVerb(client)
	extended, plain := "EPRT", "PORT"
	if passive {
		extended, plain = "EPSV", "PASV"
	}
	switch {
	case mode.OnlyIPv4() && !ipv4:
		return nil, errVerbFamily
	case mode == config.DataPASV:
		return []string{"PASV"}, nil
	case mode == config.DataEPSV:
		return []string{"EPSV"}, nil
	case mode == config.DataPORT:
		return []string{"PORT"}, nil
	case mode == config.DataEPRT:
		return []string{"EPRT"}, nil
	case !ipv4:
		return []string{extended}, nil
	case passive && len(s.backend.trusted) > 0: // Only a 227 names an address.
		return []string{plain}, nil
	case client == "PASV", client == "PORT", s.midway, s.p.servers.refuses(s.server.Addr, extended):
		// Between REST and its transfer a second attempt would be one command
		// more that the client did not send (H33).
		return []string{plain}, nil
	}
	return []string{extended, plain}, nil
}

// sendSetup tells the server of the data connection.
func (s *session) sendSetup(st *setup) error {
	switch open := s.server.Level != s.serverWants(); {
	case open && s.midway: // Nothing may come between REST and its transfer (H33).
		st.ports.close()
		return refuse(425, textNoConnect, dial.ErrProtection)
	case open:
		return s.sendLevel(&exchange{owed: true, setup: st})
	}
	c := ftp.Command{Verb: st.attempts[0]}
	if st.ports.inside != nil {
		s.data.promises.Server(st.ports.inside)
		s.data.toldPort = true
	}
	switch c.Verb {
	case "PORT":
		c.Arg, c.HasArg = []byte(rewrite.FormatPORT(st.ports.inside.Addr())), true
	case "EPRT":
		c.Arg, c.HasArg = []byte(rewrite.FormatEPRT(st.ports.inside.Addr())), true
	}
	if _, err := s.send(c, &exchange{owed: true, setup: st}); err != nil {
		st.ports.close()
		return err
	}
	return nil
}

// replyPassive takes the server's answer to PASV or EPSV.
func (s *session) replyPassive(ex *exchange) error {
	addr, err := passiveAddr(ex)
	if err != nil {
		return s.setupRefused(ex, err)
	}
	// The address in a 227 is not believed: many servers behind NAT write a
	// wrong one, and a bad one could send us anywhere (H9, RFC 2577 §4).
	if !contains(s.backend.trusted, addr.Addr()) {
		addr = netip.AddrPortFrom(s.server.Addr.Addr(), addr.Port())
	}
	s.agreed(ex, s.serverLeg(addr))
	return nil
}

// errSetup is a reply that agrees to no data connection.
var errSetup = errors.New("the server refuses the data connection")

// passiveAddr is where the server says that it listens, without an address in
// a 229. Some servers answer the one verb with the other's reply, or in the other's
// form: the port is there, so it is used (H8). A port below 1024 is one of its services
// rather than a data port (H5).
func passiveAddr(ex *exchange) (addr netip.AddrPort, err error) {
	text := ex.reply.Text()
	form, other := rewrite.ParsePASV, parseEPSV
	switch ex.reply.Code {
	case 227:
	case 229:
		form, other = other, form
	default:
		return addr, errSetup
	}
	if addr, err = form(text); err != nil {
		if unusual, failed := other(text); failed == nil {
			addr, err = unusual, nil
		}
	}
	if err != nil {
		return addr, logline.PeerError(err) // It quotes the reply.
	}
	if addr.Port() < 1024 {
		err = fmt.Errorf("port %d is no data port", addr.Port())
	}
	return addr, err
}

// parseEPSV is [rewrite.ParseEPSV] for a port without an address.
func parseEPSV(text string) (netip.AddrPort, error) {
	port, err := rewrite.ParseEPSV(text)
	return netip.AddrPortFrom(netip.Addr{}, port), err
}

// replyActive takes the server's answer to PORT or EPRT.
func (s *session) replyActive(ex *exchange) error {
	if ftp.Class(ex.reply.Code) != 2 {
		return s.setupRefused(ex, errSetup)
	}
	if ex.setup.asks != nil {
		return s.askOnPort(ex.setup)
	}
	s.agreed(ex, transfer.ListenLeg{Lease: ex.setup.ports.inside})
	return nil
}

// agreed makes the data connection the session's next, and tells the client.
func (s *session) agreed(ex *exchange, server transfer.Leg) {
	st := ex.setup
	if s.data.last != nil { // One at most lingers.
		s.data.last.Unlinger()
		s.data.last = nil
	}
	s.data.next, s.data.givenUp = s.startTransfer(st, server, ex.verb), false
	s.timers.Set(timerUnused, s.rt.timeouts.DataConnect)
	s.data.promises.ClientTold()
	if st.passiveClient() {
		s.data.promises.Client(st.ports.public)
	}
	s.client.Out = append(s.client.Out, s.setupReply(ex)...)
}

// setupReply is what the client is told: the server's words with our address
// where they have the form that the client wants, our own words otherwise. In
// active mode they are always ours: servers like to name the addresses that
// they compared.
func (s *session) setupReply(ex *exchange) []byte {
	st, text := ex.setup, ex.reply.Text()
	if !st.passiveClient() {
		return ftp.AppendReply(nil, 200, st.client+" command successful.")
	}
	port := uint16(int(st.ports.public.Addr().Port()) + s.fe.portOffset)
	var line string
	if st.client == "PASV" {
		ip, _ := s.advertised() // doPASV has seen that there is one.
		addr := netip.AddrPortFrom(ip, port)
		if line = rewrite.FormatPASV(addr); ex.reply.Code == 227 {
			line = rewrite.ReplacePASV(text, addr)
		}
	} else if line = rewrite.FormatEPSV(port); ex.reply.Code == 229 {
		line = rewrite.ReplaceEPSV(text, port)
	}
	return append([]byte(line), '\r', '\n')
}

// setupRefused tries the next verb of a setup, where the server does not know
// this one, or tells the client that there is none (H22).
func (s *session) setupRefused(ex *exchange, cause error) error {
	st, code := ex.setup, ex.reply.Code
	if len(st.attempts) > 1 && unknownVerb(code) {
		s.p.servers.remember(s.server.Addr, ex.verb)
		st.attempts = st.attempts[1:]
		return s.sendSetup(st)
	}
	e := s.log.often(setupRefused, s.backend.Name, s.server.Addr.Addr()).Masked("user", s.user).Err(cause).Verb(ex.verb).Text("reply", ex.reply.Text())
	advise(e, s.checkSetup(ex)).Msg(setupRefused.Message)
	st.ports.close()
	if st.asks != nil {
		return refuse(425, textSetupFirst, cause)
	}
	s.data.promises.ClientTold()
	s.data.givenUp = s.data.givenUp || ftp.Class(code) < 4 // The server has one that nobody uses.
	// A code that means the verb is passed on only to a client that said a verb
	// of that mode: one that hears 502 to its PASV tries PORT, which is no cure
	// for a server that refuses PORT. Nor is a 2xx without an address an
	// answer, or a family that is not the client's affair.
	if ftp.Class(code) < 4 || code == 522 || unknownVerb(code) && st.passiveClient() != passiveVerb(ex.verb) {
		code = 425
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
