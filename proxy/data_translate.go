package proxy

import (
	"net/netip"

	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
	"ftproxy/internal/modes"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// Mode translation: what the server is told of a data connection, and what the
// client is told of the server's answer.

// serverVerbs are what a client's verb may become towards the server, in the order to
// try them.
func (s *session) serverVerbs(client string) ([]string, error) {
	return modes.Verbs(s.backend.data, client, s.server.Addr.Addr().Is4(), func(extended string) bool {
		// Only a 227 names an address. And between REST and its transfer a second attempt would
		// be one command more that the client did not send (H33).
		return extended == "EPSV" && len(s.backend.trusted) > 0 || s.midway || s.p.refused.Has(s.server.Addr, extended)
	})
}

// sendSetup tells the server of the data connection.
func (s *session) sendSetup(st *setup) error {
	switch open := s.server.Level != s.serverWants(); {
	case open && s.midway: // Nothing may come between REST and its transfer (H33).
		st.ports.Close()
		return refuse(425, textNoConnect, dial.ErrProtection)
	case open:
		return s.sendLevel(&exchange{owed: true, setup: st})
	}
	c := ftp.Command{Verb: st.attempts[0]}
	if st.ports.Inside != nil {
		s.data.promises.Server(st.ports.Inside)
		s.data.toldPort = true
		c.Arg, c.HasArg = modes.Argument(c.Verb, st.ports.Inside.Addr()), true
	}
	if _, err := s.send(c, &exchange{owed: true, setup: st}); err != nil {
		st.ports.Close()
		return err
	}
	return nil
}

// replyPassive takes the server's answer to PASV or EPSV.
func (s *session) replyPassive(ex *exchange) error {
	addr, err := modes.ServerAddr(&ex.reply)
	if err != nil {
		return s.setupRefused(ex, err)
	}
	// The address in a 227 is not believed: many servers behind NAT write a
	// wrong one, and a bad one could send us anywhere (H9, RFC 2577 §4).
	if !tcp.Within(s.backend.trusted, addr.Addr()) {
		addr = netip.AddrPortFrom(s.server.Addr.Addr(), addr.Port())
	}
	s.agreed(ex, s.serverLeg(addr))
	return nil
}

// replyActive takes the server's answer to PORT or EPRT.
func (s *session) replyActive(ex *exchange) error {
	if ftp.Class(ex.reply.Code) != 2 {
		return s.setupRefused(ex, modes.ErrRefused)
	}
	if ex.setup.asks != nil {
		return s.askOnPort(ex.setup)
	}
	s.agreed(ex, transfer.ListenLeg{Lease: ex.setup.ports.Inside})
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
		s.data.promises.Client(st.ports.Public)
	}
	s.client.Out = append(s.client.Out, s.setupReply(ex)...)
}

// setupReply is what the client is told. In active mode the words are always ours: servers
// like to name the addresses that they compared.
func (s *session) setupReply(ex *exchange) []byte {
	st := ex.setup
	if !st.passiveClient() {
		return ftp.AppendReply(nil, 200, st.client+" command successful.")
	}
	at := s.told(st.client, st.ports.Public.Addr().Port())
	return append([]byte(modes.ClientReply(st.client, at, &ex.reply)), '\r', '\n')
}

// setupRefused tries the next verb of a setup, where the server does not know
// this one, or tells the client that there is none (H22).
func (s *session) setupRefused(ex *exchange, cause error) error {
	st, code := ex.setup, ex.reply.Code
	if len(st.attempts) > 1 && ftp.RefusesVerb(code) {
		s.p.refused.Remember(s.server.Addr, ex.verb)
		st.attempts = st.attempts[1:]
		return s.sendSetup(st)
	}
	s.log.SetupRefused(s.user, ex.verb, s.serverProtection() != nil, &ex.reply, cause)
	st.ports.Close()
	if st.asks != nil {
		return refuse(425, textSetupFirst, cause)
	}
	s.data.promises.ClientTold()
	s.data.givenUp = s.data.givenUp || ftp.Class(code) < 4 // The server has one that nobody uses.
	return refuse(modes.Refusal(st.client, ex.verb, code), textNoConnect, cause)
}
