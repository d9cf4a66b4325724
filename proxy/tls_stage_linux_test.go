package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/transfer"
)

// A tlsStage is a harness whose peers may speak TLS.
type tlsStage struct {
	*harness
	joint   joint
	atDoor  *net.TCPListener // the server's
	front   ftptest.TestCertificate
	back    ftptest.TestCertificate
	asUser  *tls.Config // of the client's connections, control and data
	asHost  *tls.Config // of the server's
	private struct{ client, server bool }
}

// enact prepares a stage: what is protected, and how, is for change to say. Both
// certificates are for 127.0.0.1 and ::1.
func enact(t *testing.T, j joint, change func(*config.Config)) *tlsStage {
	t.Helper()
	names := []string{"ftp.example.com", "127.0.0.1", "::1"}
	s := &tlsStage{joint: j, front: ftptest.Certificate(t, names...), back: ftptest.Certificate(t, names...)}
	s.harness, s.atDoor = emptyStage(t, j, func(c *config.Config) {
		c.Frontends[0].TLS = config.FrontendTLS{Mode: config.TLSOff, Certificates: []config.KeyPair{{Certificate: s.front.File, Key: s.front.File}},
			MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}
		c.Backends[0].TLS = config.BackendTLS{Mode: config.TLSOff, Data: config.DataPrivate, CA: s.back.File,
			MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}
		change(c)
	})
	s.asUser = s.user()
	s.asHost = &tls.Config{Certificates: []tls.Certificate{s.back.Certificate}}
	return s
}

// user is the configuration of another client.
func (s *tlsStage) user() *tls.Config {
	return &tls.Config{RootCAs: s.front.Pool, ServerName: "ftp.example.com", ClientSessionCache: tls.NewLRUClientSessionCache(8)}
}

// arrive connects a client.
func (s *tlsStage) arrive() *actor {
	s.t.Helper()
	return newActor(s.t, "client", dialLoopback(s.t, s.at()))
}

// protect makes the connection of an actor TLS, which it speaks as c says.
func (a *actor) protect(secured *tls.Conn) {
	a.t.Helper()
	_ = a.conn.SetDeadline(time.Now().Add(socketTimeout))
	if err := secured.Handshake(); err != nil {
		a.t.Fatalf("%s's handshake: %v", a.name, err)
	}
	a.w, a.r = secured, bufio.NewReader(secured)
}

// greet plays all until the client may log in, as the configuration has it.
func (s *tlsStage) greet(front, back config.TLSMode) {
	s.t.Helper()
	s.client = s.arrive()
	if front == config.TLSImplicit {
		s.client.protect(tls.Client(s.client.conn, s.asUser))
	}
	s.server = newActor(s.t, "server", acceptOne(s.t, s.atDoor))
	if back == config.TLSImplicit {
		s.server.protect(tls.Server(s.server.conn, s.asHost))
	}
	s.server.say("220 ready")
	if back == config.TLSExplicit {
		s.server.hear("AUTH TLS")
		s.server.say("234 go")
		s.server.protect(tls.Server(s.server.conn, s.asHost))
	}
}

// level plays what a server is told of its data connections.
func (s *tlsStage) level(level string) {
	s.t.Helper()
	s.server.hear("PBSZ 0")
	s.server.say("200 ok")
	s.server.hear("PROT " + level)
	s.server.say("200 ok")
	s.private.server = level == "P"
}

// authenticate plays AUTH and PROT of the client.
func (s *tlsStage) authenticate(level string) {
	s.t.Helper()
	s.client.say("AUTH TLS")
	s.client.hear("234")
	s.client.protect(tls.Client(s.client.conn, s.asUser))
	s.prot(level)
}

func (s *tlsStage) prot(level string) {
	s.t.Helper()
	s.client.say("PBSZ 0")
	s.client.hear("200 PBSZ=0")
	s.client.say("PROT " + level)
	s.client.hear("200")
	s.private.client = level == "P"
}

// An end of a data connection, and what came of it.
type dataEnd struct {
	conn    net.Conn
	got     []byte
	resumed bool
	err     error
	done    chan struct{}
}

// play lets one end send, or receive until the end, on a goroutine of its own.
func (s *tlsStage) play(conn *net.TCPConn, secured *tls.Conn, send []byte) *dataEnd {
	e := &dataEnd{conn: conn, done: make(chan struct{})}
	if secured != nil {
		e.conn = secured
	}
	_ = conn.SetDeadline(time.Now().Add(socketTimeout))
	go func() {
		defer close(e.done)
		if secured != nil {
			if e.err = secured.Handshake(); e.err != nil {
				return
			}
			e.resumed = secured.ConnectionState().DidResume
		}
		if send == nil {
			e.got, e.err = io.ReadAll(e.conn)
		} else if _, e.err = e.conn.Write(send); e.err != nil {
			return
		}
		if secured != nil {
			_ = secured.CloseWrite()
		}
		_ = conn.Close()
	}()
	return e
}

// transfer carries a payload and expects all of it at the other end.
func (s *tlsStage) transfer(d transfer.Direction, payload []byte) (client, server *dataEnd) {
	s.t.Helper()
	command := map[transfer.Direction]string{transfer.Download: "RETR file", transfer.Upload: "STOR file"}[d]
	toClient, toServer := s.openBehind(func(*net.TCPConn) {}, d, s.joint, command)
	return s.deliver(d, payload, toClient, toServer)
}

func (s *tlsStage) deliver(d transfer.Direction, payload []byte, toClient, toServer *net.TCPConn) (client, server *dataEnd) {
	s.t.Helper()
	var user, host *tls.Conn
	if s.private.client {
		user = tls.Client(toClient, s.asUser)
	}
	if s.private.server {
		host = tls.Server(toServer, s.asHost)
	}
	var receiver *dataEnd
	if d == transfer.Download {
		server, client = s.play(toServer, host, payload), s.play(toClient, user, nil)
		receiver = client
	} else {
		client, server = s.play(toClient, user, payload), s.play(toServer, host, nil)
		receiver = server
	}
	<-client.done
	<-server.done
	if client.err != nil || server.err != nil || !bytes.Equal(receiver.got, payload) {
		s.t.Fatalf("%s: client %v, server %v, %d of %d bytes\n%s", d, client.err, server.err, len(receiver.got), len(payload), s.logs)
	}
	s.server.say("226 done")
	s.client.hear("226")
	return client, server
}

// hearFailure expects that TLS fails on an actor's connection.
func (a *actor) hearFailure(c *tls.Config) {
	a.t.Helper()
	_ = a.conn.SetDeadline(time.Now().Add(socketTimeout))
	if err := tls.Client(a.conn, c).Handshake(); err == nil {
		a.t.Errorf("%s's handshake succeeds", a.name)
	}
}

// trust makes a client certificate one that the frontend asks for.
func trust(c *config.Config, file, how string) {
	c.Frontends[0].TLS.ClientCA, c.Frontends[0].TLS.ClientCertificate = file, how
}
