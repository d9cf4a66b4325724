package proxy

import (
	"net/netip"
	"sync/atomic"

	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
)

// sessionLog begins log lines with what tells one session from another. It
// writes that anew for each line, because a session that keeps it written would
// be half a kilobyte larger, and most sessions have three lines. It is a value with
// copies, so that a worker's lines need nothing of the session.
//
// It knows the secrets of the session, and withholds what quotes one of them.
type sessionLog struct {
	p       *Process
	id      uint64
	client  netip.AddrPort
	backend *backend
	server  netip.AddrPort // invalid: not connected
	secrets *atomic.Pointer[logline.Secrets]
}

func (l sessionLog) Debug() logLine { return l.begin(l.p.log.Debug()) }
func (l sessionLog) Info() logLine  { return l.begin(l.p.log.Info()) }
func (l sessionLog) Warn() logLine  { return l.begin(l.p.log.Warn()) }

// often is a line that a peer can cause at will: see Process.often.
func (l sessionLog) often(k *logline.Kind, about string, peer netip.Addr) logLine {
	return l.begin(l.p.often(k, about, "", peer))
}

// hostAddr is the address of a server that is configured as one; else invalid.
func hostAddr(host string) netip.Addr {
	addr, _ := netip.ParseAddr(host)
	return addr
}

// show is what the log may have of a name or path of the client's.
func (l sessionLog) show(text []byte) masked { return l.secrets.Load().Show(string(text)) }

// name is what tells a session from all others.
func (l sessionLog) name() string { return l.p.sessions.Name(l.id) }

// keepSecrets keeps the secrets of a command, which the log is to withhold from now on,
// and tells whether there are any.
func (s *session) keepSecrets(c ftp.Command) bool {
	all := secretVerbs.Secrets(c)
	for _, secret := range all {
		s.secrets.Store(s.secrets.Load().With(secret))
	}
	return len(all) > 0
}

func (l sessionLog) begin(e logLine) logLine {
	if !e.Written() {
		return e
	}
	e = e.Withholding(l.secrets.Load()).Str("session", word(l.name())).
		Stringer("client", l.client).Str("backend", word(l.backend.Name))
	if l.server.IsValid() {
		e = e.Stringer("server", l.server)
	}
	return e
}
