package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"ftproxy/config"
	"ftproxy/internal/origin"
	"ftproxy/internal/splice"
	"ftproxy/internal/tcp"
)

// side is a side of the proxy, where something went wrong.
type side string

const (
	noSide     side = ""
	clientSide side = "client"
	serverSide side = "server"
	proxySide  side = "proxy"
)

// A transfer is two legs, chosen apart and joined once. It is born when the
// data connection is agreed on, with a goroutine that opens the legs: the
// server's at once, because some servers wait for the connection before they
// answer the transfer command (H51). The session tells it what the server
// answered, and hears of it once, through results.
type transfer struct {
	client, server leg
	modes          modes
	protection     map[side]*protection // nil: none on either side
	mistaken       <-chan error         // why a connection that may be the client's was refused
	timeouts       *config.Timeouts
	bandwidth      bandwidth
	log            sessionLog
	spawn          func(func())

	ctx    context.Context
	cancel context.CancelCauseFunc
	cut    context.Context
	done   func()       // its goroutine has ended
	later  func(func()) // runs something that may outlive it, but not the process

	direction   direction     // set before accepted is closed
	unannounced bool          // likewise: the server said 226 without 150
	accepted    chan struct{} // closed when the server has accepted the transfer
	clientHere  atomic.Bool   // the client's leg is open
	serverHere  atomic.Bool   // the server's is connected; TLS may still be begun on it
	refused     atomic.Bool   // the server has refused the connection once
	kept        chan struct{} // one, buffered: the server has refused a transfer
	awaited     atomic.Bool   // the server has been told of a transfer since
	dropped     atomic.Bool   // the server has closed what it had refused a transfer on
	finished    chan struct{} // closed when its final reply is a success
	results     chan *result  // one, buffered
	copying     atomic.Pointer[splice.Copy]
}

// modes are how the two data connections were agreed on: the verb that the
// client said, and the one that the server was told.
type modes struct{ client, server string }

// A result is how a transfer ended, as the legs tell it.
type result struct {
	bytes  int64
	failed side
	err    error // nil: all that was sent was delivered and acknowledged
	// opened: both legs were; what failed then was a running transfer.
	opened         bool
	began          time.Time
	ended          time.Time
	client, server ends
	stray          int64 // bytes that the receiver sent
	truncated      bool  // the sender's TLS ended without close_notify
}

// ends are the two addresses of a leg's connection, and how it is protected.
type ends struct {
	local, remote netip.AddrPort
	tls           string // the version; empty: not at all
}

func endsOf(c net.Conn) ends {
	e := ends{local: tcp.AddrPort(c.LocalAddr()), remote: tcp.AddrPort(c.RemoteAddr())}
	if secured, ok := c.(*tls.Conn); ok {
		e.tls = tls.VersionName(secured.ConnectionState().Version)
	}
	return e
}

var errDataConnect = errors.New("no data connection in time")

// startTransfer begins to open the legs. It takes over the server's and the ports of
// the setup.
func (s *session) startTransfer(st *setup, server leg, m modes) *transfer {
	t := &transfer{
		client: s.clientLeg(st), server: server, modes: m, mistaken: st.refused, timeouts: &s.rt.timeouts, bandwidth: s.bandwidth, log: s.log,
		protection: s.protections(),
		spawn:      s.p.workers.Go,
		accepted:   make(chan struct{}),
		finished:   make(chan struct{}),
		kept:       make(chan struct{}, 1),
		results:    make(chan *result, 1),
		done:       s.p.sessions.Done,
		later:      s.p.later,
		cut:        s.p.hardStop,
	}
	t.ctx, t.cancel = context.WithCancelCause(s.p.hardStop)
	s.p.sessions.Add(1)
	t.spawn(t.run)
	return t
}

// accept lets the data flow in direction d. announced is false where the server
// calls the transfer complete and never said that it began.
func (t *transfer) accept(d direction, announced bool) {
	t.direction, t.unannounced = d, !announced
	close(t.accepted)
}

