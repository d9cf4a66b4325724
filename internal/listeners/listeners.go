// Package listeners has the sockets that clients connect to: it opens and closes them as
// configurations follow each other, accepts, and turns clients away while no file
// descriptor is free.
package listeners

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"ftproxy/internal/logline"
	"ftproxy/internal/tcp"
)

// A Network is where Listeners listen.
type Network interface {
	// Listen opens a control listener. Urgent data of its connections stays
	// in line, because Python's ftplib sends all of ABOR as urgent (H32). A
	// wildcard is opened beside the listeners that this process has for single
	// addresses at that port, which go on serving theirs.
	Listen(addr netip.AddrPort, beside ...net.Listener) (net.Listener, error)
	// ListenFree opens a control listener on a single address that this machine
	// may get later.
	ListenFree(addr netip.AddrPort) (net.Listener, error)
	// ListenData opens a data listener.
	ListenData(at tcp.Local) (net.Listener, error)
}

// Listeners are all control listeners of a process.
type Listeners struct {
	network     Network
	log         logline.Log
	serve       func(conn net.Conn, key netip.AddrPort, scarce bool)
	descriptors descriptors

	accepting sync.WaitGroup
	closing   chan struct{} // closed by Close

	mu   sync.Mutex
	open set
}

// Options are what Listeners are made of.
type Options struct {
	Network Network
	Log     logline.Log
	// Descriptors is how many file descriptors the process may have open; 0: unknown.
	Descriptors int
	// Serve takes over a connection that the listener for the address key accepted. It
	// does not wait. Where descriptors are scarce it closes conn before it returns.
	Serve func(conn net.Conn, key netip.AddrPort, scarce bool)
}

// New gives Listeners that listen nowhere yet.
func New(o Options) *Listeners {
	ls := &Listeners{network: o.Network, log: o.Log, serve: o.Serve, closing: make(chan struct{}), open: make(set)}
	ls.descriptors.init(o.Descriptors)
	return ls
}

// Wanted is where a configuration wants to listen, and what for.
type Wanted map[netip.AddrPort]Want

// A Want is what is wanted at one address.
type Want struct {
	Frontend string // its name
	Free     bool   // this machine may get the address later
}

func (w Wanted) has(addr netip.AddrPort) bool {
	_, has := w[addr]
	return has
}

// An Error says which listener of which frontend could not be opened.
type Error struct {
	Frontend string
	Addr     netip.AddrPort
	Err      error
}

func (e *Error) Error() string {
	return fmt.Sprintf("frontend %s: listening on %s: %v", e.Frontend, e.Addr, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Opened are listeners that nobody accepts from yet.
type Opened struct {
	wanted Wanted
	set    set
}

// Close closes them, where they are not put to use.
func (o *Opened) Close() {
	for _, l := range o.set {
		_ = l.Close()
	}
}

// Open opens the listeners that are wanted and not open yet. Its errors are
// *[Error]s, joined; then none is opened.
func (ls *Listeners) Open(wanted Wanted) (*Opened, error) {
	ls.mu.Lock()
	open := maps.Clone(ls.open)
	ls.mu.Unlock()
	opened := &Opened{wanted, make(set)}
	var failed []error
	for addr, want := range wanted {
		if open.listens(addr) {
			if err := ls.probe(addr, open); err != nil && !want.Free {
				failed = append(failed, &Error{Frontend: want.Frontend, Addr: addr, Err: err})
			}
			continue
		}
		l, err := ls.listen(addr, want, open)
		if err != nil && wanted.withoutIPv6(addr, err) {
			ls.log.Warn().Err(err).Str("frontend", logline.Word(want.Frontend)).Stringer("listen", addr).
				Msg("this machine has no IPv6, listening on IPv4 only")
			continue
		}
		if err != nil {
			failed = append(failed, &Error{Frontend: want.Frontend, Addr: addr, Err: err})
			continue
		}
		opened.set[addr] = &listener{Listener: l, key: addr}
		open[addr] = opened.set[addr]
	}
	if len(failed) > 0 {
		opened.Close()
		return nil, errors.Join(failed...)
	}
	return opened, nil
}

// listen opens one listener.
func (ls *Listeners) listen(addr netip.AddrPort, want Want, open set) (net.Listener, error) {
	if want.Free {
		return ls.network.ListenFree(addr)
	}
	return ls.network.Listen(addr, open.beside(addr)...)
}

// probe tells whether this machine has an address that a wildcard's socket would
// serve: binding it would tell, but the port is taken.
func (ls *Listeners) probe(addr netip.AddrPort, open set) error {
	if open[addr] != nil {
		return nil
	}
	l, err := ls.network.ListenData(tcp.AnyPort(addr.Addr()))
	if err != nil {
		return err
	}
	return l.Close()
}

// withoutIPv6 tells whether addr is the IPv6 half of ":21" on a machine where
// IPv6 is switched off: the other half is enough there.
func (w Wanted) withoutIPv6(addr netip.AddrPort, err error) bool {
	return addr.Addr() == netip.IPv6Unspecified() && w.has(netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())) &&
		(errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL))
}

// Use accepts from opened, and closes what is not wanted any more. A listener that
// stays is not touched. It must not be called after Close.
func (ls *Listeners) Use(opened *Opened) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.use(opened)
}

// Follow listens where it is wanted now, as Open and Use do; after Close it does nothing.
func (ls *Listeners) Follow(wanted Wanted) error {
	opened, err := ls.Open(wanted)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	select {
	case <-ls.closing:
		if err == nil {
			opened.Close()
		}
		return nil
	default:
	}
	if err == nil {
		ls.use(opened)
	}
	return err
}

func (ls *Listeners) use(opened *Opened) {
	for addr, l := range opened.set {
		ls.open[addr] = l
		ls.accepting.Add(1)
		go ls.accept(l)
	}
	for addr, l := range ls.open {
		if !ls.open.needed(addr, opened.wanted) {
			delete(ls.open, addr)
			_ = l.Close()
		}
	}
}

// Close closes all listeners. Nobody is accepted any more after Wait.
func (ls *Listeners) Close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	close(ls.closing)
	for _, l := range ls.open {
		_ = l.Close()
	}
	clear(ls.open)
}

// Wait waits for the last call of Serve, after Close, and gives the spare descriptor back.
func (ls *Listeners) Wait() {
	ls.accepting.Wait()
	ls.descriptors.close()
}

// Addrs are the addresses that are listened on, by the wanted one: they differ where a
// port 0 was asked for.
func (ls *Listeners) Addrs(wanted Wanted) map[netip.AddrPort]net.Addr {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	addrs := make(map[netip.AddrPort]net.Addr, len(ls.open))
	for key, l := range ls.open {
		addrs[key] = l.Addr()
	}
	for addr := range wanted {
		if addrs[addr] == nil && addrs[wildcard(addr)] != nil {
			addrs[addr] = net.TCPAddrFromAddrPort(addr)
		}
	}
	return addrs
}

// Accept errors such as EMFILE pass by themselves; meanwhile clients wait in
// the backlog.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// accept serves each connection, until the listener is closed.
func (ls *Listeners) accept(l *listener) {
	defer ls.accepting.Done()
	pause := acceptPauseMin
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = acceptPauseMin
			ls.serve(conn, l.key, ls.descriptors.scarce(conn))
			continue
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			ls.exhausted(l, err)
			continue
		}
		ls.log.Error().Err(err).Stringer("listen", l.key).Msg("accept failed")
		select {
		case <-time.After(pause):
		case <-ls.closing:
		}
		pause = min(2*pause, acceptPauseMax)
	}
}
