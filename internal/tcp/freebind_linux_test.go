package tcp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// Sockets with IP_FREEBIND listen on an address that this machine does not have.
func TestFreeBind(t *testing.T) {
	for _, text := range []string{"192.0.2.77:0", "[2001:db8::77]:0"} {
		at := netip.MustParseAddrPort(text)
		for name, listen := range map[string]func() (net.Listener, error){
			"control": func() (net.Listener, error) { return Network{}.ListenFree(at) },
			"data":    func() (net.Listener, error) { return Network{}.ListenData(Local{AddrPort: at, FreeBind: true}) },
		} {
			l, err := listen()
			if errors.Is(err, syscall.EAFNOSUPPORT) {
				t.Skip("no IPv6")
			}
			if err != nil {
				t.Errorf("%s at %s: %v", name, at, err)
				continue
			}
			l.Close()
		}
		if l, err := (Network{}).ListenData(Local{AddrPort: at}); err == nil {
			l.Close()
			t.Errorf("%s is bound without IP_FREEBIND", at)
		}
	}
}
