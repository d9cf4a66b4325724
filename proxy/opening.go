package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"ftproxy/internal/tcp"
)

// emptyGrace is how long a data connection may still be on its way after the
// server has said that the transfer is complete; then it was an empty one for
// which the server opened none (H58).
const emptyGrace = time.Second

// lateGrace is the same where the server connects: its SYN may be lost, and is sent again
// after 1 and 3 s.
const lateGrace = 4 * time.Second

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
	t.spawn(func() { t.openLeg(ctx, clientSide, t.client, outcomes) })
	t.spawn(func() { t.openLeg(ctx, serverSide, t.server, outcomes) })

	conns = make(map[side]net.Conn, 2)
	missing := 2
	accepted, finished := t.accepted, t.finished
	var limit, grace, right *time.Timer
	var mistake error
	var probe chan bool
	var idle *idleWatch // of the server's connection that a refused transfer left
	refused := false    // the server has refused a transfer
	fail := func(at side, err error) (map[side]net.Conn, result) {
		cancel(err)
		for ; missing > 0; missing-- {
			if o := <-outcomes; o.conn != nil {
				conns[o.side] = o.conn
			}
		}
		for at, conn := range conns {
			if err == nil || carriedNothing(at, err) {
				t.part(conn)
			} else {
				tcp.Reset(conn)
			}
		}
		r.failed, r.err = at, err
		return nil, r
	}
	// empty ends a transfer for which the server made no data connection. To
	// the client, if it came, that is a clean end: its file is complete.
	empty := func() (map[side]net.Conn, result) {
		if conn := conns[clientSide]; conn != nil {
			delete(conns, clientSide)
			t.part(conn)
		}
		return fail(noSide, nil)
	}
	for missing > 0 || accepted != nil || probe != nil {
		select {
		case o := <-outcomes:
			missing--
			if o.err != nil && o.side == serverSide && accepted == nil && t.mayBeEmpty() && t.nobodyThere(o.err) {
				return empty()
			}
			if o.err != nil && o.side == serverSide && accepted != nil && refused && !t.awaited.Load() && t.ctx.Err() == nil {
				o.err = t.drop(o.err)
			}
			if o.err != nil && t.ctx.Err() != nil { // The leg was only given up.
				err := context.Cause(t.ctx)
				return fail(blame(err), err)
			}
			if o.err != nil {
				return fail(o.side, o.err)
			}
			conns[o.side] = o.conn
			if o.side == clientSide {
				t.clientHere.Store(true)
				r.client = endsOf(o.conn)
				continue
			}
			r.server = endsOf(o.conn)
			if accepted == nil {
				probe = t.probe(o.conn)
			}
		case <-t.kept:
			refused = true
			if conn := conns[serverSide]; conn != nil && t.protection[serverSide] == nil {
				idle = t.watchIdle(conn, idle)
			}
		case err := <-idle.seen():
			// A server may end the data of the next transfer before we have read its
			// 150; if it refuses that, too, this is looked at again.
			if idle.saw(err); err != nil && !t.awaited.Load() {
				return fail(serverSide, t.drop(err))
			}
		case <-accepted:
			accepted = nil
			if err := idle.stop(); err != nil {
				if t.mayBeEmpty() {
					return empty()
				}
				return fail(serverSide, err)
			}
			r.began = time.Now()
			limit = time.NewTimer(t.timeouts.DataConnect)
			defer limit.Stop()
			if mistake != nil {
				right = time.NewTimer(t.timeouts.Linger)
				defer right.Stop()
			}
			if conn := conns[serverSide]; conn != nil {
				probe = t.probe(conn)
			}
		case mistake = <-t.mistaken:
			// It may have been another's, and the right one be on its way.
			if right == nil && accepted == nil {
				right = time.NewTimer(t.timeouts.Linger)
				defer right.Stop()
			}
		case <-fires(right):
			if right = nil; conns[clientSide] == nil {
				return fail(clientSide, mistake)
			}
		case nothing := <-probe:
			if probe = nil; nothing {
				return empty()
			}
		case <-finished:
			finished = nil
			grace = time.NewTimer(t.grace())
			defer grace.Stop()
		case <-fires(limit):
			at := serverSide
			if conns[clientSide] == nil {
				at = clientSide
			}
			return fail(at, fmt.Errorf("%s leg: %w", at, errDataConnect))
		case <-fires(grace):
			switch grace = nil; {
			case conns[serverSide] != nil || t.serverHere.Load():
			case t.direction == download && !t.turnedAway():
				return empty()
			default: // Nothing can have carried the upload.
				return fail(serverSide, errDataConnect)
			}
		case <-t.ctx.Done():
			err := context.Cause(t.ctx)
			return fail(blame(err), err)
		}
	}
	r.opened = true
	return conns, r
}

