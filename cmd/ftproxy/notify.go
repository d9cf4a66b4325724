package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
)

// A notifier tells the service manager that started ftproxy what state it is
// in, as sd_notify(3) has it: datagrams to the socket that $NOTIFY_SOCKET
// names. Without that variable, as in a terminal, and as its zero value, it
// tells nobody. Its methods may be called from any goroutine. A message that
// cannot be sent is logged, once until one can be sent again, and changes
// nothing else.
type notifier struct {
	socket string // a path, or "@name" for an abstract one; "" is nobody to tell
	log    zerolog.Logger

	// conn is kept, so that a process that has run out of descriptors can still
	// tell that it lives: opening a socket for each message would then fail, and
	// the watchdog would kill all sessions that were doing well.
	mu      sync.Mutex
	conn    *net.UnixConn
	failing bool // the last message was not sent
}

// notifyLimit bounds one message to a service manager that does not read. Those
// that systemd takes do not wait at all.
const notifyLimit = time.Second

// newNotifier connects to the socket that $NOTIFY_SOCKET names.
func newNotifier(log zerolog.Logger) *notifier {
	n := &notifier{socket: os.Getenv("NOTIFY_SOCKET"), log: log}
	if n.socket != "" {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.report(n.connect())
	}
	return n
}

// ready tells that clients can connect: at the start, and after reloading
// whether the new configuration was taken or not.
func (n *notifier) ready() { n.tell(daemon.SdNotifyReady) }

// reloading tells that a new configuration is being loaded; ready must follow.
// The time is what Type=notify-reload knows this reload by.
func (n *notifier) reloading() {
	n.tell(daemon.SdNotifyReloading + "\n" + strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n"))
}

// stopping tells that ftproxy leaves service. From then on TimeoutStopSec runs,
// whoever asked for it.
func (n *notifier) stopping() { n.tell(daemon.SdNotifyStopping) }

// extend asks for d more from now on before the state that ftproxy is in
// (starting or stopping) times out. It shortens nothing.
func (n *notifier) extend(d time.Duration) {
	n.tell(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// status is what "systemctl status" shows: one line, whatever the text has.
func (n *notifier) status(text string) {
	n.tell("STATUS=" + strings.Join(strings.FieldsFunc(text, isLineEnd), " "))
}

func isLineEnd(r rune) bool { return r == '\n' || r == '\r' }

// watchdog tells that ftproxy lives, twice in each time that $WATCHDOG_USEC
// names, while alive says so, until ctx ends. An alive that does not return is
// an ftproxy that does not live. Without the variable it does nothing. It
// returns at once; ended is closed when the last message has been sent.
func (n *notifier) watchdog(ctx context.Context, alive func() bool) (ended <-chan struct{}) {
	done := make(chan struct{})
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn().Err(err).Msg("watchdog not understood, none is fed")
	}
	if n.socket == "" || limit == 0 {
		close(done)
		return done
	}
	go n.feed(ctx, limit, alive, done)
	return done
}

func (n *notifier) feed(ctx context.Context, limit time.Duration, alive func() bool, done chan<- struct{}) {
	defer close(done)
	beat(ctx, limit/2, alive, func() { n.tell(daemon.SdNotifyWatchdog) })
}

// beat calls tell at each interval at which alive is true, until ctx ends.
func beat(ctx context.Context, interval time.Duration, alive func() bool, tell func()) {
	ticker := time.NewTicker(max(interval, time.Microsecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if alive() {
				tell()
			}
		}
	}
}

// close gives the socket back. Messages after it open another.
func (n *notifier) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn != nil {
		_ = n.conn.Close()
		n.conn = nil
	}
}

// tell sends one message: assignments, one on each line.
func (n *notifier) tell(message string) {
	if n.socket == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	err := n.send(message)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// Another service manager may listen on a new socket of that name.
		if err = n.connect(); err == nil {
			err = n.send(message)
		}
	}
	n.report(err)
}

func (n *notifier) send(message string) error {
	if n.conn == nil {
		return net.ErrClosed
	}
	if err := n.conn.SetWriteDeadline(time.Now().Add(notifyLimit)); err != nil {
		return err
	}
	_, err := n.conn.Write([]byte(message))
	return err
}

// connect replaces the connection. Where that fails the old one is kept: it may
// work again, and when descriptors have run out there is no other.
func (n *notifier) connect() error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	if n.conn != nil {
		_ = n.conn.Close()
	}
	n.conn = conn
	return nil
}

// report logs the first of several failures in a row.
func (n *notifier) report(err error) {
	if err != nil && !n.failing {
		n.log.Warn().Err(err).Str("socket", n.socket).Msg("service manager not told")
	}
	n.failing = err != nil
}
