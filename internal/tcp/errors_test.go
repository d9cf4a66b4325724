package tcp

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"syscall"
	"testing"
)

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		err             error
		timeout, byPeer bool
	}{
		{os.ErrDeadlineExceeded, true, false},
		{syscall.ETIMEDOUT, true, false},
		{io.EOF, false, true},
		{io.ErrUnexpectedEOF, false, true},
		{syscall.ECONNRESET, false, true},
		{errors.New("x"), false, false},
		{nil, false, false},
	} {
		err := tt.err
		if err != nil {
			err = fmt.Errorf("read: %w", err)
		}
		if IsTimeout(err) != tt.timeout || ByPeer(err) != tt.byPeer {
			t.Errorf("%v: %v, %v", err, IsTimeout(err), ByPeer(err))
		}
	}
}

func TestWithin(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}
	for addr, want := range map[string]bool{"10.1.2.3": true, "11.1.2.3": false, "fe80::1%eth0": true, "2001:db8::1": false} {
		if got := Within(networks, netip.MustParseAddr(addr)); got != want {
			t.Errorf("Within(%s) = %v", addr, got)
		}
	}
}