// refuse says that the server has refused a transfer. The legs stay for the next one, as
// long as the server keeps its own.
func (t *transfer) refuse() {
	t.awaited.Store(false)
	select {
	case t.kept <- struct{}{}:
	default:
	}
}

// await says that a transfer command goes to the server: from now on it may end its
// data connection because that transfer is complete.
func (t *transfer) await() { t.awaited.Store(true) }

// over is the result of what has ended before it was used; nil: it has not. The client
// may have seen that it has.
func (t *transfer) over() *result {
	if t.dropped.Load() {
		return <-t.results
	}
	select {
	case r := <-t.results:
		return r
	default:
		return nil
	}
}

// finish says that the server calls the transfer complete.
func (t *transfer) finish() { close(t.finished) }

// abort ends the transfer: both connections are reset.
func (t *transfer) abort(why error) { t.cancel(why) }

// bytes is the payload moved so far.
func (t *transfer) bytes() int64 {
	if c := t.copying.Load(); c != nil {
		return c.Bytes()
	}
	return 0
}

// approached tells whether a connection is here that may be the client's.
func (t *transfer) approached() bool {
	l, ok := t.client.(listenLeg)
	return ok && l.lease.Approached()
}

// senderDone tells whether all that the client wanted to send is here.
func (t *transfer) senderDone() bool {
	c := t.copying.Load()
	return c != nil && t.direction == upload && c.Ended()
}

// run is the transfer's goroutine.
func (t *transfer) run() {
	defer t.done()
	defer t.cancel(nil)
	r := t.carry()
	r.ended = time.Now()
	c := t.copying.Load()
	if c == nil || r.err != nil {
		t.close(clientSide, serverSide)
		t.results <- &r
		return
	}
	// The sender's connection is closed. The receiver's lingers, until a cut or
	// the session's next data connection; some clients close only after 226.
	receiver, sender := clientSide, serverSide
	if t.direction == upload {
		receiver, sender = serverSide, clientSide
	}
	t.close(sender)
	t.results <- &r
	c.Finish(t.ctx, t.timeouts.Linger)
	t.close(receiver)
}

// close gives the ports of these legs back.
func (t *transfer) close(sides ...side) {
	for _, at := range sides {
		if at == clientSide {
			_ = t.client.Close()
		} else {
			_ = t.server.Close()
		}
	}
}

// unlinger ends the wait for the receiver's FIN. The transfer must be complete.
func (t *transfer) unlinger() { t.cancel(nil) }

// carry opens the legs and moves the data.
func (t *transfer) carry() result {
	conns, r := t.open()
	if r.err != nil || !r.opened {
		return r
	}
	client, server := origin.Unnamed(conns[clientSide]), conns[serverSide]
	destination, source, sides := client, server, [...]side{splice.Source: serverSide, splice.Destination: clientSide}
	if t.direction == upload {
		destination, source, sides = server, client, [...]side{splice.Source: clientSide, splice.Destination: serverSide}
	}
	sender := t.protection[sides[splice.Source]]
	c := splice.New(destination, source, splice.Options{Stall: t.timeouts.DataStall, Go: t.spawn, StrictEOF: sender != nil && sender.strictEOF})
	t.copying.Store(c)
	leave := t.bandwidth.join(t.ctx, c, t.direction, t.log)
	got := c.Run(t.ctx)
	leave()
	r.bytes, r.err, r.stray = got.Bytes, got.Err, c.Stray()
	r.truncated = c.Truncated()
	if got.Err != nil {
		if r.failed = sides[got.Failed]; r.failed == noSide {
			r.failed = blame(got.Err)
		}
	}
	return r
}

// blame says whose doing an abort was that no leg caused.
func blame(err error) side {
	switch {
	case errors.Is(err, errAborted), errors.Is(err, errClientGone), errors.Is(err, errSuperseded):
		return clientSide
	case errors.Is(err, errServerGone), errors.Is(err, errServerError), errors.Is(err, errRefused), errors.Is(err, errDataConnect):
		return serverSide
	}
	return proxySide
}
