package tcp

import (
	"crypto/tls"
	"net"
	"sync/atomic"
)

// A promptConn acknowledges at once what it reads, until Settle.
type promptConn struct {
	net.Conn
	socket  *net.TCPConn
	settled atomic.Bool
}

// Prompt returns a connection to make TLS on, in place of conn: what is read from it
// is acknowledged at once (TCP_QUICKACK), until Settle. GnuTLS (lftp) ends its handshake
// with two small writes, of which the second waits for our acknowledgement of the first
// (RFC 896); without Prompt that takes 40 ms. A connection that is not TCP is returned
// as it is.
func Prompt(conn net.Conn) net.Conn {
	socket, ok := Socket(conn)
	if !ok {
		return conn
	}
	return &promptConn{Conn: conn, socket: socket}
}

// Settle ends what Prompt began below a TLS connection: its handshake is over, and
// the kernel may delay acknowledgements again.
func Settle(secured *tls.Conn) {
	for conn := secured.NetConn(); ; {
		if p, ok := conn.(*promptConn); ok {
			p.settled.Store(true)
			return
		}
		w, ok := conn.(wrapper)
		if !ok {
			return
		}
		conn = w.NetConn()
	}
}

// Read reads from the connection.
func (c *promptConn) Read(b []byte) (int, error) {
	if !c.settled.Load() {
		acknowledgeAtOnce(c.socket)
	}
	return c.Conn.Read(b)
}

// NetConn returns the connection that was given to Prompt.
func (c *promptConn) NetConn() net.Conn { return c.Conn }
