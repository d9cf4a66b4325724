package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/tcp"
)

// FTPS towards the client (RFC 4217): AUTH, PBSZ, PROT.

// security is what a session knows of TLS on its client's control connection.
type security struct {
	// upgrading gives what came of the client's handshake. Nothing is read from
	// the client or written to it meanwhile.
	upgrading chan upgraded
	stop      context.CancelFunc

	late      bool              // it is too late for AUTH: in the clear the server has heard of a login
	heard     bool              // in the clear the server has heard what AUTH has to make it forget
	certified *x509.Certificate // the client's certificate, if the control connection has one
	level     byte              // of the client's data connections: 'C' or 'P' (RFC 2228 §3)
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
	mechanism := strings.ToUpper(string(q.Arg))
	switch {
	case s.fe.tls == nil:
		return refuse(502, "AUTH is not available here.", nil)
	case s.client.secured():
		return refuse(503, "The control connection is protected already.", nil)
	case s.client.security.late:
		return refuse(503, "AUTH comes before USER.", nil)
	case mechanism != "TLS" && mechanism != "TLS-C" && mechanism != "SSL" && mechanism != "TLS-P":
		return refuse(504, "Use AUTH TLS.", nil)
	}
	if len(s.client.queue) > 0 || !s.client.Quiet() {
		return &ending{reason: endTLS, text: "Commands after AUTH.", cause: errAfterAUTH}
	}
	s.say(234, "AUTH command successful.")
	if err := s.client.Flush(); err != nil {
		return s.clientFailed(err)
	}
	if mechanism == "SSL" || mechanism == "TLS-P" {
		s.client.security.level = 'P' // What they stood for in the drafts (RFC 4217 §17).
	}
	if s.client.security.heard {
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
	secure := tls.Server(tcp.Prompt(conn), c)
	if err := ftps.Handshake(ctx, secure, limit); err != nil {
		return upgraded{err: err}
	}
	tcp.Settle(secure)
	return upgraded{conn: secure}
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
		security.late = true
	default:
		security.heard = true
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
		s.client.security.certified = cs.PeerCertificates[0]
	}
	e := s.log.Info().Str("tls", word(tls.VersionName(cs.Version))).Str("cipher", word(tls.CipherSuiteName(cs.CipherSuite))).Bool("resumed", cs.DidResume)
	if cs.ServerName != "" {
		e = e.Text("sni", cs.ServerName)
	}
	if s.client.security.certified != nil {
		e = e.Text("client_certificate", s.client.security.certified.Subject.String())
	}
	e.Msg("client protected")
	if s.client.security.heard {
		s.client.security.heard = false
		s.connect()
	}
	return nil
}

// secureFirst is implicit TLS: the handshake comes before everything.
func (s *session) secureFirst() error {
	s.client.security.level = 'P' // Clients of implicit TLS seldom say PROT.
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

// doPBSZ takes the only size that TLS has (RFC 4217 §8).
func (s *session) doPBSZ(q *queued) error {
	switch {
	case !s.client.secured():
		return refuse(503, "AUTH comes first.", nil)
	case strings.Trim(string(q.Arg), "0123456789") != "" || len(q.Arg) == 0 || len(q.Arg) > 10:
		return refuse(501, "Syntax: PBSZ 0.", nil)
	}
	s.say(200, "PBSZ=0")
	return nil
}

// doPROT sets the level of the client's data connections, whatever the server's
// are (RFC 4217 §9, H70). RFC 2228 §3 wants PBSZ before it, and some clients leave
// that out; under TLS it says nothing.
func (s *session) doPROT(q *queued) error {
	level := strings.ToUpper(string(q.Arg))
	switch {
	case !s.client.secured():
		return refuse(503, "AUTH comes first.", nil)
	case level == "S", level == "E":
		return refuse(536, "Use PROT P.", nil)
	case level != "P" && level != "C":
		return refuse(504, "Use PROT P.", nil)
	case level == "C" && s.fe.tls.RequireData:
		return refuseAdvised(534, "Data connections must be protected.", nil, s.checkData())
	}
	if s.client.security.level != level[0] {
		s.dropData() // It was agreed on at the other level.
	}
	s.client.security.level = level[0]
	if s.stage == loggedIn && s.server.Level != s.serverWants() {
		return s.sendLevel(&exchange{owed: true}) // Then the client is answered.
	}
	return s.answerPROT()
}

func (s *session) answerPROT() error {
	s.say(200, "Protection level set to "+string(s.client.security.level)+".")
	return nil
}

// doCCC keeps the control connection protected: who could read it could follow
// the data connections (RFC 4217 §15.3, H76).
func (s *session) doCCC(*queued) error {
	if !s.client.secured() {
		return refuse(533, "The control connection is not protected.", nil)
	}
	return refuse(534, "The control connection stays protected.", nil)
}

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
	own := []string{"EPRT", "EPSV"}
	if s.fe.tls != nil {
		if !s.fe.tls.Implicit() {
			own = append(own, "AUTH TLS")
		}
		own = append(own, "PBSZ", "PROT")
	}
	return own
}
