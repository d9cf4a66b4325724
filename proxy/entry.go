package proxy

import (
	"crypto/tls"
	"net/netip"
	"sync/atomic"
	"time"

	"ftproxy/internal/control"
	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
	"ftproxy/internal/origin"
)

// An entry is a session in the registry: what never changes of it, what it shows to
// others, and what they tell it.
type entry struct {
	control.HardStop // of its control connections

	id         uint64
	rt         *Runtime
	fe         *frontend
	from       origin.Origin
	clientAddr netip.AddrPort
	local      netip.AddrPort // where the client reached us, or a proxy before us
	began      time.Time

	shown atomic.Pointer[state]

	news    chan struct{} // one, buffered: leave or stop was called
	leaving atomic.Bool
}

// A state is what a session shows of itself. It is never written to: a session shows
// another one.
type state struct {
	stage                stage
	backend              string
	server               netip.AddrPort
	user                 masked
	clientTLS, serverTLS uint16 // 0: in the clear
	command              command
	transferring         bool
}

// A command is the client's last one, as far as it may be shown.
type command struct {
	verb, arg string
	secrets   *logline.Secrets // that the client had said by then
}

func newEntry(id uint64, rt *Runtime, fe *frontend, from origin.Origin) *entry {
	e := &entry{id: id, rt: rt, fe: fe, from: from, clientAddr: from.Client, local: from.Local, began: time.Now(),
		news: make(chan struct{}, 1)}
	e.shown.Store(&state{backend: fe.backend.Name})
	return e
}

// leave tells the session to end after its running command.
func (e *entry) leave() {
	e.leaving.Store(true)
	e.wake()
}

// stop is the hard stop: the session ends at once, also in the middle of a write.
func (e *entry) stop(why *ending) {
	e.StopHard(why)
	e.wake()
}

// wake has the session's loop look at what leave and stop have set.
func (e *entry) wake() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// show makes the state of the session visible where it has changed.
func (s *session) show() {
	old := s.shown.Load()
	now := state{
		stage:        s.stage,
		backend:      s.backend.Name,
		user:         s.user,
		clientTLS:    s.client.TLS(),
		command:      s.client.last,
		transferring: s.data.delivery != nil,
	}
	if s.server != nil {
		now.server, now.serverTLS = s.server.Addr, s.server.TLS()
	}
	if now != *old {
		s.shown.Store(&now)
	}
}

// keepCommand keeps the client's last command for show, without its argument where that
// is secret.
func (s *session) keepCommand(c ftp.Command, secret bool) {
	verb, arg := c.Verb, c.Arg[:min(len(c.Arg), maxShown)]
	if secret {
		verb, arg = string(secretVerbs.Show(verb, s.secrets.Load())), []byte("***")
	}
	last := &s.client.last
	if last.verb, last.secrets = verb[:min(len(verb), maxShown)], s.secrets.Load(); last.arg != string(arg) {
		last.arg = string(arg)
	}
}

// maxShown bounds each of the two parts of a command that a session keeps to show it.
// Of them no more than ftp.MaxQuoted is shown; the rest is for finding secrets (Secrets.Show).
const maxShown = ftp.MaxQuotedError

// snapshot is what the session showed last.
func (e *entry) snapshot(name string) Snapshot {
	st := e.shown.Load()
	c := st.command
	shown := string(secretVerbs.Show(c.verb, c.secrets))
	if c.arg != "" {
		shown += " " + string(c.secrets.Show(c.arg))
	}
	return Snapshot{
		ID:           name,
		Client:       e.clientAddr,
		Local:        e.local,
		Frontend:     e.fe.name,
		Backend:      st.backend,
		Server:       st.server,
		User:         string(st.user),
		Since:        e.began,
		Stage:        st.stage.String(),
		ClientTLS:    tlsVersion(st.clientTLS),
		ServerTLS:    tlsVersion(st.serverTLS),
		Command:      shown,
		Transferring: st.transferring,
	}
}

func tlsVersion(version uint16) string {
	if version == 0 {
		return ""
	}
	return tls.VersionName(version)
}
