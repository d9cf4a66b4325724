// Package dial connects to the servers of a backend: up to the greeting, from the source
// and with the protection that the backend wants, at the first server that is willing.
package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"ftproxy/config"
	"ftproxy/internal/balance"
	"ftproxy/internal/control"
	"ftproxy/internal/ftp"
	"ftproxy/internal/ftps"
	"ftproxy/internal/metrics"
	"ftproxy/internal/proxyheader"
	"ftproxy/internal/tcp"
)

// A Backend is a named group of servers, and how they are reached.
type Backend struct {
	Name   string
	Group  *balance.Group // its servers, for Connect
	Source config.Source  // of connections to them
	TLS    *ftps.Backend  // nil: in the clear
}

// A Network is where a Dialer dials.
type Network interface {
	// Dial connects to remote. It comes from the address of local where that
	// is valid, and from its port where that is not 0; a port may have many
	// connections, but the error wraps EADDRINUSE or EADDRNOTAVAIL where it
	// cannot have this one. The context bounds the attempt.
	Dial(ctx context.Context, local tcp.Local, remote netip.AddrPort) (net.Conn, error)
}

// A Server is the control connection to one server, and what is known of that server.
// It belongs to whoever had it made, and so does closing its Conn.
type Server struct {
	control.Peer[ftp.ReplyLine] // not started yet

	Addr     netip.AddrPort
	Local    tcp.Local      // our end, with any port: data connections come from there, too
	Host     string         // as the configuration calls it
	Place    *balance.Lease // at the server, from Connect; whoever has the Server releases it
	Preface  []string       // lines without a code before the greeting, or right after it
	Greeting *ftp.Reply     // nil, once it is of no use any more

	Protection *tls.Config // of this connection and of data connections; nil: in the clear
	Sized      bool        // it has agreed to PBSZ
	Implied    bool        // it protects data connections unless PROT says otherwise: implicit TLS, AUTH SSL
	Level      byte        // of its data connections, as it was told: 'C' or 'P'; 0: it was told nothing
}

// A Dialer connects to servers of a backend for one client. It is a value that has
// copies of all it needs, so it may be used on any goroutine.
type Dialer struct {
	Network  Network
	Metrics  *metrics.Metrics
	Backend  Backend
	Timeouts *config.Timeouts // nobody writes to them any more
	Client   netip.Addr       // for a source that is the client's
	User     string           // whose server is wanted; empty: it does not matter
	Header   []byte           // a PROXY header, which the connection begins with; nil: none
	// IsOwn tells the addresses where clients reach ftproxy itself; nil: none is. A
	// name may lead there, and each session would begin another one.
	IsOwn func(netip.AddrPort) bool
}

// What a server may send to one of our own commands, and before its greeting.
const (
	maxReply = 64 << 10
	// maxDelays is how many 1xx replies may stand before a greeting. RFC 959 §5.4
	// has one, 120.
	maxDelays = 16
)

// Connect connects to a server of the backend that answers with a greeting, and calls failed for
// those that do not. Nothing has reached the client yet, so a dead or unwilling one is passed
// over unseen (H17, H83); each is tried once. Where place is not nil, the client has been at that
// server before, and it is tried first. Connect takes over place.
func (d Dialer) Connect(ctx context.Context, place *balance.Lease, failed func(to balance.Target, err error)) (*Server, error) {
	var all []error
	var tried []*balance.Lease
	key := balance.Key{Client: d.Client, User: d.User}
	for {
		if place == nil {
			waiting, cancel := context.WithTimeout(ctx, d.Timeouts.Connect) // for a place
			next, err := d.Backend.Group.Pick(waiting, key, tried...)
			cancel()
			if err != nil {
				return nil, errors.Join(append(all, err)...)
			}
			place = next
		}
		began := time.Now()
		sv, err := d.Dial(ctx, place.Target.Host, place.Target.Addr)
		if err == nil {
			place.Greeted(time.Since(began))
			d.Metrics.ServerGreeted(d.Backend.Name, place.Target.Name, time.Since(began))
			sv.Place = place
			return sv, nil
		}
		all = append(all, err)
		if ctx.Err() != nil {
			place.Release()
			return nil, errors.Join(all...)
		}
		d.Metrics.ServerConnectFailed(d.Backend.Name)
		failed(place.Target, err)
		if kind := kindOf(err); kind != "" {
			place.Failed(kind, err)
		} else {
			place.Release()
		}
		tried, place = append(tried, place), nil
	}
}

