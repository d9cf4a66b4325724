package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"ftproxy/internal/tcp"
)

// The PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2): a proxy
// before us says in the first bytes of a connection whose it is. Only such proxies
// are believed as the frontend trusts, and then what they say is the client: for
// limits, bounce and peer checks, logs and addresses.

// An origin is where a connection comes from.
type origin struct {
	client netip.AddrPort // whose it is
	local  netip.AddrPort // where the client reached us, or the proxy
	proxy  netip.AddrPort // who said so; invalid: nobody, the addresses are the connection's
	at     netip.Addr     // our end of the connection, whatever the header says

	authority, uniqueID, tls string // of a version 2 header, where it has them
}

// direct is the origin of a connection that has no header.
func direct(conn net.Conn) origin {
	local := tcp.AddrPort(conn.LocalAddr())
	return origin{client: tcp.AddrPort(conn.RemoteAddr()), local: local, at: local.Addr()}
}

// Why a connection has no usable header.
var (
	errUntrusted     = errors.New("not one of trusted_proxies")
	errHeaderMissing = errors.New("no PROXY header")
	errHeaderInvalid = errors.New("invalid PROXY header")
	errHeaderLocal   = errors.New("the proxy's own connection")
)

// headerReason is the metric's word for it.
func headerReason(err error) string {
	switch {
	case errors.Is(err, errUntrusted):
		return "untrusted"
	case errors.Is(err, errHeaderLocal):
		return "local"
	case errors.Is(err, ErrShutdown):
		return "shutdown"
	case errors.Is(err, net.ErrClosed): // The port pool has closed it.
		return "unwanted"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, errHeaderMissing):
		return "missing"
	}
	return "invalid"
}

// identify reads the header of a connection, at most for the time given and until
// ctx ends, which is ErrShutdown. A
// connection that the proxy makes for itself (LOCAL, UNKNOWN: a health check) is
// the proxy's.
func (f *frontend) identify(ctx context.Context, conn net.Conn, limit time.Duration) (origin, error) {
	from := direct(conn)
	if !contains(f.trustedProxies, from.client.Addr().WithZone("")) {
		return from, fmt.Errorf("%s is %w", from.client.Addr(), errUntrusted)
	}
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	raw, err := readHeader(conn)
	if !stop() {
		return from, ErrShutdown
	}
	if err != nil {
		return from, err
	}
	_ = conn.SetReadDeadline(time.Time{})
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw), len(raw)))
	if err != nil {
		return from, fmt.Errorf("%w: %w", errHeaderInvalid, err)
	}
	if h.Command.IsLocal() {
		return from, nil
	}
	source, destination, ok := h.TCPAddrs()
	if !ok {
		return from, fmt.Errorf("%w: it is not about TCP", errHeaderInvalid)
	}
	from.proxy, from.client, from.local = from.client, tcp.AddrPort(source), tcp.AddrPort(destination)
	from.readTLVs(h)
	return from, nil
}

// readTLVs takes what else a version 2 header tells. None of it is needed.
func (o *origin) readTLVs(h *proxyproto.Header) {
	tlvs, err := h.TLVs()
	if err != nil {
		return
	}
	for _, t := range tlvs {
		switch t.Type {
		case proxyproto.PP2_TYPE_AUTHORITY:
			o.authority = string(t.Value)
		case proxyproto.PP2_TYPE_UNIQUE_ID:
			o.uniqueID = string(t.Value)
		}
	}
	if ssl, found := tlvparse.FindSSL(tlvs); found {
		o.tls, _ = ssl.SSLVersion()
	}
}

// log adds what is known of the proxy.
func (o *origin) log(e logLine) logLine {
	if !o.proxy.IsValid() {
		return e
	}
	e = e.Stringer("proxy", o.proxy)
	for _, f := range [][2]string{{"authority", o.authority}, {"unique_id", o.uniqueID}, {"tls", o.tls}} {
		if f[1] != "" {
			e = e.Text(f[0], f[1])
		}
	}
	return e
}

var signatureV1 = []byte("PROXY ")

const (
	headerStart   = 12              // both versions have more; version 2's signature is that long
	headerV1Most  = 107             // with CR and LF (§2.1)
	headerV2Fixed = headerStart + 4 // then as much as its last two bytes say (§2.2)
)

