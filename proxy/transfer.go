package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"ftproxy/config"
	"ftproxy/internal/splice"
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
	timeouts       *config.Timeouts

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   func() // its goroutine has ended

	direction direction     // set before accepted is closed
	accepted  chan struct{} // closed when the server has accepted the transfer
	finished  chan struct{} // closed when its final reply is a success
	results   chan result   // one, buffered
	copying   atomic.Pointer[splice.Copy]
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
	opened           bool
	began            time.Time
	ended            time.Time
	client, server   ends
	strayFromTheSink int64
}

// ends are the two addresses of a leg's connection.
type ends struct{ local, remote netip.AddrPort }

func endsOf(c net.Conn) ends { return ends{addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())} }

var errDataConnect = errors.New("no data connection in time")

// emptyGrace is how long a data connection may still be on its way after the
// server has said that the transfer is complete; then it was an empty one for
// which the server opened none (H58).
const emptyGrace = time.Second

// start begins to open the legs. It takes over both.
func (s *session) startTransfer(client, server leg, m modes) *transfer {
	t := &transfer{
		client: client, server: server, modes: m, timeouts: &s.rt.timeouts,
		accepted: make(chan struct{}),
		finished: make(chan struct{}),
		results:  make(chan result, 1),
		done:     s.p.sessions.Done,
	}
	t.ctx, t.cancel = context.WithCancelCause(s.p.cut)
	s.p.sessions.Add(1)
	go t.run()
	return t
}

// accept lets the data flow in direction d.
func (t *transfer) accept(d direction) {
	t.direction = d
	close(t.accepted)
}

func (t *transfer) isAccepted() bool {
	select {
	case <-t.accepted:
		return true
	default:
		return false
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
	t.results <- r
	if c := t.copying.Load(); c != nil && r.err == nil {
		c.Finish(t.ctx, t.timeouts.Linger) // A cut ends it, too; the session does not.
	}
	_ = t.client.Close()
	_ = t.server.Close()
}

// carry opens the legs and moves the data.
func (t *transfer) carry() result {
	conns, r := t.open()
	if r.err != nil || !r.opened {
		return r
	}
	client, server := conns[clientSide], conns[serverSide]
	destination, source, sides := client, server, [...]side{splice.Source: serverSide, splice.Destination: clientSide}
	if t.direction == upload {
		destination, source, sides = server, client, [...]side{splice.Source: clientSide, splice.Destination: serverSide}
	}
	c := splice.New(destination, source, splice.Options{Stall: t.timeouts.DataStall})
	t.copying.Store(c)
	got := c.Run(t.ctx)
	r.bytes, r.err, r.strayFromTheSink = got.Bytes, got.Err, c.Stray()
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
	case errors.Is(err, errServerGone), errors.Is(err, errServerError):
		return serverSide
	}
	return proxySide
}

// opened is what came of one leg.
type opened struct {
	side side
	conn net.Conn
	err  error
}

// open opens both legs, which may take as long as it likes until the server
// accepts the transfer, and from then on as long as data_connect allows. It
// returns when both are open and the transfer is accepted. On an error nothing
// is open; where the server calls the transfer complete and made no data
// connection for it, nothing is open either and nothing is wrong.
func (t *transfer) open() (conns map[side]net.Conn, r result) {
	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	outcomes := make(chan opened, 2)
	go t.openLeg(ctx, clientSide, t.client, outcomes)
	go t.openLeg(ctx, serverSide, t.server, outcomes)

	conns = make(map[side]net.Conn, 2)
	missing := 2
	accepted, finished := t.accepted, t.finished
	var limit, grace *time.Timer
	fail := func(at side, err error) (map[side]net.Conn, result) {
		cancel(err)
		for ; missing > 0; missing-- {
			if o := <-outcomes; o.conn != nil {
				conns[o.side] = o.conn
			}
		}
		for _, conn := range conns {
			if t.isAccepted() {
				splice.Reset(conn)
			} else {
				_ = conn.Close() // No transfer was begun that could look complete.
			}
		}
		r.failed, r.err = at, err
		return nil, r
	}
	for missing > 0 || accepted != nil {
		select {
		case o := <-outcomes:
			missing--
			if o.err != nil {
				return fail(o.side, o.err)
			}
			conns[o.side] = o.conn
			if o.side == clientSide {
				r.client = endsOf(o.conn)
			} else {
				r.server = endsOf(o.conn)
			}
		case <-accepted:
			accepted = nil
			r.began = time.Now()
			limit = time.NewTimer(t.timeouts.DataConnect)
			defer limit.Stop()
		case <-finished:
			finished = nil
			grace = time.NewTimer(emptyGrace)
			defer grace.Stop()
		case <-fires(limit):
			at := serverSide
			if conns[clientSide] == nil {
				at = clientSide
			}
			return fail(at, fmt.Errorf("%s leg: %w", at, errDataConnect))
		case <-fires(grace):
			if grace = nil; conns[serverSide] != nil {
				continue
			}
			if conn := conns[clientSide]; conn != nil {
				delete(conns, clientSide)
				_ = conn.Close() // A clean end: the empty file is complete.
			}
			_, r = fail(noSide, nil)
			return nil, r
		case <-t.ctx.Done():
			err := context.Cause(t.ctx)
			return fail(blame(err), err)
		}
	}
	r.opened = true
	return conns, r
}

// fires is the channel of a timer that may not be set.
func fires(t *time.Timer) <-chan time.Time {
	if t == nil {
		return nil
	}
	return t.C
}

// openLeg opens one leg. A server that refuses the connection is asked once
// more when it has accepted the transfer: some listen only then, and where it
// refuses the transfer, too, that reply is what counts (H50).
func (t *transfer) openLeg(ctx context.Context, at side, l leg, out chan<- opened) {
	var conn net.Conn
	err := error(nil)
	if !l.patient() {
		conn, err = l.open(ctx)
		if _, dials := l.(dialLeg); err == nil || !dials {
			out <- opened{at, conn, legError(ctx, at, err)}
			return
		}
	}
	select {
	case <-t.accepted:
		conn, err = l.open(ctx)
	case <-ctx.Done():
	}
	out <- opened{at, conn, legError(ctx, at, err)}
}

// legError names the leg that failed, by the cause where it was given up.
func legError(ctx context.Context, at side, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		err = context.Cause(ctx)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s leg: %w", at, err)
}
