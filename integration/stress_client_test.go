package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ftproxy/rewrite"
)

// A stressWorld is what the clients of a row share.
type stressWorld struct {
	*ledger
	server   *stressServer
	to       netip.AddrPort
	tls      func() *tls.Config // of a new session; nil: in the clear
	haproxy  bool               // HAProxy is between the clients and ftproxy
	setups   []string           // the verbs that agree on data connections
	sessions atomic.Int64
	waits    *stressWaits    // for passive ports; nil: nobody wants to know
	stop     context.Context // no action begins after its end
	cut      context.Context // everything is closed at its end, and faults do not count

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil after the cut
}

// replyLimit is how long a client waits for a reply: longer than ftproxy waits for anything.
const replyLimit = 90 * time.Second

// promised is data_connect, for which a port stays promised.
const promised = 30 * time.Second

// keep has a connection closed at the cut, at the latest.
func (w *stressWorld) keep(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns == nil {
		c.Close()
		return
	}
	w.conns[c] = struct{}{}
}

func (w *stressWorld) drop(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
	c.Close()
}

func (w *stressWorld) cutAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// A stressClient has one session at a time, from one address.
type stressClient struct {
	*stressWorld
	bind    netip.Addr
	rand    *rand.Rand
	raw     *raw         // nil without a session
	config  *tls.Config  // of the session and its data connections; nil: in the clear
	tcp     *net.TCPConn // under raw
	session int
	seq     int
	last    string // what was done before, for the story of a fault
}

// errOver ends an action: the session is gone, and all there is to say is in the ledger.
var errOver = errors.New("the session is over")

// pause waits, but not beyond the row's end.
func (c *stressClient) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.stop.Done():
	}
}

// upTo is a random time.
func (c *stressClient) upTo(d time.Duration) time.Duration {
	return time.Duration(c.rand.Int64N(int64(d) + 1))
}

// mostly is up to a time in two cases of three, and up to a longer one in the third.
func (c *stressClient) mostly(short, long time.Duration) time.Duration {
	if c.oneIn(3) {
		return c.upTo(long)
	}
	return c.upTo(short)
}

func (c *stressClient) oneIn(n int) bool { return c.rand.IntN(n) == 0 }

// blame counts a fault of the session, but for those that the row's end makes.
func (c *stressClient) blame(k tally, format string, args ...any) {
	if c.cut.Err() == nil {
		c.fault(k, "session %06x from %v, %s", c.session, c.bind, fmt.Sprintf(format, args...))
	}
}

// logIn begins a session.
func (c *stressClient) logIn() error {
	c.session, c.seq = int(c.sessions.Add(1)), 0
	conn, err := dialFrom(c.cut, c.bind, c.to)
	if err != nil {
		c.blame(broken, "control connection: %v", err)
		return errOver
	}
	c.keep(conn)
	c.tcp = conn.(*net.TCPConn)
	conn.SetDeadline(time.Now().Add(replyLimit))
	r, code, err := beginRaw(conn, c.bind)
	if err != nil || code != 220 {
		c.drop(conn)
		if code == 421 {
			c.add(said421)
			return errOver
		}
		c.blame(broken, "greeting %d, %v", code, err)
		return errOver
	}
	c.raw = r
	if c.tls != nil {
		return c.protect()
	}
	return c.identify()
}

func (c *stressClient) protect() error {
	if err := c.want(234, "AUTH TLS"); err != nil {
		return err
	}
	c.config = c.tls()
	secured := tls.Client(c.tcp, c.config)
	secured.SetDeadline(time.Now().Add(replyLimit))
	if err := secured.Handshake(); err != nil {
		c.blame(broken, "TLS: %v", err)
		c.end(false)
		return errOver
	}
	c.raw = &raw{Conn: secured, r: textproto.NewReader(bufio.NewReader(secured)), bind: c.bind}
	if err := c.identify(); err != nil {
		return err
	}
	if err := c.want(200, "PBSZ 0"); err != nil {
		return err
	}
	return c.want(200, "PROT P")
}