// readHeader reads a header and not a byte more, so that splice(2) can move all
// that follows. Version 1 tells its length by its end: its last part is read byte
// by byte.
func readHeader(conn net.Conn) ([]byte, error) {
	raw := make([]byte, headerStart, headerV1Most)
	for n := 0; n < headerStart; {
		more, err := conn.Read(raw[n:])
		n += more
		start := raw[:n]
		if !bytes.HasPrefix(proxyproto.SIGV2, start) && !bytes.HasPrefix(start, signatureV1[:min(n, len(signatureV1))]) {
			if bytes.HasPrefix(start, signatureV1[:5]) {
				return nil, fmt.Errorf("%w: PROXY without a space", errHeaderInvalid)
			}
			return nil, errHeaderMissing
		}
		if err != nil && n < headerStart {
			return nil, incomplete(err, errHeaderMissing)
		}
	}
	if raw[0] == signatureV1[0] {
		return readHeaderV1(conn, raw)
	}
	return readHeaderV2(conn, raw)
}

func readHeaderV1(conn net.Conn, raw []byte) ([]byte, error) {
	for raw[len(raw)-1] != '\n' {
		if len(raw) == headerV1Most {
			return nil, fmt.Errorf("%w: longer than %d bytes", errHeaderInvalid, headerV1Most)
		}
		raw = append(raw, 0)
		if _, err := io.ReadFull(conn, raw[len(raw)-1:]); err != nil {
			return nil, incomplete(err, errHeaderInvalid)
		}
	}
	return raw, nil
}

func readHeaderV2(conn net.Conn, raw []byte) ([]byte, error) {
	raw = raw[:headerV2Fixed]
	if _, err := io.ReadFull(conn, raw[headerStart:]); err != nil {
		return nil, incomplete(err, errHeaderInvalid)
	}
	rest := binary.BigEndian.Uint16(raw[headerV2Fixed-2:])
	if rest > proxyproto.MaxV2HeaderSize {
		return nil, fmt.Errorf("%w: %d bytes of addresses and TLVs, more than %d", errHeaderInvalid, rest, proxyproto.MaxV2HeaderSize)
	}
	raw = append(raw, make([]byte, rest)...)
	if _, err := io.ReadFull(conn, raw[headerV2Fixed:]); err != nil {
		return nil, incomplete(err, errHeaderInvalid)
	}
	return raw, nil
}

// incomplete is why a header did not come whole.
func incomplete(err, what error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the connection ended within it", what)
	}
	return fmt.Errorf("%w: %w", what, err)
}

// welcomeProxied begins the session of a connection with a PROXY header, on a
// goroutine of its own: a slow header delays nobody else's.
func (p *Process) welcomeProxied(conn net.Conn, rt *Runtime, fe *frontend) {
	defer p.accepting.Done()
	from, err := fe.identify(p.serving, conn, rt.timeouts.ProxyHeader)
	if err != nil {
		p.refuseHeader(conn, fe, "control", err)
		tcp.Reset(conn)
		return
	}
	p.welcome(conn, rt, fe, from)
}

// refuseHeader counts and logs a connection that nobody can tell whose it is.
func (p *Process) refuseHeader(conn net.Conn, fe *frontend, kind string, err error) {
	reason := headerReason(err)
	p.metrics.ProxyHeaderRefused(fe.name, reason)
	proxy := tcp.AddrPort(conn.RemoteAddr())
	p.often(headerUnusable, fe.name, reason, proxy.Addr()).Err(err).Str("frontend", word(fe.name)).Stringer("proxy", proxy).
		Str("kind", word(kind)).Str("reason", word(reason)).Msg(headerUnusable.message)
}

// A proxiedConn is a connection whose far end a header has named.
type proxiedConn struct {
	net.Conn
	client net.Addr
}

func (c proxiedConn) RemoteAddr() net.Addr { return c.client }

// NetConn is the connection itself.
func (c proxiedConn) NetConn() net.Conn { return c.Conn }

// unnamed is the connection that a header came by, or conn.
func unnamed(conn net.Conn) net.Conn {
	if c, ok := conn.(proxiedConn); ok {
		return c.Conn
	}
	return conn
}
