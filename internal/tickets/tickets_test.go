package tickets

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"

	"ftproxy/internal/ftptest"
)

// counted is a client's cache that counts the tickets that it is given.
type counted struct {
	tls.ClientSessionCache
	given int
}

func (c *counted) Put(key string, state *tls.ClientSessionState) {
	if state != nil {
		c.given++
	}
	c.ClientSessionCache.Put(key, state)
}

// TestTakeOnly: a data connection tells whose ticket it resumes, as often as it likes,
// and gets no new one. One without a ticket gets none either. Under TLS 1.2 a ticket is
// a part of each handshake that resumes.
func TestTakeOnly(t *testing.T) {
	cert := ftptest.Certificate(t, "ftp.example.com")
	server := &tls.Config{Certificates: []tls.Certificate{cert.Certificate}}
	keys := new(Keys).All()
	const session = 7
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			cache := &counted{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
			client := &tls.Config{RootCAs: cert.Pool, ServerName: "ftp.example.com", MaxVersion: version, ClientSessionCache: cache}
			only := func() (resumed bool, owner uint64) {
				c, session := TakeOnly(server, keys)
				resumed = meet(t, client, c)
				return resumed, *session
			}
			if resumed, owner := only(); resumed || owner != 0 || cache.given != 0 {
				t.Errorf("without a ticket: resumed %v, session %d, %d new tickets", resumed, owner, cache.given)
			}
			meet(t, client, Give(server, keys, session))
			if cache.given == 0 {
				t.Fatal("the control connection gets no ticket")
			}
			for range 3 {
				cache.given = 0
				resumed, owner := only()
				if !resumed || owner != session {
					t.Errorf("with a ticket: resumed %v, session %d", resumed, owner)
				}
				if cache.given != 0 && version == tls.VersionTLS13 {
					t.Errorf("with a ticket: %d new ones", cache.given)
				}
			}
			foreign := [][32]byte{{1}}
			c, owner := TakeOnly(server, foreign)
			if cache.given = 0; meet(t, client, c) || *owner != 0 || cache.given != 0 {
				t.Errorf("with a ticket of another process: session %d, %d new tickets", *owner, cache.given)
			}
		})
	}
}

// meet makes a connection on which the server speaks, and tells whether it resumed a
// session.
func meet(t *testing.T, client, server *tls.Config) bool {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(far, server)
		_, err := conn.Write([]byte("x"))
		done <- errors.Join(err, conn.Close())
	}()
	conn := tls.Client(near, client)
	if _, err := io.ReadAll(conn); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	return conn.ConnectionState().DidResume
}