// drop notes that the server has closed its data connection after a refusal, before the
// client hears of it.
func (t *transfer) drop(why error) error {
	t.dropped.Store(true)
	return fmt.Errorf("%w: %w", errDropped, why)
}

// carriedNothing tells whether a leg ends for a reason that is no transfer's: there is
// none that could look complete.
func carriedNothing(at side, why error) bool {
	return errors.Is(why, errSuperseded) || errors.Is(why, errRefused) || at == clientSide && errors.Is(why, errDropped)
}

// grace is how long a connection may still be on its way after the server's final reply.
func (t *transfer) grace() time.Duration {
	if _, listens := t.server.(listenLeg); listens && !t.unannounced {
		return lateGrace
	}
	return emptyGrace
}

// turnedAway tells whether a connection was rejected on the port to which the server
// was to connect: it may have been the server's, from an address that is not known as
// its own, so a transfer without a connection is not known to be an empty one.
func (t *transfer) turnedAway() bool {
	leg, ok := t.server.(listenLeg)
	if !ok {
		return false
	}
	_, rejected := leg.lease.TurnedAway()
	return rejected
}

// part closes a connection that was agreed on and carried nothing. A close with
// something unread would be a reset, and FileZilla takes the reset of a connection on
// which it has begun TLS for a reason to try again.
func (t *transfer) part(conn net.Conn) {
	if tcp.Unread(conn) == 0 {
		_ = conn.Close()
		return
	}
	t.partLater(conn)
}

// partLater does so for a peer whose next bytes may be on their way.
func (t *transfer) partLater(conn net.Conn) {
	t.later(func() { partSlowly(t.cut, tcp.Underlying(conn), t.timeouts.Linger) })
}

// maxParting is how much of what a peer sends is read before its connection is
// closed all the same.
const maxParting = 64 << 10

func partSlowly(cut context.Context, conn net.Conn, limit time.Duration) {
	defer conn.Close()
	_ = tcp.CloseWrite(conn)
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	stop := context.AfterFunc(cut, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.CopyN(io.Discard, conn, maxParting)
}

// mayBeEmpty tells whether the server may have made no data connection, though
// it speaks of success: it never said that it opens one, and sends nothing.
func (t *transfer) mayBeEmpty() bool { return t.unannounced && t.direction == download }

// nobodyThere tells whether a server's leg failed because the server has made
// nothing of it: its kernel took the connection, but it never spoke TLS there.
func (t *transfer) nobodyThere(err error) bool {
	return !t.serverHere.Load() || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// probe looks whether anything comes from the server, where nothing may. Its
// kernel may have taken our connection and reset it when nobody accepted it
// (H50); so neither that nor an EOF is more than an empty listing.
func (t *transfer) probe(conn net.Conn) chan bool {
	if !t.mayBeEmpty() || t.protection[serverSide] != nil { // A handshake is more than nothing.
		return nil
	}
	nothing := make(chan bool, 1)
	_ = conn.SetReadDeadline(time.Now().Add(emptyGrace))
	t.spawn(func() { awaitNothing(conn, nothing) })
	return nothing
}

func awaitNothing(conn net.Conn, nothing chan<- bool) {
	err := tcp.Peek(conn)
	nothing <- err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
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
			if err == nil {
				conn, err = t.secure(ctx, at, conn)
			}
			out <- opened{at, conn, legError(ctx, at, conn, err)}
			return
		}
		t.refused.Store(true)
	}
	select {
	case <-t.accepted:
		if conn, err = l.open(ctx); err == nil {
			conn, err = t.secure(ctx, at, conn)
		}
	case <-ctx.Done():
	}
	out <- opened{at, conn, legError(ctx, at, conn, err)}
}

// legError names the leg that is not open, by the cause where it was given up.
func legError(ctx context.Context, at side, conn net.Conn, err error) error {
	switch {
	case conn != nil:
		return nil
	case err == nil, ctx.Err() != nil && errors.Is(err, ctx.Err()):
		err = context.Cause(ctx)
	}
	return fmt.Errorf("%s leg: %w", at, err)
}
