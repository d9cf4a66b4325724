// Package transfer moves the payload of one FTP transfer: it opens the two legs of a
// data connection, protects them, joins them and says how that ended. It knows nothing
// of a session: whoever begins a transfer tells it what the server answers.
//
// # Stages of a Transfer
//
//	opening   from Start on: both legs are being opened. The server's is at once,
//	          because some servers wait for the connection before they answer the
//	          transfer command (H51); others connect only after that (Accept). A
//	          refused transfer (Refuse) leaves both legs for the next one.
//	joined    both are open and the server has accepted: the payload moves.
//	ended     the Result is there, once. Nothing is open, but after a success the
//	          receiver's connection, which lingers for the receiver's FIN.
//
// Abort leads from opening and joined to ended.
package transfer

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"ftproxy/internal/portpool"
	"ftproxy/internal/splice"
	"ftproxy/internal/tcp"
)

// Options are what a transfer is made of.
type Options struct {
	Client, Server       Leg         // it takes them over
	ClientTLS, ServerTLS *Protection // nil: in the clear
	Modes                Modes
	// Mistaken tells why a connection that may be the client's was refused. It may
	// be nil.
	Mistaken  <-chan error
	Timeouts  Timeouts
	Bandwidth Bandwidth
	Runner    *Runner
}

// Timeouts bound what a transfer waits for.
type Timeouts struct {
	DataConnect time.Duration // the legs, once the server has accepted the transfer
	DataStall   time.Duration // any byte to move
	Linger      time.Duration // a peer's FIN after ours
}

// A Runner is what transfers run on.
type Runner struct {
	// Go runs a function on a goroutine of its own and does not wait for it.
	Go func(func())
	// Outlive does the same for what may outlive a session. The process waits for it.
	Outlive func(func())
	// Cut ends, with the cause, when the process waits no longer.
	Cut context.Context
}

// Modes are how the two data connections were agreed on: the verb that the
// client said, and the one that the server was told.
type Modes struct{ Client, Server string }

// A Transfer is two legs, chosen apart and joined once. Its methods are for the one
// goroutine that began it.
type Transfer struct {
	options Options

	ctx    context.Context
	cancel context.CancelCauseFunc

	direction   Direction     // set before accepted is closed
	unannounced bool          // likewise: the server said 226 without 150
	accepted    chan struct{} // closed when the server has accepted the transfer
	clientHere  atomic.Bool   // the client's leg is open
	serverHere  atomic.Bool   // the server's is connected, or was; TLS may still be begun on it
	unreachable atomic.Bool   // the server has refused the connection once
	kept        chan struct{} // one, buffered: the server has refused a transfer
	awaited     atomic.Bool   // the server has been told of a transfer since
	dropped     atomic.Bool   // the server has closed what it had refused a transfer on
	finished    chan struct{} // closed when its final reply is a success
	result      chan *Result  // one, buffered
	copying     atomic.Pointer[splice.Copy]
	server      atomic.Pointer[net.Conn] // the server's connection, below TLS
	hold        atomic.Pointer[hold]     // after Interrupt
	began       time.Time
	dials       [ServerSide + 1]dials
	refusals    bool // Refuse was called
}

// A Result is how a transfer ended, as the legs tell it.
type Result struct {
	Bytes  int64
	Failed Side
	Err    error // nil: all that was sent was delivered and acknowledged
	// Opened: both legs were; what failed then was a running transfer.
	Opened       bool
	Began, Ended time.Time // Began is when the server accepted it; zero: it did not
	ClientData   Ends
	ServerData   Ends
	Stray        int64 // bytes that the receiver sent
	Truncated    bool  // the sender's TLS ended without close_notify
	Unlimited    error // why the bandwidth is not limited as it should be
}

// Ends are the two addresses of a leg's connection, and how it is protected.
type Ends struct {
	Local, Remote netip.AddrPort
	TLS           string // the version; empty: not at all
}

func endsOf(c net.Conn) Ends {
	e := Ends{Local: tcp.AddrPort(c.LocalAddr()), Remote: tcp.AddrPort(c.RemoteAddr())}
	if secured, ok := c.(*tls.Conn); ok {
		e.TLS = tls.VersionName(secured.ConnectionState().Version)
	}
	return e
}

// Start begins to open the legs.
func Start(o Options) *Transfer {
	t := &Transfer{
		options:  o,
		accepted: make(chan struct{}),
		finished: make(chan struct{}),
		kept:     make(chan struct{}, 1),
		result:   make(chan *Result, 1),
		began:    time.Now(),
	}
	t.ctx, t.cancel = context.WithCancelCause(o.Runner.Cut)
	o.Runner.Outlive(t.run)
	return t
}

// Accept lets the data flow in direction d. announced is false where the server
// calls the transfer complete and never said that it began.
func (t *Transfer) Accept(d Direction, announced bool) {
	t.direction, t.unannounced = d, !announced
	close(t.accepted)
}

// Refuse says that the server has refused a transfer. The legs stay for the next one, as
// long as the server keeps its own.
func (t *Transfer) Refuse() {
	t.awaited.Store(false)
	t.refusals = true
	select {
	case t.kept <- struct{}{}:
	default:
	}
}

// Refused tells whether the server has refused a transfer on it.
func (t *Transfer) Refused() bool { return t.refusals }

