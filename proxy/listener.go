package proxy

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"syscall"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/origin"
	"ftproxy/internal/tcp"
)

// A listener accepts control connections. It belongs to the process; which
// frontend a connection is for is looked up in the runtime of the moment, by the
// address that the client reached.
type listener struct {
	net.Listener
	key netip.AddrPort // as configured when it was opened
}

// A ListenError says which listener of which frontend could not be opened.
type ListenError struct {
	Frontend string
	Addr     netip.AddrPort
	Err      error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("frontend %s: listening on %s: %v", e.Frontend, e.Addr, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

// wildcard is all addresses of the family of addr, at its port.
func wildcard(addr netip.AddrPort) netip.AddrPort {
	if addr.Addr().Is4() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())
}

// A listenerSet is the listeners of a process, by their address.
type listenerSet map[netip.AddrPort]*listener

// beside lists the listeners for single addresses that a wildcard has to be
// bound beside, because they stay; and with them the other family's wildcard,
// which the kernel has in the same place.
func (set listenerSet) beside(addr netip.AddrPort) (others []net.Listener) {
	if addr.Port() == 0 || !addr.Addr().IsUnspecified() {
		return nil
	}
	for key, l := range set {
		if key != addr && wildcard(key) == addr {
			others = append(others, l.Listener)
		}
	}
	if len(others) > 0 {
		other := netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())
		if addr.Addr().Is6() {
			other = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
		}
		if l := set[other]; l != nil {
			others = append(others, l.Listener)
		}
	}
	return others
}

// listens tells whether one of them listens on addr.
func (set listenerSet) listens(addr netip.AddrPort) bool {
	return set[addr] != nil || addr.Port() != 0 && set[wildcard(addr)] != nil
}

// needed tells whether the listener key serves a frontend: of its address, of all
// addresses, or, being for all, of a single one that has no listener of its own.
func (set listenerSet) needed(key netip.AddrPort, rt *Runtime) bool {
	if rt.frontends[key] != nil {
		return true
	}
	if key.Port() == 0 {
		return false
	}
	if rt.frontends[wildcard(key)] != nil {
		return true
	}
	for addr := range rt.frontends {
		if wildcard(addr) == key && set[addr] == nil {
			return true
		}
	}
	return false
}

// listen opens the listeners that rt needs and the process does not have yet.
func (p *Process) listen(rt *Runtime) (listenerSet, error) {
	p.mu.Lock()
	open := maps.Clone(p.listeners)
	p.mu.Unlock()
	opened := make(listenerSet)
	var failed []error
	for addr, fe := range rt.frontends {
		if open.listens(addr) {
			if err := p.probe(addr, open); err != nil && !rt.free[addr.Addr()] {
				failed = append(failed, &ListenError{Frontend: fe.name, Addr: addr, Err: err})
			}
			continue
		}
		l, err := p.listenControl(rt, addr, open)
		if err != nil && withoutIPv6(rt, addr, err) {
			p.log.Warn().Err(err).Str("frontend", word(fe.name)).Stringer("listen", addr).
				Msg("this machine has no IPv6, listening on IPv4 only")
			continue
		}
		if err != nil {
			failed = append(failed, &ListenError{Frontend: fe.name, Addr: addr, Err: err})
			continue
		}
		opened[addr] = &listener{Listener: l, key: addr}
		open[addr] = opened[addr]
	}
	if len(failed) == 0 {
		return opened, nil
	}
	for _, l := range opened {
		_ = l.Close()
	}
	return nil, errors.Join(failed...)
}

// probe tells whether this machine has an address that a wildcard's socket would
// serve: binding it would tell, but the port is taken.
func (p *Process) probe(addr netip.AddrPort, open listenerSet) error {
	if open[addr] != nil {
		return nil
	}
	l, err := p.network.ListenData(tcp.AnyPort(addr.Addr()))
	if err != nil {
		return err
	}
	return l.Close()
}

// withoutIPv6 tells whether addr is the IPv6 half of ":21" on a machine where
// IPv6 is switched off: the other half is enough there.
func withoutIPv6(rt *Runtime, addr netip.AddrPort, err error) bool {
	_, ipv4 := rt.frontends[netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())]
	return ipv4 && addr.Addr() == netip.IPv6Unspecified() &&
		(errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL))
}

// Addrs are the addresses that the process listens on, by the configured
// address: they differ where a port 0 was asked for.
func (p *Process) Addrs() map[netip.AddrPort]net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	addrs := make(map[netip.AddrPort]net.Addr, len(p.listeners))
	for key, l := range p.listeners {
		addrs[key] = l.Addr()
	}
	if rt := p.runtime.Load(); rt != nil && !p.draining {
		for addr := range rt.frontends {
			if addrs[addr] == nil && addrs[wildcard(addr)] != nil {
				addrs[addr] = net.TCPAddrFromAddrPort(addr)
			}
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

// accept starts a session for each connection, until the listener is closed.
func (p *Process) accept(l *listener) {
	defer p.accepting.Done()
	pause := acceptPauseMin
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = acceptPauseMin
			p.serve(conn, l.key)
			continue
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			p.exhausted(l, err)
			continue
		}
		p.log.Error().Err(err).Stringer("listen", l.key).Msg("accept failed")
		select {
		case <-time.After(pause):
		case <-p.drain:
		}
		pause = min(2*pause, acceptPauseMax)
	}
}

// serve begins the session of an accepted connection, or refuses it with 421.
// It takes over conn and does not wait.
func (p *Process) serve(conn net.Conn, key netip.AddrPort) {
	rt := p.runtime.Load()
	fe := rt.frontendAt(key, tcp.AddrPort(conn.LocalAddr()).Addr())
	if fe == nil {
		// A listener that is about to be closed; or a wildcard's, kept for some
		// of its addresses, where this one looks as if nobody listened.
		tcp.Reset(conn)
		return
	}
	if p.descriptors.scarce(conn) {
		p.refuse(conn, fe, origin.Direct(conn), "descriptors")
		return
	}
	if fe.proxyProtocol {
		p.accepting.Add(1)
		p.workers.Go(func() { p.welcomeProxied(conn, rt, fe) })
		return
	}
	p.welcome(conn, rt, fe, origin.Direct(conn))
}

// welcome begins the session of a connection, or refuses it where a limit is
// reached.
func (p *Process) welcome(conn net.Conn, rt *Runtime, fe *frontend, from origin.Origin) {
	e, why := p.sessions.add(rt, fe, from)
	if why != "" {
		p.refuse(conn, fe, from, why)
		return
	}
	go newSession(p, e, conn).run()
}

// refuse answers a client that gets no session, and takes over conn.
func (p *Process) refuse(conn net.Conn, fe *frontend, from origin.Origin, why string) {
	p.metrics.SessionRefused(fe.name, why)
	p.often(sessionRefused, fe.name, why, from.Client.Addr()).Str("frontend", word(fe.name)).
		Stringer("client", from.Client).Str("limit", word(why)).Msg(sessionRefused.Message)
	// A fresh connection has room for one line: the write does not block.
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	text := "Too many connections, try again later."
	if why == "draining" {
		text = textShutdown
	}
	_, _ = conn.Write(ftp.AppendReply(nil, 421, text))
	_ = conn.Close()
}
