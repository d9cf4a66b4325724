package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"ftproxy/internal/tcp"
)

// EmptyGrace is how long a data connection may still be on its way after the
// server has said that the transfer is complete; then it was an empty one for
// which the server opened none (H58).
const EmptyGrace = time.Second

// lateGrace is the same where the server connects: its SYN may be lost, and is sent again
// after 1 and 3 s.
const lateGrace = 4 * time.Second

// An opening is a transfer whose legs are being opened. Each of its on… methods takes
// one event and tells whether the opening is over.
type opening struct {
	t        *Transfer
	cancel   context.CancelCauseFunc // gives up the legs that are not open yet
	outcomes chan outcome
	missing  int // legs whose outcome is not known
	conns    [ServerSide + 1]net.Conn

	accepted, finished  <-chan struct{} // the transfer's, until they are closed
	limit, grace, right *time.Timer     // for the legs; for the server's after its final reply; for the client's after a mistake
	mistake             error           // why a connection that may be the client's was refused
	probe               chan bool       // whether nothing comes from the server; nil: it is not asked
	idle                *idleWatch      // of the server's connection that a refused transfer left
	refused             bool            // the server has refused a transfer

	result Result
}

// outcome is what came of one leg.
type outcome struct {
	side Side
	conn net.Conn
	err  error
}

// open opens both legs, which may take as long as it likes until the server
// accepts the transfer, and from then on as long as data_connect allows. It
// returns when both are open and the transfer is accepted. On an error nothing
// is open; where the server calls the transfer complete and made no data
// connection for it, nothing is open either and nothing is wrong.
func (t *Transfer) open() ([ServerSide + 1]net.Conn, Result) {
	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	outcomes := make(chan outcome, 2)
	t.options.Runner.Go(func() { t.openLeg(ctx, ClientSide, outcomes) })
	t.options.Runner.Go(func() { t.openLeg(ctx, ServerSide, outcomes) })

	o := opening{t: t, cancel: cancel, outcomes: outcomes, missing: 2, accepted: t.accepted, finished: t.finished}
	o.run()
	for _, timer := range []*time.Timer{o.limit, o.grace, o.right} {
		if timer != nil {
			timer.Stop()
		}
	}
	return o.conns, o.result
}

func (o *opening) run() {
	for o.missing > 0 || o.accepted != nil || o.probe != nil {
		over := false
		select {
		case c := <-o.outcomes:
			over = o.onOutcome(c)
		case <-o.t.kept:
			o.onKept()
		case err := <-o.idle.seen():
			over = o.onIdle(err)
		case <-o.accepted:
			over = o.onAccepted()
		case o.mistake = <-o.t.options.Mistaken:
			if o.accepted == nil {
				o.awaitRight()
			}
		case <-fires(o.right):
			over = o.onRight()
		case nothing := <-o.probe:
			o.probe = nil
			over = nothing && o.empty()
		case <-o.finished:
			o.finished = nil
			o.grace = time.NewTimer(o.t.grace())
		case <-fires(o.limit):
			over = o.onLimit()
		case <-fires(o.grace):
			over = o.onGrace()
		case <-o.t.ctx.Done():
			over = o.abort()
		}
		if over {
			return
		}
	}
	o.result.Opened = true
}

// onOutcome takes what came of a leg.
func (o *opening) onOutcome(c outcome) (over bool) {
	o.missing--
	if c.err != nil {
		return o.onFailure(c.side, c.err)
	}
	o.conns[c.side] = c.conn
	if c.side == ClientSide {
		o.result.ClientData = endsOf(c.conn)
		return false
	}
	o.result.ServerData = endsOf(c.conn)
	switch {
	case o.accepted == nil:
		o.probe = o.t.probe(c.conn)
	case o.refused:
		o.watch()
	}
	return false
}

// onFailure takes a leg that is not open.
func (o *opening) onFailure(at Side, err error) (over bool) {
	t := o.t
	accepted := o.accepted == nil
	switch {
	case at == ServerSide && accepted && t.mayBeEmpty() && t.nobodyThere(err):
		return o.empty()
	case at == ServerSide && !accepted && o.refused && !t.awaited.Load() && t.ctx.Err() == nil:
		err = t.drop(err)
	}
	if t.ctx.Err() != nil { // The leg was only given up.
		return o.abort()
	}
	return o.fail(at, err)
}

// onKept takes the server's refusal of a transfer.
func (o *opening) onKept() {
	o.refused = true
	o.watch()
}

// watch looks at the server's connection, if it is here.
func (o *opening) watch() {
	if conn := o.conns[ServerSide]; conn != nil && o.t.options.ServerTLS == nil {
		o.idle = o.t.watchIdle(conn, o.idle)
	}
}

// onIdle takes what the server did on a connection that a refused transfer left. A
// server may end the data of the next transfer before we have read its 150; if it
// refuses that, too, this is looked at again.
func (o *opening) onIdle(err error) (over bool) {
	o.idle.saw(err)
	if err != nil && !o.t.awaited.Load() {
		return o.fail(ServerSide, o.t.drop(err))
	}
	return false
}

// onAccepted lets the time run that the legs have.
func (o *opening) onAccepted() (over bool) {
	o.accepted = nil
	if err := o.idle.stop(); err != nil {
		if o.t.mayBeEmpty() {
			return o.empty()
		}
		return o.fail(ServerSide, err)
	}
	o.result.Began = time.Now()
	o.limit = time.NewTimer(o.t.options.Timeouts.DataConnect)
	if o.mistake != nil {
		o.awaitRight()
	}
	if conn := o.conns[ServerSide]; conn != nil {
		o.probe = o.t.probe(conn)
	}
	return false
}

