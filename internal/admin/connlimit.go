package admin

import (
	"net"
	"net/http"
	"sync"
)

// MaxConns is how many connections the admin address has open at a time. Each takes
// a file descriptor that a client's session may need (config.Descriptors counts them).
const MaxConns = 64

// A connLimit closes connections when there are more than MaxConns. It does not keep
// newcomers waiting, as netutil.LimitListener does: whoever opened 64 connections and
// said nothing would lock out the load balancer that asks /readyz. The one that
// has done nothing for longest goes, and only where all are answered the one whose
// answer takes longest.
type connLimit struct {
	mu    sync.Mutex
	turns uint64
	open  map[net.Conn]connTurn
}

// connTurn is since when a connection is in its state.
type connTurn struct {
	answered bool // a request has begun
	turn     uint64
}

// follow is for http.Server.ConnState.
func (l *connLimit) follow(conn net.Conn, state http.ConnState) {
	if victim := l.turned(conn, state); victim != nil {
		_ = victim.Close()
	}
}

// turned returns the connection that is one too many, or nil.
func (l *connLimit) turned(conn net.Conn, state http.ConnState) (victim net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.open[conn]
	switch {
	case state == http.StateClosed, state == http.StateHijacked:
		delete(l.open, conn)
		return nil
	case !known && state != http.StateNew: // It was closed meanwhile.
		return nil
	case l.open == nil:
		l.open = make(map[net.Conn]connTurn)
	}
	l.turns++
	l.open[conn] = connTurn{answered: state == http.StateActive, turn: l.turns}
	if len(l.open) <= MaxConns {
		return nil
	}
	var oldest connTurn
	for c, t := range l.open {
		if c == conn {
			continue // It has had no time to say anything.
		}
		if victim == nil || !t.answered && oldest.answered || t.answered == oldest.answered && t.turn < oldest.turn {
			victim, oldest = c, t
		}
	}
	delete(l.open, victim)
	return victim
}
