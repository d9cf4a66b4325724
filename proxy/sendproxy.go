package proxy

import (
	"fmt"
	"net"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// ownHeader is the PROXY header that tells a server who the client is and where it
// reached us, or the proxy before us. Version 2 also has the session's id as unique
// id, or the one that the proxy before us gave.
func (s *session) ownHeader() []byte {
	h := proxyproto.HeaderProxyFromAddrs(s.fe.backend.sendProxy,
		net.TCPAddrFromAddrPort(s.clientAddr), net.TCPAddrFromAddrPort(s.local))
	if h.Version == 2 {
		id := s.from.uniqueID
		if id == "" {
			id = s.name()
		}
		tlvs := []proxyproto.TLV{{Type: proxyproto.PP2_TYPE_UNIQUE_ID, Value: []byte(id)}}
		if s.from.authority != "" {
			tlvs = append(tlvs, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte(s.from.authority)})
		}
		_ = h.SetTLVs(tlvs) // Without them it is a header, too.
	}
	text, err := h.Format()
	if err != nil { // Addresses of two families, which no connection has.
		return nil
	}
	return text
}

// sendHeader begins a connection to a server with a header. It fits into a new
// connection's buffer, so it does not block.
func sendHeader(conn net.Conn, header []byte, limit time.Duration) error {
	if len(header) == 0 {
		return nil
	}
	_ = conn.SetWriteDeadline(time.Now().Add(limit))
	defer conn.SetWriteDeadline(time.Time{})
	if _, err := conn.Write(header); err != nil {
		return fmt.Errorf("PROXY header: %w", err)
	}
	return nil
}
