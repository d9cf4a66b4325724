package integration

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ftproxy/rewrite"
)

const bigSize = 96 << 20

// serveBig puts a file on the server that takes longer than any test.
func serveBig(t *testing.T, s *server) {
	t.Helper()
	path := filepath.Join(s.root, "big")
	write(t, path, "")
	if err := os.Truncate(path, bigSize); err != nil {
		t.Fatal(err)
	}
}

// A survivor is a scripted client in the middle of a transfer.
type survivor struct {
	*raw
	data  net.Conn
	moved chan struct{} // closed when a part is moved
	stop  chan struct{} // close it to let it move nothing more
	hurry chan struct{} // close it to let it move as fast as it can
	ended chan error    // of the data connection; nil is a clean end
}

// begin logs in and starts a transfer of big at a few megabytes a second.
func begin(t *testing.T, from netip.Addr, to netip.AddrPort, s *server, direction, mode string) *survivor {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r, _, err := dialRaw(from, to, 3*patience)
	must(err)
	t.Cleanup(func() { r.Close() })
	must(r.login(s.user, s.pass))
	v := &survivor{raw: r, moved: make(chan struct{}), stop: make(chan struct{}), hurry: make(chan struct{}), ended: make(chan error, 1)}
	command := map[string]string{"download": "RETR big", "upload": "STOR sent"}[direction]
	if mode == "passive" {
		at, err := r.passive()
		must(err)
		v.data, err = (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: patience}).Dial("tcp", at.String())
		must(err)
		_, err = r.expect(150, command)
		must(err)
	} else {
		l, err := net.Listen("tcp", netip.AddrPortFrom(from, 0).String())
		must(err)
		defer l.Close()
		_, err = r.expect(200, "PORT "+rewrite.FormatPORT(l.Addr().(*net.TCPAddr).AddrPort()))
		must(err)
		_, err = r.expect(150, command)
		must(err)
		must(l.(*net.TCPListener).SetDeadline(time.Now().Add(patience)))
		v.data, err = l.Accept()
		must(err)
	}
	t.Cleanup(func() { v.data.Close() })
	go v.move(direction == "upload")
	select {
	case <-v.moved:
	case err := <-v.ended:
		t.Fatalf("the transfer ended at once: %v", err)
	}
	return v
}

// move reads or writes 64 KiB every 10 ms until it is in a hurry.
func (v *survivor) move(up bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	buf := make([]byte, 64<<10)
	for n := 0; ; {
		select {
		case <-v.stop:
			return
		case <-v.hurry:
		case <-tick.C:
		}
		var err error
		var i int
		if up {
			i, err = v.data.Write(buf)
		} else {
			i, err = v.data.Read(buf)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			v.ended <- err
			return
		}
		if n += i; n >= 1<<20 && n-i < 1<<20 {
			close(v.moved)
		}
	}
}

// sees waits for the end of the survivor's data connection.
func (v *survivor) sees(t *testing.T) error {
	t.Helper()
	select {
	case err := <-v.ended:
		return err
	case <-time.After(patience):
		t.Fatal("the data connection does not end")
		return nil
	}
}

// hear expects final replies with these codes and then the end.
func (v *survivor) hear(t *testing.T, codes ...int) {
	t.Helper()
	for _, want := range codes {
		if code, text, err := v.reply(); code != want {
			t.Fatalf("the client hears %d %s (%v), want %d", code, text, err, want)
		}
	}
	if code, text, err := v.reply(); err != io.EOF {
		t.Errorf("the client hears %d %s (%v), want the end", code, text, err)
	}
}
