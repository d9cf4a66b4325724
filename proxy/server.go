package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"ftproxy/config"
	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
	"ftproxy/internal/metrics"
	"ftproxy/internal/proxyheader"
	"ftproxy/internal/tcp"
)

// A server is the control connection to one server of the session's backend, and what
// is known of that server. A dialer makes it; then it belongs to the session's loop. A session
// has none (nil) until it is connected.
type server struct {
	peer[ftp.ReplyLine]
	addr     netip.AddrPort
	local    tcp.Local  // our end, with any port: data connections come from there, too
	greeting *ftp.Reply // until the client has it

	tlsConfig *tls.Config // of this connection and of data connections; nil: in the clear
	sized     bool        // it has agreed to PBSZ
	implied   bool        // it protects data connections unless PROT says otherwise: implicit TLS, AUTH SSL
	always    bool        // it protects data connections and does not know PROT
	level     byte        // of its data connections, as it was told: 'C' or 'P'; 0: it was told nothing

	lost        bool   // its stream ended; what it owed is settled first
	more        bool   // another line is already buffered
	unsolicited int    // replies so far
	within      bool   // within an unsolicited reply
	extent      extent // of that one, or of a 421
}

// gone tells whether the server was there and is not any more.
func (sv *server) gone() bool { return sv != nil && sv.lost }

// hasMore tells whether another line of the server's is already buffered.
func (sv *server) hasMore() bool { return sv != nil && sv.more }

// A dialer connects to servers of a backend for one client. It is a value that has
// copies of all it needs, so it may be used on any goroutine.
type dialer struct {
	network  Network
	metrics  *metrics.Metrics
	backend  *backend
	timeouts *config.Timeouts // of a runtime, which never changes
	client   netip.Addr       // for a source that is the client's
	header   []byte           // a PROXY header, which the connection begins with; nil: none
}

var errGreeting = errors.New("the server refuses service")

// connect connects to the first server of the backend that answers with a greeting,
// and logs those that do not. Nothing has reached the client yet, so a dead or
// unwilling one is passed over unseen (H17, H83).
func (d dialer) connect(ctx context.Context, log sessionLog) (*server, error) {
	var failed []error
	for _, to := range d.backend.servers {
		sv, err := d.dial(ctx, to)
		if err == nil {
			return sv, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
		d.metrics.ServerConnectFailed(d.backend.name)
		at, _ := netip.ParseAddr(to.Host)
		log.often(serverUnusable, d.backend.name, at).Err(err).Stringer("server", to).Msg(serverUnusable.Message)
	}
	return nil, errors.Join(failed...)
}

// dial connects to one server, at the first of its addresses that answers. Timer
// connect bounds the resolver, and then each address: one that is dead must not take
// the time of the next.
func (d dialer) dial(ctx context.Context, to config.Server) (*server, error) {
	addrs, err := d.resolve(ctx, to.Host)
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, addr := range addrs {
		sv, err := d.dialAddr(ctx, netip.AddrPortFrom(addr, to.Port), to.Host)
		if err == nil {
			return sv, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// resolve gives the addresses of a server; nobody needs to be asked for one that
// is an address.
func (d dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeouts.Connect)
	defer cancel()
	return d.network.Resolve(ctx, host)
}

// dialAddr connects to one address of the server that the configuration calls host.
func (d dialer) dialAddr(ctx context.Context, remote netip.AddrPort, host string) (*server, error) {
	local, err := d.backend.source.towards(remote.Addr(), d.client)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", remote, err)
	}
	dialling, cancel := context.WithTimeout(ctx, d.timeouts.Connect)
	conn, err := d.network.Dial(dialling, local, remote)
	cancel()
	if err != nil {
		return nil, err
	}
	tcp.TuneControl(conn)
	sv := &server{
		peer:  peer[ftp.ReplyLine]{conn: conn, reader: ftp.NewReplyReader(conn)},
		addr:  tcp.AddrPort(conn.RemoteAddr()),
		local: tcp.AnyPort(tcp.AddrPort(conn.LocalAddr()).Addr()),
	}
	sv.local.Transparent = local.Transparent
	if err := d.converse(ctx, sv, host); err != nil {
		if ctx.Err() != nil {
			tcp.Reset(conn) // As in early: the client is gone, or we are.
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
func (d dialer) converse(ctx context.Context, sv *server, host string) error {
	if err := proxyheader.Send(sv.conn, d.header, d.timeouts.Connect); err != nil {
		return err
	}
	if d.backend.tls == nil {
		return d.readGreeting(ctx, sv)
	}
	return d.converseTLS(ctx, sv, d.backend.tls.serverTLS(host))
}

// readGreeting reads a server's first reply. A 120 asks for patience and is
// given it once (RFC 959 §5.4).
func (d dialer) readGreeting(ctx context.Context, sv *server) error {
	conn := sv.conn
	_ = conn.SetReadDeadline(time.Now().Add(d.timeouts.Greeting)) // It must not undo that of stop.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	extended := false
	for range maxDelays + 1 {
		greeting, err := gatherReply(sv.reader)
		if err != nil {
			return fmt.Errorf("greeting: %w", err)
		}
		switch ftp.Class(greeting.Code) {
		case 1:
			if !extended {
				extended = true
				_ = conn.SetReadDeadline(time.Now().Add(d.timeouts.Greeting))
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
			}
		case 2:
			if !stop() {
				return context.Cause(ctx)
			}
			_ = conn.SetReadDeadline(time.Time{})
			sv.greeting = &greeting
			return nil
		default:
			return fmt.Errorf("%w: %w", errGreeting, logline.PeerText(greeting.Text()))
		}
	}
	return fmt.Errorf("%w: more than %d preliminary replies", errGreeting, maxDelays)
}

// ask says a command of our own before the client's, and waits for its reply.
func (d dialer) ask(ctx context.Context, sv *server, command string) (ftp.Reply, error) {
	conn := sv.conn
	_ = conn.SetDeadline(time.Now().Add(d.timeouts.Greeting))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	_, err := conn.Write([]byte(command + "\r\n"))
	var reply ftp.Reply
	if err == nil {
		reply, err = gatherReply(sv.reader)
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

// gatherReply reads one whole reply of at most 64 KiB.
func gatherReply(r reader[ftp.ReplyLine]) (ftp.Reply, error) {
	var reply ftp.Reply
	size := 0
	for {
		l, err := r.Read()
		if err != nil {
			return ftp.Reply{}, err
		}
		reply.Add(l)
		if size += len(l.Text) + len("\r\n"); size > maxGathered {
			return ftp.Reply{}, ftp.ErrLineTooLong
		}
		if l.Last {
			return reply, nil
		}
	}
}
