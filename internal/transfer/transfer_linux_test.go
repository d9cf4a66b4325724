package transfer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ftproxy/internal/ftps"
	"ftproxy/internal/pace"
	"ftproxy/internal/tcp"
)

// A stand is a transfer whose two peers listen, and a process that it runs on.
type stand struct {
	t              *testing.T
	client, server net.Listener
	options        Options
	cut            context.CancelCauseFunc
	running        sync.WaitGroup
}

func newStand(t *testing.T) *stand {
	s := &stand{t: t, client: listenLoopback(t), server: listenLoopback(t)}
	ctx, cut := context.WithCancelCause(t.Context())
	s.cut = cut
	run := func(f func()) { s.running.Go(f) }
	leg := func(l net.Listener, late bool) DialLeg {
		return DialLeg{Dialer: tcp.Network{}, Remote: tcp.AddrPort(l.Addr()), Late: late}
	}
	s.options = Options{
		Client: leg(s.client, true), Server: leg(s.server, false),
		Timeouts:  Timeouts{DataConnect: time.Minute, DataStall: time.Minute, Linger: time.Minute},
		Bandwidth: Bandwidth{Set: new(pace.Set)},
		Runner:    &Runner{Go: run, Outlive: run, Cut: ctx},
	}
	t.Cleanup(func() {
		cut(nil)
		s.running.Wait()
	})
	return s
}

func (s *stand) accept(l net.Listener) *net.TCPConn {
	s.t.Helper()
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
	conn, err := l.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn.(*net.TCPConn)
}

// wants waits for the end of a transfer.
func (s *stand) wants(t *Transfer, failed Side, err error) *Result {
	s.t.Helper()
	r := <-t.Result()
	if r.Failed != failed || !errors.Is(r.Err, err) || (r.Err == nil) != (err == nil) {
		s.t.Errorf("the transfer ends with %v of the %s, want %v of the %s", r.Err, r.Failed, err, failed)
	}
	return r
}

func (s *stand) wantReset(conn net.Conn) {
	s.t.Helper()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		s.t.Errorf("a peer sees %v, want a reset", err)
	}
}

// A refused transfer leaves the server's connection for the next one, and the client is
// not dialled before one is accepted.
func TestKeptForTheNext(t *testing.T) {
	s := newStand(t)
	x := Start(s.options)
	server := s.accept(s.server)
	x.Await()
	x.Refuse()
	x.Await()
	if x.ClientHere() || x.Over() != nil {
		t.Error("the client's leg is open, or the transfer is over")
	}
	x.Accept(Download, true)
	client := s.accept(s.client)
	_, _ = io.WriteString(server, "content")
	_ = server.Close()
	if got, err := io.ReadAll(client); string(got) != "content" || err != nil {
		t.Errorf("the client gets %q (%v)", got, err)
	}
	_ = client.Close()
	x.Finish()
	r := s.wants(x, NoSide, nil)
	if !r.Opened || r.Bytes != 7 || r.Began.IsZero() || r.Ended.Before(r.Began) {
		t.Errorf("%+v", r)
	}
	for who, pair := range map[string][2]any{
		"client": {r.ClientData.Remote, tcp.AddrPort(s.client.Addr())}, "server": {r.ServerData.Remote, tcp.AddrPort(s.server.Addr())},
	} {
		if pair[0] != pair[1] {
			t.Errorf("the %s is %v, want %v", who, pair[0], pair[1])
		}
	}
}

// A server that closes what a refused transfer left means the client's, too.
func TestDroppedAfterRefusal(t *testing.T) {
	s := newStand(t)
	x := Start(s.options)
	server := s.accept(s.server)
	x.Await()
	x.Refuse()
	_ = server.Close()
	s.wants(x, ServerSide, errDropped)
}

