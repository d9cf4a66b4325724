package proxy

import (
	"crypto/tls"
	"net"
	"sync/atomic"
)

// A promptConn acknowledges at once what a handshake reads. GnuTLS (lftp)
// ends its own with two small writes, of which the second waits for our
// acknowledgement of the first (RFC 896), and that would wait for 40 ms.
type promptConn struct {
	net.Conn
	tcp  *net.TCPConn
	done atomic.Bool // the handshake is over
}

// prompt returns the connection to make TLS on.
func prompt(conn net.Conn) net.Conn {
	tcp, ok := bare(conn).(*net.TCPConn)
	if !ok {
		return conn
	}
	return &promptConn{Conn: conn, tcp: tcp}
}

// settle is called when the handshake is over.
func settle(secured *tls.Conn) {
	for conn := secured.NetConn(); ; {
		if p, ok := conn.(*promptConn); ok {
			p.done.Store(true)
			return
		}
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		conn = below.NetConn()
	}
}

func (c *promptConn) Read(b []byte) (int, error) {
	if !c.done.Load() {
		acknowledgeAtOnce(c.tcp)
	}
	return c.Conn.Read(b)
}

// CloseWrite sends our FIN.
func (c *promptConn) CloseWrite() error { return c.tcp.CloseWrite() }

// SetLinger says whether Close is a reset.
func (c *promptConn) SetLinger(seconds int) error { return c.tcp.SetLinger(seconds) }

// NetConn is the connection itself.
func (c *promptConn) NetConn() net.Conn { return c.Conn }
