// Package identify tells whose a client's data connection is: by its PROXY header, and where
// it has to resume a TLS session, by that.
package identify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/origin"
	"ftproxy/internal/portpool"
	"ftproxy/internal/report"
	"ftproxy/internal/tcp"
	"ftproxy/internal/tickets"
	"ftproxy/internal/transfer"
)

// Why a protected data connection is not the session's.
var (
	ErrNotReused     = errors.New("the data connection does not resume the TLS session of its control connection")
	errOtherSession  = fmt.Errorf("%w: it resumes another one's", ErrNotReused)
	errOtherIdentity = errors.New("the data connection has another client certificate than its control connection")
)

// An Identifier identifies the data connections at a port. It runs before anybody knows
// for which session a connection is, so it has nothing of one but what sessions share that
// are identified alike.
type Identifier struct {
	Ctx       context.Context // when it ends, so does all that is waited for
	Report    report.Frontend
	Keys      *tickets.Keys
	TLS       *ftps.Frontend // nil: the TLS session tells nothing
	Proxies   []netip.Prefix // who writes the headers
	Header    time.Duration  // how long one may take; 0: there are none
	Handshake time.Duration  // how long one may take
}

// Ask makes a request for a port one whose connections are identified. Why one that may be
// the client's was refused goes to refused, which has room for one.
func (i *Identifier) Ask(r *portpool.Request, refused chan<- error) {
	if i.TLS != nil {
		r.Prove = i.prove
		r.Refused = func(err error) {
			select {
			case refused <- err:
			default:
			}
		}
	}
	if i.Header > 0 {
		r.Header, r.Through = i.readHeader, i.Proxies
	}
	type alike struct {
		front  *ftps.Frontend
		header bool
	}
	r.Alike = alike{i.TLS, i.Header > 0}
}

// readHeader is for portpool.Request.
func (i *Identifier) readHeader(conn net.Conn) (net.Conn, netip.Addr, error) {
	from, err := origin.Read(i.Ctx, conn, i.Proxies, i.Header)
	if err == nil && !from.Proxy.IsValid() {
		err = origin.ErrLocal
	}
	if err != nil {
		i.Report.HeaderUnusable(conn, "data", err)
		return nil, netip.Addr{}, err
	}
	return origin.Named(conn, from.Client), from.Client.Addr(), nil
}

// prove is for portpool.Request.
func (i *Identifier) prove(conn net.Conn) (net.Conn, uint64, error) {
	secured, owner, err := i.resume(conn)
	if err != nil {
		i.Report.NotReused(tcp.AddrPort(conn.RemoteAddr()), err)
		return nil, 0, err
	}
	return secured, owner, nil
}

// resume makes the handshake of a data connection that has to resume the TLS session
// of some control connection, and tells whose. The client may begin it only after
// the 150 that the server sends meanwhile; until then the connection is here as
// long as somebody waits for one on its port.
func (i *Identifier) resume(conn net.Conn) (*tls.Conn, uint64, error) {
	if err := tcp.Peek(conn); err != nil {
		return nil, 0, err
	}
	c, owner := i.TLS.Data(i.Keys.All())
	secured := tls.Server(transfer.ReadyForTLS(conn), c)
	if err := ftps.Handshake(i.Ctx, secured, i.Handshake); err != nil {
		return nil, 0, fmt.Errorf("TLS handshake: %w", logline.PeerError(err))
	}
	tcp.Settle(secured)
	if !secured.ConnectionState().DidResume || *owner == 0 {
		return nil, 0, ErrNotReused
	}
	return secured, *owner, nil
}

// Protection is that of the data connections of one session (decision 4). certified is the
// certificate that its client has shown on the control connection, if it has.
func (i *Identifier) Protection(session uint64, certified *x509.Certificate) *transfer.Protection {
	front, keys, reports := i.TLS, i.Keys.All(), i.Report
	p := &transfer.Protection{Limit: i.Handshake, StrictEOF: front.StrictEOF}
	var owner *uint64
	p.Begin = func(conn net.Conn) *tls.Conn {
		var c *tls.Config
		c, owner = front.Data(keys)
		return tls.Server(conn, c)
	}
	p.Check = func(conn *tls.Conn) error {
		cs := conn.ConnectionState()
		switch {
		case front.Reuses() && owner != nil && (!cs.DidResume || *owner != session): // Without an owner it was identified before.
			return ErrNotReused
		case front.Offers() && *owner != session && (cs.DidResume || *owner != 0): // The ticket says whose it is, whatever its address.
			reports.NotReused(tcp.AddrPort(conn.RemoteAddr()), errOtherSession)
			return errOtherSession
		case certified != nil && (len(cs.PeerCertificates) == 0 || !cs.PeerCertificates[0].Equal(certified)):
			return errOtherIdentity // RFC 4217 §15.1, H78.
		}
		return nil
	}
	return p
}