// Who gives a transfer up is named, and no peer takes a part for the whole.
func TestAbort(t *testing.T) {
	for _, tt := range []struct {
		why  error
		want Side
	}{
		{ErrAborted, ClientSide}, {ErrClientGone, ClientSide}, {ErrServerGone, ServerSide},
		{ErrServerError, ServerSide}, {ErrSessionEnd, ProxySide}, {errors.New("shutdown"), ProxySide},
	} {
		s := newStand(t)
		x := Start(s.options)
		server := s.accept(s.server)
		x.Accept(Upload, true)
		client := s.accept(s.client)
		_, _ = io.WriteString(client, "part")
		if _, err := io.ReadFull(server, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		x.Abort(tt.why)
		r := s.wants(x, tt.want, tt.why)
		if !r.Opened || r.Bytes != 4 {
			t.Errorf("%v: %+v", tt.why, r)
		}
		s.wantReset(server)
		s.wantReset(client)
	}
}

// What was agreed on and never used ends with a FIN.
func TestUnused(t *testing.T) {
	for _, why := range []error{ErrUnused, ErrRefused} {
		s := newStand(t)
		conn, err := net.Dial("tcp", s.server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server := s.accept(s.server)
		s.options.Server = isOpen{conn}
		x := Start(s.options)
		x.Abort(why)
		if got, err := io.ReadAll(server); len(got) > 0 || err != nil {
			t.Errorf("%v: the server gets %q (%v), want an end", why, got, err)
		}
		if r := <-x.Result(); r.Opened || !errors.Is(r.Err, why) {
			t.Errorf("%+v, want %v", r, why)
		}
	}
}

// A hard stop of the process is nobody's fault but ours.
func TestCut(t *testing.T) {
	s := newStand(t)
	x := Start(s.options)
	server := s.accept(s.server)
	stop := errors.New("stop")
	s.cut(stop)
	s.wants(x, ProxySide, stop)
	s.wantReset(server)
}

// A client that does not let itself be connected to has data_connect for it, and one that
// refuses none of it.
func TestClientNotThere(t *testing.T) {
	s := newStand(t)
	_ = s.client.Close()
	x := Start(s.options)
	server := s.accept(s.server)
	x.Accept(Download, true)
	s.wants(x, ClientSide, syscall.ECONNREFUSED)
	s.wantReset(server)

	s = newStand(t)
	s.options.Client = never{}
	s.options.Timeouts.DataConnect = time.Millisecond
	x = Start(s.options)
	server = s.accept(s.server)
	x.Accept(Download, true)
	s.wants(x, ClientSide, ErrDataConnect)
	s.wantReset(server)
}

// isOpen is a leg that is open already.
type isOpen struct{ conn net.Conn }

func (l isOpen) open(context.Context) (net.Conn, error) { return l.conn, nil }
func (l isOpen) Close() error                           { return nil }
func (l isOpen) patient() bool                          { return false }

// never is a leg that nothing comes to.
type never struct{}

func (never) open(ctx context.Context) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (never) Close() error  { return nil }
func (never) patient() bool { return false }

// A server that refuses the connection is asked once more when it has accepted.
func TestServerThereLate(t *testing.T) {
	s := newStand(t)
	l := s.options.Server.(DialLeg)
	l.Dialer = new(refusesFirst)
	s.options.Server = l
	x := Start(s.options)
	x.Accept(Download, true)
	_ = s.accept(s.server).Close()
	client := s.accept(s.client)
	if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
		t.Errorf("the client gets %q (%v)", got, err)
	}
	s.wants(x, NoSide, nil)
	if !x.ServerUnreachable() {
		t.Error("it is not known that the server refused the connection")
	}
}

// refusesFirst refuses one connection.
type refusesFirst struct{ refused atomic.Bool }

func (r *refusesFirst) Dial(ctx context.Context, local tcp.Local, remote netip.AddrPort) (net.Conn, error) {
	if !r.refused.Swap(true) {
		return nil, syscall.ECONNREFUSED
	}
	return tcp.Network{}.Dial(ctx, local, remote)
}

// A handshake that does not come in time is a failure of the peer's side.
func TestNoHandshake(t *testing.T) {
	s := newStand(t)
	s.options.ServerTLS = &Protection{
		Begin: func(conn net.Conn) *tls.Conn { return tls.Client(conn, &tls.Config{ServerName: "server"}) },
		Limit: time.Millisecond,
	}
	x := Start(s.options)
	server := s.accept(s.server)
	x.Accept(Download, true)
	s.accept(s.client)
	r := s.wants(x, ServerSide, ftps.ErrNoHandshake)
	if r.Opened {
		t.Errorf("%+v", r)
	}
	if _, err := io.ReadAll(server); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server sees %v, want a reset", err)
	}
}
