package tcp

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// A connection that is held is reset when it is released, not when it is reset here.
func TestHold(t *testing.T) {
	there, here := pair(t)
	release := Hold(here)
	Reset(here)
	_ = there.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := there.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while it is held the peer reads %v, want nothing", err)
	}
	release()
	release()
	_ = there.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := there.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("then it reads %v, want a reset", err)
	}
	Hold(here)() // It is closed, so there is nothing to hold.
	one, two := net.Pipe()
	defer two.Close()
	defer one.Close()
	Hold(one)()
}