// awaitRight gives the client's connection some time after another was refused: that
// may have been another's, and the right one be on its way.
func (o *opening) awaitRight() {
	if o.right == nil {
		o.right = time.NewTimer(o.t.options.Timeouts.Linger)
	}
}

func (o *opening) onRight() (over bool) {
	o.right = nil
	return o.conns[ClientSide] == nil && o.fail(ClientSide, o.mistake)
}

func (o *opening) onLimit() (over bool) {
	at := ServerSide
	if o.conns[ClientSide] == nil {
		at = ClientSide
	}
	return o.fail(at, fmt.Errorf("%s leg: %w", at, ErrDataConnect))
}

// onGrace ends the wait for the server's connection after its final reply.
func (o *opening) onGrace() (over bool) {
	o.grace = nil
	switch {
	case o.conns[ServerSide] != nil || o.t.serverHere.Load():
		return false
	case o.t.direction == Download && !o.t.turnedAway():
		return o.empty()
	}
	return o.fail(ServerSide, ErrDataConnect) // Nothing can have carried the upload.
}

// abort ends a transfer that its owner gives up.
func (o *opening) abort() (over bool) {
	err := context.Cause(o.t.ctx)
	return o.fail(blame(err), err)
}

// empty ends a transfer for which the server made no data connection. To
// the client, if it came, that is a clean end: its file is complete.
func (o *opening) empty() (over bool) {
	if conn := o.conns[ClientSide]; conn != nil {
		o.conns[ClientSide] = nil
		o.t.part(conn)
	}
	return o.fail(NoSide, nil)
}

// fail ends the opening. Of the legs nothing is left.
func (o *opening) fail(at Side, err error) (over bool) {
	o.cancel(err)
	for ; o.missing > 0; o.missing-- {
		if c := <-o.outcomes; c.conn != nil {
			o.conns[c.side] = c.conn
		}
	}
	for at, conn := range o.conns {
		switch {
		case conn == nil:
		case err == nil || carriedNothing(Side(at), err):
			o.t.part(conn)
		default:
			tcp.Reset(conn)
		}
	}
	o.result.Failed, o.result.Err = at, err
	return true
}

// drop notes that the server has closed its data connection after a refusal, before the
// client hears of it.
func (t *Transfer) drop(why error) error {
	t.dropped.Store(true)
	return fmt.Errorf("%w: %w", errDropped, why)
}

// grace is how long a connection may still be on its way after the server's final reply.
func (t *Transfer) grace() time.Duration {
	if t.ServerLease() != nil && !t.unannounced {
		return lateGrace
	}
	return EmptyGrace
}

// turnedAway tells whether a connection was rejected on the port to which the server
// was to connect: it may have been the server's, from an address that is not known as
// its own, so a transfer without a connection is not known to be an empty one.
func (t *Transfer) turnedAway() bool {
	lease := t.ServerLease()
	if lease == nil {
		return false
	}
	_, rejected := lease.TurnedAway()
	return rejected
}

// mayBeEmpty tells whether the server may have made no data connection, though
// it speaks of success: it never said that it opens one, and sends nothing.
func (t *Transfer) mayBeEmpty() bool { return t.unannounced && t.direction == Download }

// nobodyThere tells whether a server's leg failed because the server has made
// nothing of it: its kernel took the connection, but it never spoke TLS there.
func (t *Transfer) nobodyThere(err error) bool {
	return !t.serverHere.Load() || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
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
func (t *Transfer) openLeg(ctx context.Context, at Side, out chan<- outcome) {
	l := t.leg(at)
	if !l.patient() {
		conn, err := t.opened(ctx, at, l)
		if _, dials := l.(DialLeg); err == nil || !dials {
			out <- t.protected(ctx, at, conn, err)
			return
		}
		t.unreachable.Store(true)
	}
	select {
	case <-t.accepted:
		conn, err := t.opened(ctx, at, l)
		out <- t.protected(ctx, at, conn, err)
	case <-ctx.Done():
		out <- t.protected(ctx, at, nil, context.Cause(ctx))
	}
}

// opened opens a leg and notes whether it is.
func (t *Transfer) opened(ctx context.Context, at Side, l Leg) (net.Conn, error) {
	_, dials := l.(DialLeg)
	if dials {
		now := time.Now()
		t.dials[at].began.CompareAndSwap(nil, &now)
	}
	conn, err := l.open(ctx)
	if err != nil && dials && ctx.Err() == nil {
		failed := err
		t.dials[at].failed.Store(&failed)
	}
	switch {
	case err != nil:
	case at == ServerSide:
		t.noteServer(conn)
	default:
		t.clientHere.Store(true)
	}
	return conn, err
}

// protected is the outcome of a leg that was opened or not, with what its protection
// comes to. Its error names the leg, and is the cause where the leg was given up.
func (t *Transfer) protected(ctx context.Context, at Side, conn net.Conn, err error) outcome {
	if err == nil {
		conn, err = t.protect(ctx, at, conn)
	}
	if err == nil {
		return outcome{side: at, conn: conn}
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = context.Cause(ctx)
	}
	return outcome{side: at, err: fmt.Errorf("%s leg: %w", at, err)}
}