// Await says that a transfer command goes to the server: from now on it may end its
// data connection because that transfer is complete.
func (t *Transfer) Await() { t.awaited.Store(true) }

// Finish says that the server calls the transfer complete.
func (t *Transfer) Finish() { close(t.finished) }

// Abort ends the transfer: both connections are reset. A transfer that has ended is
// not changed by it.
func (t *Transfer) Abort(why error) { t.cancel(why) }

// Unlinger ends the wait for the receiver's FIN. The transfer must be complete.
func (t *Transfer) Unlinger() { t.cancel(nil) }

// Result gives the result, once.
func (t *Transfer) Result() <-chan *Result { return t.result }

// Over is the result of what has ended before it was used; nil: it has not. The client
// may have seen that it has.
func (t *Transfer) Over() *Result {
	if t.dropped.Load() {
		return <-t.result
	}
	select {
	case r := <-t.result:
		return r
	default:
		return nil
	}
}

// Modes are how it was agreed on.
func (t *Transfer) Modes() Modes { return t.options.Modes }

// Bytes is the payload moved so far. Any goroutine may ask.
func (t *Transfer) Bytes() int64 {
	if c := t.copying.Load(); c != nil {
		return c.Bytes()
	}
	return 0
}

// ClientHere tells whether the client's connection is here, or one that may be it.
func (t *Transfer) ClientHere() bool {
	if t.clientHere.Load() {
		return true
	}
	l, listens := t.options.Client.(ListenLeg)
	return listens && l.Lease.Approached()
}

// ServerUnreachable tells whether the server has refused the connection once.
func (t *Transfer) ServerUnreachable() bool { return t.unreachable.Load() }

// ServerCame tells whether there is a connection with the server, or was one.
func (t *Transfer) ServerCame() bool {
	if t.serverHere.Load() {
		return true
	}
	lease := t.ServerLease()
	return lease != nil && lease.Came()
}

// ServerLease is the port that the server's connection is to come to; nil: it does
// not come to one of ours.
func (t *Transfer) ServerLease() *portpool.Lease {
	l, _ := t.options.Server.(ListenLeg)
	return l.Lease
}

// SenderDone tells whether all that the client wanted to send is here.
func (t *Transfer) SenderDone() bool {
	c := t.copying.Load()
	return c != nil && t.direction == Upload && c.Ended()
}

// run is the transfer's goroutine.
func (t *Transfer) run() {
	defer t.cancel(nil)
	r := t.carry()
	r.Ended = time.Now()
	c := t.copying.Load()
	if r.Err == nil && c != nil || r.Bytes > 0 && t.direction == Upload {
		t.heard()
	}
	if c == nil || r.Err != nil {
		t.closeLeg(ClientSide)
		if t.hold.Load() != nil { // The session waits for the result, and the server for ABOR.
			t.result <- &r
			t.closeServer()
			return
		}
		t.closeServer()
		t.result <- &r
		return
	}
	// The sender's connection is closed. The receiver's lingers, until a cut or
	// the next data connection; some clients close only after 226.
	sender, receiver := t.sides()
	t.closeLeg(sender)
	t.result <- &r
	c.Finish(t.ctx, t.options.Timeouts.Linger)
	t.closeLeg(receiver)
}

// heard says that the client's connection stands at both ends, also where a relay is
// between.
func (t *Transfer) heard() {
	if l, listens := t.options.Client.(ListenLeg); listens {
		l.Lease.Heard()
	}
}

// sides are where the payload comes from and where it goes.
func (t *Transfer) sides() (sender, receiver Side) {
	if t.direction == Upload {
		return ClientSide, ServerSide
	}
	return ServerSide, ClientSide
}

func (t *Transfer) leg(at Side) Leg {
	if at == ClientSide {
		return t.options.Client
	}
	return t.options.Server
}

func (t *Transfer) protection(at Side) *Protection {
	if at == ClientSide {
		return t.options.ClientTLS
	}
	return t.options.ServerTLS
}

// carry opens the legs and moves the data.
func (t *Transfer) carry() Result {
	conns, r := t.open()
	if !r.Opened {
		return r
	}
	if _, secured := conns[ClientSide].(*tls.Conn); !secured {
		conns[ClientSide] = tcp.Underlying(conns[ClientSide]) // splice(2) takes no wrapper.
	}
	sender, receiver := t.sides()
	p := t.protection(sender)
	c := splice.New(conns[receiver], conns[sender], splice.Options{
		Stall: t.options.Timeouts.DataStall, Go: t.options.Runner.Go, StrictEOF: p != nil && p.StrictEOF})
	t.copying.Store(c)
	leave, err := t.options.Bandwidth.join(t.ctx, c, t.direction)
	if t.ctx.Err() == nil { // The copy itself tells of an abort.
		r.Unlimited = err
	}
	got := c.Run(t.ctx)
	leave()
	r.Bytes, r.Err, r.Stray = got.Bytes, got.Err, c.Stray()
	r.Truncated = c.Truncated()
	switch {
	case got.Err == nil:
	case got.Failed == splice.Source:
		r.Failed = sender
	case got.Failed == splice.Destination:
		r.Failed = receiver
	default:
		r.Failed = blame(got.Err)
	}
	return r
}
