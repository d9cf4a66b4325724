// Package tickets makes TLS session tickets that say to which of our sessions their
// connection belongs, encrypted with keys that only this process has. So a data
// connection that resumes its control connection's TLS session proves whose it is
// (H74), on whatever port it arrives.
package tickets

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

// Tickets are good for seven days, in crypto/tls; so each key is kept that long
// after it was replaced.
const (
	keyAge   = 24 * time.Hour
	keysKept = 8
)

// Keys are the process's, so that tickets outlive reloads. The zero value is ready.
type Keys struct {
	mu    sync.Mutex
	keys  [][32]byte // the newest first
	since time.Time
}

// All returns the keys to decrypt with; the first is to encrypt with.
func (k *Keys) All() [][32]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); len(k.keys) == 0 || now.Sub(k.since) >= keyAge {
		var key [32]byte
		_, _ = rand.Read(key[:]) // It never fails (crypto/rand).
		k.keys = append([][32]byte{key}, k.keys[:min(len(k.keys), keysKept-1)]...)
		k.since = now
	}
	return k.keys
}

// mark begins our entry in tls.SessionState.Extra.
var mark = []byte("ftproxy session ")

func entry(owner uint64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(mark), owner)
}

// owner is the session that a ticket was given to; 0 is nobody.
func owner(ss *tls.SessionState) uint64 {
	for _, e := range ss.Extra {
		if id, ours := bytes.CutPrefix(e, mark); ours && len(id) == 8 {
			return binary.BigEndian.Uint64(id)
		}
	}
	return 0
}

// Give makes of a configuration that of one control connection, whose tickets are this
// session's. It is never resumed itself: under TLS 1.2 it would then have no ticket of
// its own.
func Give(config *tls.Config, keys [][32]byte, session uint64) *tls.Config {
	c := config.Clone()
	c.SetSessionTicketKeys(keys)
	c.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, entry(session))
		return c.EncryptTicket(cs, ss)
	}
	c.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil }
	return c
}

// Take makes of a configuration that of one data connection, and where the session
// whose ticket it resumes is written, before the handshake ends; 0 is none.
func Take(config *tls.Config, keys [][32]byte) (c *tls.Config, session *uint64) {
	c, session = config.Clone(), new(uint64)
	c.SetSessionTicketKeys(keys)
	c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := c.DecryptTicket(ticket, cs)
		if ss != nil {
			*session = owner(ss)
		}
		return ss, err
	}
	c.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		if cs.DidResume {
			ss.Extra = append(ss.Extra, entry(*session))
		}
		return c.EncryptTicket(cs, ss)
	}
	return c, session
}

// preSharedKey is the extension by which TLS 1.3 clients show tickets (RFC 8446 §4.2.11).
const preSharedKey = 41

// TakeOnly is Take for a data connection that gets no new ticket. crypto/tls has one
// setting for both, and looks at it first for the client's ticket, and later for its
// own; so it is set in between. Under TLS 1.2 a connection that resumes gets a ticket
// all the same: it is a part of the handshake, so no client leaves it unread.
func TakeOnly(config *tls.Config, keys [][32]byte) (c *tls.Config, session *uint64) {
	take, session := Take(config, keys)
	c = take.Clone()
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		newest := slices.Contains(hello.SupportedVersions, tls.VersionTLS13) && (c.MaxVersion == 0 || c.MaxVersion >= tls.VersionTLS13)
		c.SessionTicketsDisabled = newest && !slices.Contains(hello.Extensions, preSharedKey)
		return nil, nil
	}
	c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		c.SessionTicketsDisabled = true
		return take.UnwrapSession(ticket, cs) // It has the keys still.
	}
	return c, session
}
