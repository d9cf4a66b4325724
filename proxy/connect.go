package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"ftproxy/config"
	"ftproxy/internal/ftp"
	"ftproxy/internal/proxyheader"
	"ftproxy/internal/tcp"
)

// A connection is what came of the attempt to reach a server: a control
// connection whose greeting was read, or the error.
type connection struct {
	conn     net.Conn
	replies  *ftp.ReplyReader
	greeting ftp.Reply
	addr     netip.AddrPort
	local    tcp.Local // our end, with any port
	err      error

	tls   *tls.Config // of it and of the session's data connections to this server; nil: none
	sized bool        // the server was told PBSZ
	level byte        // of data connections, as the server was told; 0: it was not
}

var errGreeting = errors.New("the server refuses service")

// connect finds a server for the session: the first of its backend that
// answers with a greeting. Nothing has reached the client yet, so a dead or
// unwilling one is passed over unseen (H17, H83).
func (s *session) connect(ctx context.Context) {
	var failed []error
	for _, server := range s.fe.backend.servers {
		c := s.connectTo(ctx, server)
		if c.err == nil {
			s.connecting <- &c
			return
		}
		failed = append(failed, c.err)
		if ctx.Err() != nil {
			break
		}
		s.p.metrics.ServerConnectFailed(s.fe.backend.name)
		at, _ := netip.ParseAddr(server.Host)
		s.log.often(serverUnusable, s.fe.backend.name, at).Err(c.err).Stringer("server", server).Msg(serverUnusable.message)
	}
	s.connecting <- &connection{err: errors.Join(failed...)}
}

// connectTo tries the addresses of one server. Timer connect bounds the
// resolver, and then each address: one that is dead must not take the time of
// the next.
func (s *session) connectTo(ctx context.Context, server config.Server) connection {
	addrs, err := s.resolve(ctx, server.Host)
	if err != nil {
		return connection{err: err}
	}
	var failed []error
	for _, addr := range addrs {
		remote := netip.AddrPortFrom(addr, server.Port)
		local, err := s.fe.backend.source.towards(addr, s.clientAddr.Addr())
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", remote, err))
			continue
		}
		dialling, cancel := context.WithTimeout(ctx, s.rt.timeouts.Connect)
		conn, err := s.p.network.Dial(dialling, local, remote)
		cancel()
		if err != nil {
			failed = append(failed, err)
			continue
		}
		tcp.TuneControl(conn)
		c := s.converse(ctx, conn, server)
		if c.err == nil {
			c.local = tcp.AnyPort(tcp.AddrPort(conn.LocalAddr()).Addr())
			c.local.Transparent = local.Transparent
			return c
		}
		if ctx.Err() != nil {
			tcp.Reset(conn) // As in early: the client is gone, or we are.
		} else {
			_ = conn.Close()
		}
		failed = append(failed, fmt.Errorf("%s: %w", remote, c.err))
	}
	return connection{err: errors.Join(failed...)}
}

// introduce tells a server who the client is, if its backend wants that.
func (s *session) introduce(conn net.Conn) error {
	if s.fe.backend.sendProxy == 0 {
		return nil
	}
	return proxyheader.Send(conn, s.ownHeader(), s.rt.timeouts.Connect)
}

// resolve gives the addresses of a server; nobody needs to be asked for one that
// is an address.
func (s *session) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.rt.timeouts.Connect)
	defer cancel()
	return s.p.network.Resolve(ctx, host)
}

// readGreeting reads a server's first reply. A 120 asks for patience and is
// given it once (RFC 959 §5.4).
func (s *session) readGreeting(ctx context.Context, conn net.Conn) connection {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	c := connection{conn: conn, replies: ftp.NewReplyReader(conn), addr: tcp.AddrPort(conn.RemoteAddr())}
	_ = conn.SetReadDeadline(time.Now().Add(s.rt.timeouts.Greeting))
	extended := false
	for range maxDelays + 1 {
		c.greeting, c.err = gatherReply(c.replies)
		if c.err != nil {
			return connection{err: fmt.Errorf("greeting: %w", c.err)}
		}
		switch ftp.Class(c.greeting.Code) {
		case 1:
			if !extended {
				extended = true
				_ = conn.SetReadDeadline(time.Now().Add(s.rt.timeouts.Greeting))
			}
		case 2:
			if !stop() {
				return connection{err: context.Cause(ctx)}
			}
			_ = conn.SetReadDeadline(time.Time{})
			return c
		default:
			return connection{err: fmt.Errorf("%w: %w", errGreeting, peerText(c.greeting.Text()))}
		}
	}
	return connection{err: fmt.Errorf("%w: more than %d preliminary replies", errGreeting, maxDelays)}
}

// gatherReply reads one whole reply of at most 64 KiB.
func gatherReply(r *ftp.ReplyReader) (ftp.Reply, error) {
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

// onConnected greets the client in the server's words, or in the banner's.
func (s *session) onConnected(c *connection) error {
	s.connecting = nil
	s.abandon() // It is over; so is what it holds.
	if c.err != nil {
		return &ending{reason: endNoServer, text: "Service not available, try again later.", cause: c.err}
	}
	s.server = newPeer(c.conn, c.replies, s.rt.timeouts.ClientWrite, &s.p.cuts, &s.pumps)
	s.serverAddr, s.inside = c.addr, c.local
	s.security.server, s.security.serverSized, s.security.serverLevel = c.tls, c.sized, c.level
	s.stage = greeted
	if banner := s.fe.banner; banner != "" {
		s.say(220, banner)
	} else {
		s.client.out = c.greeting.AppendLines(s.client.out)
	}
	s.timers.set(timerLogin, s.rt.timeouts.Login)
	return nil
}
