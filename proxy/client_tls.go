package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
)

// FTPS towards the client (RFC 4217): AUTH, PBSZ, PROT.

// security is what a session knows of TLS on its client's control connection.
type security struct {
	// upgrading gives what came of the client's handshake. Nothing is read from
	// the client or written to it meanwhile.
	upgrading chan upgraded
	stop      context.CancelFunc

	ftps.Client
}

// upgraded is a control connection whose handshake is over, or why it failed.
type upgraded struct {
	conn *tls.Conn
	err  error
}

var errAfterAUTH = errors.New("commands came after AUTH, in the clear")

// doAUTH begins the handshake. Anybody on the path may have sent what follows AUTH in
// the clear. It must not count as the client's words under TLS, so it ends the session
// (H68).
func (s *session) doAUTH(q *queued) error {
	code, text := s.client.security.AUTH(s.fe.tls, s.client.secured(), string(q.Arg))
	if code >= 400 {
		return refuse(code, text, nil)
	}
	if len(s.client.queue) > 0 || !s.client.Quiet() {
		return &ending{reason: endTLS, text: "Commands after AUTH.", cause: errAfterAUTH}
	}
	s.say(code, text)
	if err := s.client.Flush(); err != nil {
		return s.clientFailed(err)
	}
	if s.client.security.Heard {
		s.leaveServer()
	}
	ctx, stop := context.WithCancel(s.p.hardStop)
	out := make(chan upgraded, 1)
	s.client.security.upgrading, s.client.security.stop = out, stop
	conn, config := s.client.Conn, s.fe.tls.Control(s.p.tickets.All(), s.ID)
	limit := s.rt.timeouts.TLSHandshake
	s.p.workers.Go(func() { out <- secureClient(ctx, conn, config, limit) })
	return nil
}

// secureClient makes a client's control connection a protected one.
func secureClient(ctx context.Context, conn net.Conn, c *tls.Config, limit time.Duration) upgraded {
	secured, err := ftps.Accept(ctx, conn, c, limit)
	return upgraded{secured, err}
}

// noteClear notes a command that is about to reach the server in the clear. AUTH begins anew (RFC 4217
// §4), and somebody on the path may have said it: a server that may remember it is left
// at AUTH, for a new connection that has heard nothing (H37). A login is not forgotten:
// the client would not know that.
func (s *session) noteClear(v verb) {
	security := &s.client.security
	switch {
	case s.fe.tls == nil || s.client.secured() || v.has(beforeAUTH) && !v.has(forgotten):
	case v.class == classLogin:
		security.Late = true
	default:
		security.Heard = true
	}
}

// onUpgraded goes on under TLS. All that was agreed on before counts no more.
func (s *session) onUpgraded(u upgraded) error {
	if s.client.security.stop != nil {
		s.client.security.stop()
	}
	s.client.security.upgrading, s.client.security.stop = nil, nil
	s.p.metrics.TLSHandshake(s.fe.name, u.err == nil)
	if u.err != nil {
		s.client.Broken = true
		s.tellHandshake(u.err)
		return &ending{reason: endTLS, cause: fmt.Errorf("TLS handshake: %w", logline.PeerError(u.err))}
	}
	s.client.Upgrade(u.conn)
	s.data.epsvAll, s.midway = false, false
	cs := u.conn.ConnectionState()
	if len(cs.PeerCertificates) > 0 {
		s.client.security.Certified = cs.PeerCertificates[0]
	}
	e := s.log.Info().Str("tls", word(tls.VersionName(cs.Version))).Str("cipher", word(tls.CipherSuiteName(cs.CipherSuite))).Bool("resumed", cs.DidResume)
	if cs.ServerName != "" {
		e = e.Text("sni", cs.ServerName)
	}
	if s.client.security.Certified != nil {
		e = e.Text("client_certificate", s.client.security.Certified.Subject.String())
	}
	e.Msg("client protected")
	if s.client.security.Heard {
		s.client.security.Heard = false
		s.connect(s.left)
		s.left = nil
	}
	return nil
}

// secureFirst is implicit TLS: the handshake comes before everything.
func (s *session) secureFirst() error {
	s.client.security.Level = 'P' // Clients of implicit TLS seldom say PROT.
	ctx, stop := context.WithCancel(s.p.hardStop)
	defer stop()
	s.InterruptBy(stop)
	defer s.InterruptBy(nil)
	return s.onUpgraded(secureClient(ctx, s.client.Conn, s.fe.tls.Control(s.p.tickets.All(), s.ID), s.rt.timeouts.TLSHandshake))
}

// upgraded is where the outcome of a handshake comes from.
func (s *session) upgraded() <-chan upgraded { return s.client.security.upgrading }

// stopUpgrade ends a handshake that is under way. The connection is of no use then.
func (s *session) stopUpgrade() {
	if s.client.security.upgrading == nil {
		return
	}
	s.client.security.stop()
	<-s.client.security.upgrading
	s.client.security.upgrading = nil
	s.client.Broken = true
}

// doPBSZ is between the client and ftproxy, as all of these.
func (s *session) doPBSZ(q *queued) error {
	return s.answer(s.client.security.PBSZ(s.client.secured(), string(q.Arg)))
}

// doPROT sets the level of the client's data connections.
func (s *session) doPROT(q *queued) error {
	level, code, text := s.client.security.PROT(s.fe.tls, s.client.secured(), string(q.Arg))
	switch {
	case code == 534:
		return refuseAdvised(code, text, nil, s.checkData())
	case code >= 400:
		return refuse(code, text, nil)
	}
	if s.client.security.Level != level {
		s.dropData() // It was agreed on at the other level.
	}
	s.client.security.Level = level
	if s.stage == loggedIn && s.server.Level != s.serverWants() {
		return s.sendLevel(&exchange{owed: true}) // Then the client is answered.
	}
	return s.answer(code, text)
}

func (s *session) answerPROT() error {
	return s.answer(200, "Protection level set to "+string(s.client.security.Level)+".")
}

// doCCC keeps the control connection protected.
func (s *session) doCCC(*queued) error { return s.answer(s.client.security.CCC(s.client.secured())) }

// doREIN is refused under TLS, which it would have to end (RFC 4217 §13, H36).
func (s *session) doREIN(q *queued) error {
	if s.client.secured() {
		return refuse(502, "Not available under TLS.", nil)
	}
	s.movedOn(q.Verb, s.client.saidAt, true)
	return s.forward(q)
}

// mayTransfer refuses a transfer in the clear where the frontend wants protection;
// RFC 4217 §10 has that said at the transfer, not at PASV (H70).
func (s *session) mayTransfer() error {
	if s.fe.tls != nil && s.fe.tls.RequireData && !s.client.protects() {
		return refuseAdvised(521, "Data connections must be protected, use PROT P.", nil, s.checkData())
	}
	return nil
}

func (s *session) checkData() string {
	return `the client wants data connections in the clear: set it to PROT P, or write require_data = false in [frontend.` + s.fe.name + `.tls]`
}

// features are what ftproxy itself adds to a server's FEAT.
func (s *session) features() []string {
	return append([]string{"EPRT", "EPSV"}, s.fe.tls.Features()...)
}
