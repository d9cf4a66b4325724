package proxyheader

import (
	"fmt"
	"net"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// Format returns the header in version 1 or 2 of the protocol. Version 1 has the
// addresses only. Where one address is IPv6, both are written as IPv6. The error tells
// that the protocol has no words for the header.
func (h Header) Format(version byte) ([]byte, error) {
	if h.Own {
		h = Header{Own: true} // which the library knows by the missing addresses
	}
	out := proxyproto.HeaderProxyFromAddrs(version,
		net.TCPAddrFromAddrPort(h.Source), net.TCPAddrFromAddrPort(h.Destination))
	if version == 2 {
		var tlvs []proxyproto.TLV
		if h.UniqueID != "" {
			tlvs = append(tlvs, proxyproto.TLV{Type: proxyproto.PP2_TYPE_UNIQUE_ID, Value: []byte(h.UniqueID)})
		}
		if h.Authority != "" {
			tlvs = append(tlvs, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte(h.Authority)})
		}
		_ = out.SetTLVs(tlvs) // Without them it is a header, too.
	}
	return out.Format()
}

// Send begins a connection with a header that Format returned; one of no bytes is not
// sent. limit bounds it, but a header fits into a new connection's buffer, so it does
// not block.
func Send(conn net.Conn, header []byte, limit time.Duration) error {
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
