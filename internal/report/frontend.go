package report

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"

	"ftproxy/internal/logline"
	"ftproxy/internal/metrics"
	"ftproxy/internal/origin"
	"ftproxy/internal/tcp"
)

// A Frontend counts and logs the connections to a frontend that are refused before anybody
// knows of which session they are.
type Frontend struct {
	Lines   *logline.Summary
	Metrics *metrics.Metrics
	Name    string
	Ctx     context.Context // what its cause refuses, nobody has done wrong
}

// SessionRefused tells of a client that gets no session, and of the limit that forbids it.
func (f *Frontend) SessionRefused(client netip.AddrPort, limit string) {
	f.Metrics.SessionRefused(f.Name, limit)
	f.Lines.Often(SessionRefused, f.Name, limit, client.Addr()).Str("frontend", word(f.Name)).
		Stringer("client", client).Str("limit", word(limit)).Msg(SessionRefused.Message)
}

// HeaderUnusable tells of a connection, of control or data (kind), that has no usable
// PROXY header. The caller closes it.
func (f *Frontend) HeaderUnusable(conn net.Conn, kind string, err error) {
	reason := origin.Reason(err)
	if f.over(err) {
		reason = "shutdown"
	}
	f.Metrics.ProxyHeaderRefused(f.Name, reason)
	proxy := tcp.AddrPort(conn.RemoteAddr())
	f.Lines.Often(HeaderUnusable, f.Name, reason, proxy.Addr()).Err(err).Str("frontend", word(f.Name)).Stringer("proxy", proxy).
		Str("kind", word(kind)).Str("reason", word(reason)).Msg(HeaderUnusable.Message)
}

// NotReused tells of a data connection that does not prove whose it is. One that
// only ended, or that nobody waits for any more, is nobody's attempt at anything.
func (f *Frontend) NotReused(client netip.AddrPort, err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || f.over(err) {
		f.Lines.Log.Debug().Err(err).Str("frontend", word(f.Name)).Stringer("client", client).Msg("data connection ended before its TLS handshake")
		return
	}
	f.Metrics.DataReuseRefused(f.Name)
	f.Lines.Often(NotReused, f.Name, "", client.Addr()).Err(err).Str("frontend", word(f.Name)).Stringer("client", client).Msg(NotReused.Message)
}

func (f *Frontend) over(err error) bool {
	why := context.Cause(f.Ctx)
	return why != nil && errors.Is(err, why)
}
