package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// A serviceManager is the service manager's end of the notify socket.
type serviceManager struct {
	*net.UnixConn
	name string
}

// listenNotify opens a notify socket and has $NOTIFY_SOCKET name it.
func listenNotify(t *testing.T, name string) *serviceManager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return &serviceManager{conn, name}
}

// notifySocket is a path that is short enough: a socket's may have 107 bytes.
func notifySocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "notify")
}

// next is the next message. A sent one is there already; the limit ends a test
// that hangs.
func (m *serviceManager) next(t *testing.T) string {
	t.Helper()
	if err := m.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := m.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// silent fails the test if there is another message.
func (m *serviceManager) silent(t *testing.T) {
	t.Helper()
	if err := m.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	if n, err := m.Read(b); err == nil {
		t.Errorf("told %q, want nothing", b[:n])
	}
}

func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

func TestNotify(t *testing.T) {
	for _, tt := range []struct{ name, socket string }{
		{"path", notifySocket(t)},
		{"abstract", fmt.Sprintf("@ftproxy-test/%d/%d", os.Getpid(), time.Now().UnixNano())},
	} {
		t.Run(tt.name, func(t *testing.T) {
			manager := listenNotify(t, tt.socket)
			var log bytes.Buffer
			n := newNotifier(zerolog.New(&log))
			defer n.close()

			n.ready()
			n.status("serving, 3 sessions")
			before := monotonic(t)
			n.reloading()
			after := monotonic(t)
			n.ready()
			n.status("two\nlines\r\nREADY=1")
			n.stopping()
			n.extend(90 * time.Second)

			for _, want := range []string{"READY=1", "STATUS=serving, 3 sessions"} {
				if got := manager.next(t); got != want {
					t.Errorf("told %q, want %q", got, want)
				}
			}
			reloading := manager.next(t)
			since, ok := strings.CutPrefix(reloading, "RELOADING=1\nMONOTONIC_USEC=")
			if at, err := strconv.ParseInt(since, 10, 64); !ok || err != nil || at < before || at > after {
				t.Errorf("told %q, want RELOADING=1 with a time from %d to %d", reloading, before, after)
			}
			for _, want := range []string{"READY=1", "STATUS=two lines READY=1", "STOPPING=1", "EXTEND_TIMEOUT_USEC=90000000"} {
				if got := manager.next(t); got != want {
					t.Errorf("told %q, want %q", got, want)
				}
			}
			manager.silent(t)
			if log.Len() > 0 {
				t.Errorf("logged %s", log.String())
			}
		})
	}
}

// In a terminal there is nobody to tell, and nothing happens.
func TestNotifyNobody(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "1000")
	var log bytes.Buffer
	for _, n := range []*notifier{newNotifier(zerolog.New(&log)), {}} {
		n.ready()
		n.reloading()
		n.status("text")
		n.stopping()
		n.extend(time.Second)
		<-n.watchdog(t.Context(), func() bool { return true })
		n.close()
		if n.conn != nil {
			t.Error("a socket was opened")
		}
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", log.String())
	}
}

// A service manager that cannot be reached is logged once, and is told again
// when it is back, as another process on a socket of the same name.
func TestNotifyUnreachable(t *testing.T) {
	socket := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", socket)
	var log bytes.Buffer
	n := newNotifier(zerolog.New(&log))
	defer n.close()
	n.ready()
	n.status("text")
	if got := strings.Count(log.String(), "\n"); got != 1 || !strings.Contains(log.String(), socket) {
		t.Errorf("logged %d lines, want 1 with the socket: %s", got, log.String())
	}

	manager := listenNotify(t, socket)
	n.status("back")
	if got := manager.next(t); got != "STATUS=back" {
		t.Errorf("told %q", got)
	}
	manager.Close()
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	n.status("lost")
	n.status("lost")
	if got := strings.Count(log.String(), "\n"); got != 2 {
		t.Errorf("logged %d lines, want 2: %s", got, log.String())
	}
	manager = listenNotify(t, socket)
	n.status("another")
	if got := manager.next(t); got != "STATUS=another" {
		t.Errorf("told %q", got)
	}
	if got := strings.Count(log.String(), "\n"); got != 2 {
		t.Errorf("logged %d lines, want 2: %s", got, log.String())
	}
}

// A process without descriptors still tells that it lives. Otherwise the
// watchdog would end the sessions that were doing well.
func TestNotifyWithoutDescriptors(t *testing.T) {
	manager := listenNotify(t, notifySocket(t))
	var log bytes.Buffer
	n := newNotifier(zerolog.New(&log))
	defer n.close()

	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := was
	none.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, opened := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: manager.name, Net: "unixgram"})
	n.ready()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if opened == nil {
		t.Fatal("a socket could be opened, so this proves nothing")
	}
	if got := manager.next(t); got != "READY=1" || log.Len() > 0 {
		t.Errorf("told %q, logged %q", got, log.String())
	}
}

// A service manager that does not read delays nothing for long.
func TestNotifyUnread(t *testing.T) {
	manager := listenNotify(t, notifySocket(t))
	if err := manager.SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	n := newNotifier(zerolog.New(&log))
	defer n.close()
	for range 1 << 16 {
		if n.ready(); log.Len() > 0 {
			break
		}
	}
	if !strings.Contains(log.String(), "timeout") {
		t.Errorf("logged %q, want a timeout", log.String())
	}
}

func TestWatchdog(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	manager := listenNotify(t, notifySocket(t))
	t.Setenv("WATCHDOG_USEC", "2000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n := newNotifier(zerolog.Nop())
	defer n.close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := n.watchdog(ctx, func() bool { return true })
	for range 3 {
		if got := manager.next(t); got != "WATCHDOG=1" {
			t.Errorf("told %q, want WATCHDOG=1", got)
		}
	}
	cancel()
	<-ended
}

// What is no watchdog of ours gets nothing.
func TestWatchdogOff(t *testing.T) {
	for _, tt := range []struct {
		usec, pid string
		logged    bool
	}{
		{"", "", false},
		{"2000", "1", false}, // our parent's
		{"soon", "", true},
		{"-1", "", true},
	} {
		manager := listenNotify(t, notifySocket(t))
		t.Setenv("WATCHDOG_USEC", tt.usec)
		t.Setenv("WATCHDOG_PID", tt.pid)
		var log bytes.Buffer
		n := newNotifier(zerolog.New(&log))
		select {
		case <-n.watchdog(t.Context(), func() bool { return true }):
		case <-time.After(time.Minute):
			t.Errorf("%+v: the watchdog is fed", tt)
		}
		n.close()
		manager.silent(t)
		if logged := log.Len() > 0; logged != tt.logged {
			t.Errorf("%+v: logged %q", tt, log.String())
		}
	}
}

// Half of the limit, so that one late message is no death; and none while
// ftproxy does not live.
func TestWatchdogBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		dead := false
		var at []time.Duration
		alive := func() bool { mu.Lock(); defer mu.Unlock(); return !dead }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			beat(ctx, 15*time.Second, alive, func() { at = append(at, time.Since(start)) })
		}()
		time.Sleep(40 * time.Second)
		mu.Lock()
		dead = true
		mu.Unlock()
		time.Sleep(40 * time.Second)
		mu.Lock()
		dead = false
		mu.Unlock()
		time.Sleep(20 * time.Second)
		cancel()
		<-done
		want := []time.Duration{15 * time.Second, 30 * time.Second, 90 * time.Second}
		if !slices.Equal(at, want) {
			t.Errorf("beats at %v, want %v", at, want)
		}
	})
}