// A stressTicket is the last ticket that a session was given. crypto/tls drops a ticket
// when a handshake fails; other clients keep it, and so does this one.
type stressTicket struct {
	mu    sync.Mutex
	state *tls.ClientSessionState
}

func (k *stressTicket) Get(string) (*tls.ClientSessionState, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state, k.state != nil
}

func (k *stressTicket) Put(_ string, s *tls.ClientSessionState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s != nil {
		k.state = s
	}
}

// dataTLS makes a data connection what the control connection is.
func (c *stressClient) dataTLS(conn net.Conn) net.Conn {
	if c.config == nil {
		return conn
	}
	return tls.Client(conn, c.config)
}

func (c *stressClient) identify() error {
	if err := c.want(331, fmt.Sprintf("USER s%06x", c.session)); err != nil {
		return err
	}
	if err := c.want(230, "PASS x"); err != nil {
		return err
	}
	return c.want(200, "TYPE I")
}

// end drops the session: with a reset, or in the ordinary way.
func (c *stressClient) end(reset bool) {
	if c.raw == nil {
		return
	}
	if reset {
		c.tcp.SetLinger(0)
	}
	c.drop(c.tcp) // A close_notify is not needed: no honest client sends one when it is killed.
	c.raw = nil
}

func (c *stressClient) send(lines ...string) error {
	c.raw.SetDeadline(time.Now().Add(replyLimit))
	if err := c.raw.send(strings.Join(lines, "\r\n")); err != nil {
		return c.gone(err)
	}
	return nil
}

// reply reads one reply. After 421, or the end of the connection, it is errOver.
func (c *stressClient) reply() (int, string, error) {
	c.raw.SetReadDeadline(time.Now().Add(replyLimit))
	code, text, err := c.raw.reply()
	if err != nil {
		return 0, "", c.gone(err)
	}
	if code == 421 {
		c.add(said421)
		c.end(false)
		return code, text, errOver
	}
	return code, text, nil
}

// gone ends the session that did not work.
func (c *stressClient) gone(err error) error {
	c.blame(broken, "control connection after %s: %v", c.last, err)
	c.end(false)
	return errOver
}

func (c *stressClient) command(line string) (int, string, error) {
	if err := c.send(line); err != nil {
		return 0, "", err
	}
	return c.reply()
}

// want is a command that must work.
func (c *stressClient) want(code int, line string) error {
	got, text, err := c.command(line)
	if err == nil && got != code {
		c.blame(broken, "%s: %d %s, want %d", line, got, text, code)
		c.end(false)
		err = errOver
	}
	return err
}

// A stressLeg is a data connection that a client has agreed on.
type stressLeg struct {
	verb   string
	at     netip.AddrPort   // where to connect to, or where the client listens
	listen *net.TCPListener // of PORT and EPRT
	asked  time.Time
	told   time.Time

	mu     sync.Mutex
	limit  time.Time // of what is done on it
	closed bool
	opened time.Time
	tcp    *net.TCPConn // nil before it is open
	conn   net.Conn     // tcp, or TLS over it
}

func (l *stressLeg) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := "not open"
	if l.tcp != nil {
		since = fmt.Sprintf("open after %v from %v", l.opened.Sub(l.told).Round(time.Microsecond), l.tcp.LocalAddr())
	}
	return fmt.Sprintf("%s of %s at %v, %s", l.verb, l.told.Format("15:04:05.000000"), l.at, since)
}

// agree says PASV, EPSV, PORT or EPRT. Without a port it returns nil.
func (c *stressClient) agree() (*stressLeg, error) {
	l, line, err := c.proposal()
	if err != nil {
		return nil, err
	}
	if err := c.send(line); err != nil {
		l.close(c)
		return nil, err
	}
	return c.agreed(l)
}

