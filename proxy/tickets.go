package proxy

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"sync"
	"time"
)

// A session ticket says to which session its connection belongs, encrypted with
// keys that only this process has. So a data connection that resumes its control
// connection's TLS session proves whose it is (H74), on whatever port it arrives.

// Tickets are good for seven days, in crypto/tls; so each key is kept that long
// after it was replaced.
const (
	ticketKeyAge   = 24 * time.Hour
	ticketKeysKept = 8
)

// ticketKeys are the process's, so that tickets outlive reloads.
type ticketKeys struct {
	mu    sync.Mutex
	keys  [][32]byte // the newest first
	since time.Time
}

// all returns the keys to decrypt with; the first is to encrypt with.
func (k *ticketKeys) all() [][32]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); len(k.keys) == 0 || now.Sub(k.since) >= ticketKeyAge {
		var key [32]byte
		_, _ = rand.Read(key[:]) // It never fails (crypto/rand).
		k.keys = append([][32]byte{key}, k.keys[:min(len(k.keys), ticketKeysKept-1)]...)
		k.since = now
	}
	return k.keys
}

// ticketMark begins our entry in tls.SessionState.Extra.
var ticketMark = []byte("ftproxy session ")

func ticketEntry(owner uint64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(ticketMark), owner)
}

// ticketOwner is the session that a ticket was given to; 0 is nobody.
func ticketOwner(ss *tls.SessionState) uint64 {
	for _, entry := range ss.Extra {
		if id, ours := bytes.CutPrefix(entry, ticketMark); ours && len(id) == 8 {
			return binary.BigEndian.Uint64(id)
		}
	}
	return 0
}

// shared is the configuration of all control connections that prove nothing.
// crypto/tls lets its keys be set while others use it, to the same at worst.
func (f *frontTLS) shared(keys [][32]byte) *tls.Config {
	if newest := &keys[0]; f.keyed.Load() != newest {
		f.config.SetSessionTicketKeys(keys)
		f.keyed.Store(newest)
	}
	return f.config
}

// controlTLS is the configuration of a client's control connection. Where data
// connections must prove whose they are, its tickets are the session's, and it is
// never resumed itself: under TLS 1.2 it would then have no ticket of its own.
func (s *session) controlTLS() *tls.Config {
	keys := s.p.tickets.all()
	if !s.fe.tls.requireReuse {
		return s.fe.tls.shared(keys)
	}
	c := s.fe.tls.config.Clone()
	c.SetSessionTicketKeys(keys)
	id := s.id
	c.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, ticketEntry(id))
		return c.EncryptTicket(cs, ss)
	}
	c.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil }
	return c
}

// dataConfig is the configuration of a client's data connection, and where the
// owner of the ticket that it resumes is written, before the handshake ends. Where
// that is of no interest it takes and gives no tickets: a TLS 1.3 client that
// uploads and never reads would leave them unread, and its close become a reset
// that cuts the tail.
func (f *frontTLS) dataConfig(keys [][32]byte) (c *tls.Config, owner *uint64) {
	if !f.requireReuse {
		return f.ticketless, new(uint64)
	}
	c, owner = f.config.Clone(), new(uint64)
	c.SetSessionTicketKeys(keys)
	c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := c.DecryptTicket(ticket, cs)
		if ss != nil {
			*owner = ticketOwner(ss)
		}
		return ss, err
	}
	c.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		if cs.DidResume {
			ss.Extra = append(ss.Extra, ticketEntry(*owner))
		}
		return c.EncryptTicket(cs, ss)
	}
	return c, owner
}
