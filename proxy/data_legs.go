package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"ftproxy/config"
	"ftproxy/internal/portpool"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// advertised is the IPv4 address that the client is told in a 227.
func (s *session) advertised() (addr netip.Addr, ok bool) {
	public := s.fe.publicFor(s.ClientAddr.Addr())
	switch {
	case public.Auto:
		return s.LocalAddr.Addr(), s.LocalAddr.Addr().Is4()
	case public.IPv4.IsValid():
		return public.IPv4, true
	}
	return s.p.names.IPv4(public.Hosts)
}

// told is where the client was told to connect to.
func (s *session) told(verb string, port uint16) netip.AddrPort {
	addr := s.LocalAddr.Addr() // EPSV names a port only.
	if ip, ok := s.advertised(); ok && verb == "PASV" {
		addr = ip
	}
	return netip.AddrPortFrom(addr, uint16(int(port)+s.fe.portOffset))
}

// noPublic says why there is no IPv4 address to tell the client in a 227.
func (s *session) noPublic() error {
	if hosts := s.fe.publicFor(s.ClientAddr.Addr()).Hosts; len(hosts) > 0 {
		return fmt.Errorf("public_address has no IPv4 address: DNS has none for %s", strings.Join(hosts, ", "))
	}
	return errors.New("the frontend has no IPv4 address to tell the client: check public_address")
}

// publicFor is what clients at addr are told.
func (f *frontend) publicFor(addr netip.Addr) config.PublicAddress {
	for _, o := range f.publicNear {
		if o.Clients.Contains(addr.WithZone("")) {
			return o.PublicAddress
		}
	}
	return f.public
}

// bind is where ports for the client listen, or for the proxy that its connections
// come through: that one need not come to the address of the control connection.
func (s *session) bind() netip.Addr {
	bind, all := s.fe.bind.IPv6, netip.IPv6Unspecified()
	if s.from.At.Is4() {
		bind, all = s.fe.bind.IPv4, netip.IPv4Unspecified()
	}
	switch {
	case bind.IsValid():
		return bind
	case s.from.Proxy.IsValid():
		return all
	}
	return s.LocalAddr.Addr()
}

// dialFrom is our end of connections to the client: as on the control connection,
// but where a proxy has named an address that is its own.
func (s *session) dialFrom(target netip.Addr) netip.Addr {
	switch {
	case !s.from.Proxy.IsValid():
		return s.LocalAddr.Addr()
	case target.Is4():
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// publicPort is the request for a port that the client will connect to.
func (s *session) publicPort(st *setup) *portpool.Request {
	client := s.ClientAddr.Addr().WithZone("")
	bits := s.fe.dataPeer.IPv6
	if client.Is4() {
		bits = s.fe.dataPeer.IPv4
	}
	if bits == 0 {
		bits = client.BitLen()
	}
	r := &portpool.Request{
		Local:  s.bind(),
		Ports:  s.fe.passivePorts,
		Peer:   netip.PrefixFrom(client, bits).Masked(),
		Others: s.fe.foreign,
		Owner:  s.ID,
		Evict:  s.data.promises.Evictor(),
	}
	s.identifyData(r, st)
	return r
}

// insidePort is the request for a port that the server will connect to.
func (s *session) insidePort() *portpool.Request {
	server := s.server.Addr.Addr()
	return &portpool.Request{
		Local:       s.server.Local.Addr(),
		Transparent: s.server.Local.Transparent,
		Ports:       s.backend.dataPorts,
		Peer:        netip.PrefixFrom(server, server.BitLen()),
		Others:      s.backend.trusted,
		Owner:       s.ID,
		Hold:        true, // Servers dial from port 20: one 4-tuple for each of our ports.
	}
}

// clientLeg is the client's side of a data connection.
func (s *session) clientLeg(st *setup) transfer.Leg {
	if st.passiveClient() {
		return transfer.ListenLeg{Lease: st.ports.Public}
	}
	return transfer.DialLeg{Dialer: s.p.network, Local: tcp.AnyPort(s.dialFrom(st.target.Addr())), Ports: s.fe.sources, Remote: st.target, Late: true}
}

// serverLeg is the side of a server that listens at addr.
func (s *session) serverLeg(addr netip.AddrPort) transfer.Leg {
	l := transfer.DialLeg{Dialer: s.p.network, Local: s.server.Local, Remote: addr}
	if s.backend.sendProxyData {
		l.Header, l.Limit = s.ownHeader(), s.rt.timeouts.Connect
	}
	return l
}

// isOwn tells whether a client may have data connections to addr: its own, or
// such as the configuration lends it. lftp writes "::" for its own.
func (s *session) isOwn(addr netip.Addr) bool {
	return addr == s.ClientAddr.Addr().WithZone("") || addr == netip.IPv6Unspecified() || tcp.Within(s.fe.foreign, addr)
}
