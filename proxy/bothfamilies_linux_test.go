package proxy

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
)

// The port of the other family is open, too, and then its wildcard.
func TestNobodyJoinsAListenerOfBothFamilies(t *testing.T) {
	if !haveIPv6() {
		lack(t, "no IPv6 on loopback")
	}
	one4, all4, one6, all6 := netip.MustParseAddr("127.0.0.1"), netip.IPv4Unspecified(), netip.IPv6Loopback(), netip.IPv6Unspecified()
	for _, steps := range [][][]netip.Addr{
		{{one4, one6}, {one4, all6}, {all4, all6}, {one4, one6}},
		{{one4, one6}, {all4, one6}, {all4, all6}, {one4, one6}},
		{{one4, one6}, {all4, all6}, {one4, one6}},
		{{one4, all6}, {all4, all6}},
		{{all4, one6}, {all4, all6}},
	} {
		st := setStage(t)
		for _, addrs := range steps {
			st.listenOnly(addrs...)
			for _, a := range addrs {
				if err := joins(a, st.port); !errors.Is(err, syscall.EADDRINUSE) {
					t.Errorf("%v: with %v, listening on %v: %v, want %v", steps, addrs, a, err, syscall.EADDRINUSE)
				}
			}
		}
	}
}
