package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/origin"
	"ftproxy/internal/portpool"
	"ftproxy/internal/report"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// An identifier tells whose the data connections at a port are: by their PROXY
// header, and where they have to resume a TLS session, by that. It runs before
// anybody knows for which session a connection is, so it has nothing of one but
// what sessions share that are identified alike.
type identifier struct {
	p         *Process
	fe        *frontend
	front     *ftps.Frontend // nil: the TLS session tells nothing
	header    time.Duration
	handshake time.Duration
}

// identifyData makes a request for a public port one whose connections are
// identified, where their address does not tell enough. Why one that may be the
// client's was refused goes to refused.
func (s *session) identifyData(r *portpool.Request, refused chan<- error) {
	i := &identifier{p: s.p, fe: s.fe, header: s.rt.timeouts.ProxyHeader, handshake: s.rt.timeouts.TLSHandshake}
	if s.fe.tls.Reuses() && s.client.protects() {
		i.front = s.fe.tls
		r.Prove = i.prove
		r.Refused = func(err error) {
			select {
			case refused <- err:
			default:
			}
		}
	}
	if s.fe.dataProxyProtocol {
		r.Header, r.Through = i.readHeader, s.fe.trustedProxies
	}
	type key struct {
		front  *ftps.Frontend
		header bool
	}
	r.Alike = key{i.front, s.fe.dataProxyProtocol}
}

// readHeader is for portpool.Request.
func (i *identifier) readHeader(conn net.Conn) (net.Conn, netip.Addr, error) {
	from, err := origin.Read(i.p.hardStop, conn, i.fe.trustedProxies, i.header)
	if err == nil && !from.Proxy.IsValid() {
		err = origin.ErrLocal
	}
	if err != nil {
		i.p.refuseHeader(conn, i.fe, "data", err)
		return nil, netip.Addr{}, err
	}
	return origin.Named(conn, from.Client), from.Client.Addr(), nil
}

// prove is for portpool.Request.
func (i *identifier) prove(conn net.Conn) (net.Conn, uint64, error) {
	secured, owner, err := i.resume(conn)
	if err != nil {
		i.refuse(tcp.AddrPort(conn.RemoteAddr()), err)
		return nil, 0, err
	}
	return secured, owner, nil
}

// resume makes the handshake of a data connection that has to resume the TLS session
// of some control connection, and tells whose. The client may begin it only after
// the 150 that the server sends meanwhile; until then the connection is here as
// long as somebody waits for one on its port.
func (i *identifier) resume(conn net.Conn) (*tls.Conn, uint64, error) {
	if err := tcp.Peek(conn); err != nil {
		return nil, 0, err
	}
	c, owner := i.front.Data(i.p.tickets.All())
	secured := tls.Server(transfer.ReadyForTLS(conn), c)
	if err := ftps.Handshake(i.p.hardStop, secured, i.handshake); err != nil {
		return nil, 0, fmt.Errorf("TLS handshake: %w", logline.PeerError(err))
	}
	tcp.Settle(secured)
	if !secured.ConnectionState().DidResume || *owner == 0 {
		return nil, 0, errNotReused
	}
	return secured, *owner, nil
}

// refuse counts and logs a data connection that does not prove whose it is. One that
// only ended, or that nobody waits for any more, is nobody's attempt at anything.
func (i *identifier) refuse(client netip.AddrPort, err error) {
	for _, harmless := range []error{io.EOF, net.ErrClosed, syscall.ECONNRESET, ErrShutdown} {
		if errors.Is(err, harmless) {
			i.p.log.Debug().Err(err).Str("frontend", word(i.fe.name)).Stringer("client", client).Msg("data connection ended before its TLS handshake")
			return
		}
	}
	i.p.metrics.DataReuseRefused(i.fe.name)
	i.p.repeats.Often(report.NotReused, i.fe.name, "", client.Addr()).Err(err).Str("frontend", word(i.fe.name)).Stringer("client", client).Msg(report.NotReused.Message)
}