// A failure is a server that cannot be used, with a word for why.
type failure struct {
	kind string
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// The kinds of failures.
const (
	failedConnect  = "connect"
	failedGreeting = "greeting"
	failedTLS      = "tls"
)

// kindOf says why a server cannot be used; "" where that may be due to this client, or says
// nothing of the server's health: it answers, and refuses.
func kindOf(err error) string {
	var f *failure
	if LastRefusal(err) != nil || !errors.As(err, &f) {
		return ""
	}
	return f.kind
}

// Unconnected tells whether an error of Dial is that of the connection, and not of what was
// said on it.
func Unconnected(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.kind == failedConnect
}

// From is our end of connections to an address, where it is not the client's.
func (d Dialer) From(remote netip.Addr) tcp.Local {
	local, err := towards(d.Backend.Source, remote, d.Client)
	if err != nil {
		return tcp.Local{}
	}
	return local
}

// ErrLoop is a server that is ftproxy itself.
var ErrLoop = errors.New("this is ftproxy itself")

// Dial connects to the server at an address; host is its name in TLS. Timer connect bounds
// the connection.
func (d Dialer) Dial(ctx context.Context, host string, remote netip.AddrPort) (*Server, error) {
	if d.IsOwn != nil && d.IsOwn(remote) {
		return nil, &failure{failedConnect, fmt.Errorf("%s: %w", remote, ErrLoop)}
	}
	local, err := towards(d.Backend.Source, remote.Addr(), d.Client)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", remote, err)
	}
	dialling, cancel := context.WithTimeout(ctx, d.Timeouts.Connect)
	conn, err := d.Network.Dial(dialling, local, remote)
	cancel()
	if err != nil {
		return nil, &failure{failedConnect, err}
	}
	tcp.TuneControl(conn)
	sv := &Server{
		Host:  host,
		Peer:  control.Peer[ftp.ReplyLine]{Conn: conn, Reader: ftp.NewReplyReader(conn)},
		Addr:  tcp.AddrPort(conn.RemoteAddr()),
		Local: tcp.AnyPort(tcp.AddrPort(conn.LocalAddr()).Addr()),
	}
	sv.Local.Transparent = local.Transparent
	if err := d.converse(ctx, sv); err != nil {
		if ctx.Err() != nil {
			tcp.Reset(conn) // The client is gone, or we are: a reset keeps no port of ours in TIME_WAIT.
		} else {
			_ = conn.Close()
		}
		return nil, fmt.Errorf("%s: %w", remote, err)
	}
	return sv, nil
}

// converse brings a new control connection to where the client's commands can
// follow: the server knows who the client is, the greeting is read, and the
// connection is protected, each where the backend wants it.
func (d Dialer) converse(ctx context.Context, sv *Server) error {
	if err := proxyheader.Send(sv.Conn, d.Header, d.Timeouts.Connect); err != nil {
		return &failure{failedConnect, err}
	}
	if d.Backend.TLS == nil {
		return d.readGreeting(ctx, sv)
	}
	return d.converseTLS(ctx, sv, d.Backend.TLS.Session(sv.Host))
}

// Ask says a command of our own before the client's, and waits for its reply.
func (d Dialer) Ask(ctx context.Context, sv *Server, command string) (ftp.Reply, error) {
	conn := sv.Conn
	_ = conn.SetDeadline(time.Now().Add(d.Timeouts.Greeting))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	_, err := conn.Write([]byte(command + "\r\n"))
	var reply ftp.Reply
	if err == nil {
		reply, err = readReply(sv.Reader, nil)
	}
	if !stop() {
		return reply, context.Cause(ctx)
	}
	_ = conn.SetDeadline(time.Time{})
	if err != nil {
		return reply, fmt.Errorf("%s: %w", command, err)
	}
	return reply, nil
}