// proposal is a leg that nobody was asked for yet, and the line that asks for it.
func (c *stressClient) proposal() (*stressLeg, string, error) {
	l := &stressLeg{verb: c.setups[c.rand.IntN(len(c.setups))], asked: time.Now()}
	if l.verb == "PASV" || l.verb == "EPSV" {
		return l, l.verb, nil
	}
	listen, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.bind, 0)))
	if err != nil {
		c.blame(broken, "listening: %v", err)
		c.end(false)
		return nil, "", errOver
	}
	l.listen, l.at = listen, listen.Addr().(*net.TCPAddr).AddrPort()
	if l.verb == "PORT" {
		return l, "PORT " + rewrite.FormatPORT(l.at), nil
	}
	return l, "EPRT " + rewrite.FormatEPRT(l.at), nil
}

// agreed reads the reply to a proposal.
func (c *stressClient) agreed(l *stressLeg) (*stressLeg, error) {
	code, text, err := c.reply()
	if err == nil {
		l.told = time.Now()
		c.waits.add(l, code)
		switch {
		case code == 425:
			c.add(noPort)
			l.close(c)
			return nil, nil
		case code == 227:
			l.at, err = rewrite.ParsePASV(text)
		case code == 229:
			var port uint16
			port, err = rewrite.ParseEPSV(text)
			l.at = netip.AddrPortFrom(c.to.Addr(), port)
		case code == 200 && l.listen != nil:
		default:
			err = errors.New("not understood")
		}
		if err != nil {
			c.blame(broken, "%s: %d %s: %v", l.verb, code, text, err)
			c.end(false)
			err = errOver
		}
	}
	if err != nil {
		l.close(c)
		return nil, err
	}
	return l, nil
}

// open opens the data connection.
func (l *stressLeg) open(c *stressClient) error {
	var conn net.Conn
	var err error
	if l.listen != nil {
		conn, err = l.listen.Accept()
	} else {
		ctx, cancel := context.WithTimeout(c.cut, promised+5*time.Second)
		defer cancel()
		conn, err = dialFrom(ctx, c.bind, l.at)
	}
	if err != nil {
		return err
	}
	c.keep(conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened, l.tcp = time.Now(), conn.(*net.TCPConn)
	l.conn = c.dataTLS(l.tcp)
	if l.limit.IsZero() {
		l.limit = time.Now().Add(replyLimit)
	}
	l.tcp.SetDeadline(l.limit)
	if l.closed {
		c.drop(l.tcp)
	}
	return nil
}

// isOpen tells whether there is a data connection, or was.
func (l *stressLeg) isOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tcp != nil
}

// within sets how long what is done on it may still take.
func (l *stressLeg) within(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = time.Now().Add(d)
	if l.listen != nil {
		l.listen.SetDeadline(l.limit)
	}
	if l.tcp != nil {
		l.tcp.SetDeadline(l.limit)
	}
}

// close gives it up, open or not.
func (l *stressLeg) close(c *stressClient) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.listen != nil {
		l.listen.Close()
	}
	if l.tcp != nil {
		c.drop(l.tcp)
	}
}

// reset gives it up with a reset.
func (l *stressLeg) reset(c *stressClient) {
	l.mu.Lock()
	if l.tcp != nil {
		l.tcp.SetLinger(0)
	}
	l.mu.Unlock()
	l.close(c)
}

// latePort has the kernel choose a connection's own port when it knows the other
// end, so that one address has as many ports for each address that it connects to.
func latePort(_, _ string, c syscall.RawConn) error {
	const ipBindAddressNoPort = 24 // linux/in.h
	var err error
	if e := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
	}); e != nil {
		return e
	}
	return err
}

// touch connects and closes before anybody can know whether that worked.
func (l *stressLeg) touch(c *stressClient, reset bool) error {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: c.bind.As4()}); err != nil {
		return err
	}
	if reset {
		if err := syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}); err != nil {
			return err
		}
	}
	err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(l.at.Port()), Addr: l.at.Addr().As4()})
	if errors.Is(err, syscall.EINPROGRESS) {
		return nil
	}
	return err
}
