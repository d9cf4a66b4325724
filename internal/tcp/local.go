package tcp

import (
	"net"
	"net/netip"
)

// IsLocal tells whether this machine has an address: then the kernel reaches it from that
// address itself. No packet is sent. A list of all addresses would need a netlink socket,
// which the unit for systemd forbids.
func IsLocal(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 9)))
	if err != nil {
		return false
	}
	defer conn.Close()
	return AddrPort(conn.LocalAddr()).Addr() == ip
}
