package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A stressData is a data connection that the server has agreed on.
type stressData struct {
	cancel context.CancelFunc
	opened chan struct{} // closed when conn or err is set
	conn   net.Conn
	err    error
	open   func() // opens an active one, when the transfer begins
}

// dataLimit is how long the server waits for a data connection: longer than ftproxy.
const dataLimit = 2 * time.Minute

// listenForData listens beside a control connection for one connection from its peer.
func listenForData(control net.Conn) (*stressData, netip.AddrPort, error) {
	near := control.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
	l, err := net.Listen("tcp", netip.AddrPortFrom(near, 0).String())
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), dataLimit)
	d := &stressData{cancel: cancel, opened: make(chan struct{}), open: func() {}}
	context.AfterFunc(ctx, func() { l.Close() })
	go d.accept(l, control.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
	return d, l.Addr().(*net.TCPAddr).AddrPort(), nil
}

// accept ends when d is closed.
func (d *stressData) accept(l net.Listener, from netip.Addr) {
	defer close(d.opened)
	for {
		conn, err := l.Accept()
		if err != nil {
			d.err = err
			return
		}
		if conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr() == from {
			d.conn = conn
			l.Close()
			return
		}
		conn.Close()
	}
}

// dataTo is an active one.
func dataTo(at netip.AddrPort, control net.Conn) *stressData {
	near := control.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
	ctx, cancel := context.WithTimeout(context.Background(), dataLimit)
	d := &stressData{cancel: cancel, opened: make(chan struct{})}
	dial := func() {
		defer close(d.opened)
		d.conn, d.err = dialFrom(ctx, near, at)
	}
	var once sync.Once
	d.open = func() { once.Do(func() { go dial() }) }
	context.AfterFunc(ctx, func() {
		once.Do(func() {
			d.err = context.Cause(ctx)
			close(d.opened)
		})
	})
	return d
}

func dialFrom(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Control: latePort}
	return d.DialContext(ctx, "tcp", to.String())
}

// close closes what was not used.
func (d *stressData) close() {
	d.cancel()
	<-d.opened
	if d.conn != nil {
		d.conn.Close()
	}
}

// A stressTransfer is one that runs.
type stressTransfer struct {
	data *stressData
	done chan struct{} // closed when code and text are set
	code int
	text string

	mu      sync.Mutex
	aborted bool
}

func startStressTransfer(s *stressServer, verb string, f stressFile, d *stressData) *stressTransfer {
	tr := &stressTransfer{data: d, done: make(chan struct{})}
	go tr.run(s, verb, f)
	return tr
}

func (tr *stressTransfer) run(s *stressServer, verb string, f stressFile) {
	defer close(tr.done)
	tr.data.open()
	<-tr.data.opened
	defer tr.data.cancel()
	conn := tr.data.conn
	if conn == nil {
		tr.code, tr.text = 425, fmt.Sprintf("Can't open data connection: %v.", tr.data.err)
		if verb == "STOR" {
			s.keepRecord(f.name(), stressRecord{err: tr.data.err})
		}
		return
	}
	conn.SetDeadline(time.Now().Add(dataLimit))
	var err error
	if verb == "STOR" {
		err = tr.store(s, f, conn)
	} else {
		err = send(conn, f, f.size)
	}
	if tr.isAborted() {
		err = errAborted
	}
	if err != nil {
		conn.(*net.TCPConn).SetLinger(0)
	}
	if e := conn.Close(); err == nil {
		err = e
	}
	if err != nil {
		tr.code, tr.text = 426, fmt.Sprintf("Transfer failed: %v.", err)
		return
	}
	tr.code, tr.text = 226, "Transfer complete."
}

// store reads an upload and keeps what is known of it before anybody hears 226.
func (tr *stressTransfer) store(s *stressServer, f stressFile, conn net.Conn) error {
	check := &stressCheck{file: f}
	_, err := io.CopyBuffer(struct{ io.Writer }{check}, struct{ io.Reader }{conn}, make([]byte, 64<<10))
	if err == nil && tr.isAborted() {
		err = errAborted
	}
	if check.foreign != "" {
		s.ledger.mismatch(true, "server: STOR %s by session %06x from %v to %v: %d bytes, %s",
			f.name(), f.session, conn.RemoteAddr(), conn.LocalAddr(), check.n, check.foreign)
	}
	s.keepRecord(f.name(), stressRecord{n: check.n, foreign: check.foreign, err: err})
	return err
}

// send writes the first n bytes of a file.
func send(w io.Writer, f stressFile, n int) error {
	p := make([]byte, min(64<<10, n))
	for at := 0; at < n; {
		piece := p[:min(len(p), n-at)]
		f.fill(piece, at)
		m, err := w.Write(piece)
		if err != nil {
			return err
		}
		at += m
	}
	return nil
}

// abort ends the transfer at once.
func (tr *stressTransfer) abort() {
	tr.mu.Lock()
	tr.aborted = true
	tr.mu.Unlock()
	tr.data.cancel()
	tr.data.open() // Its end is then known.
	<-tr.data.opened
	if tr.data.conn != nil {
		tr.data.conn.SetDeadline(time.Now())
	}
}

func (tr *stressTransfer) isAborted() bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.aborted
}
