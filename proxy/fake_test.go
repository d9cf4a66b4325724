package proxy

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"ftproxy/internal/ftptest"
	"ftproxy/internal/tcp"
)

// fakeNetwork is a host of the fake network.
type fakeNetwork struct{ *ftptest.Host }

func (n fakeNetwork) ListenData(at tcp.Local) (net.Listener, error) {
	if at.Transparent || at.FreeBind {
		return n.ListenForeign(at.AddrPort)
	}
	return n.Listen(at.AddrPort)
}

func (n fakeNetwork) ListenFree(addr netip.AddrPort) (net.Listener, error) {
	return n.ListenForeign(addr)
}

func (n fakeNetwork) Dial(ctx context.Context, local tcp.Local, remote netip.AddrPort) (net.Conn, error) {
	if local.Transparent {
		return n.DialForeign(ctx, local.AddrPort, remote)
	}
	return n.Host.Dial(ctx, local.AddrPort, remote)
}

// MayBind allows every port, and the addresses that the host has.
func (n fakeNetwork) MayBind(local tcp.Local) error {
	if a := local.Addr(); a.IsValid() && !slices.Contains(n.Addrs(), a) {
		return syscall.EADDRNOTAVAIL
	}
	return nil
}
