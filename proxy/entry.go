package proxy

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
	"ftproxy/internal/origin"
)

// An entry is a session in the registry: what never changes of it, what it shows to
// others, and what they tell it.
type entry struct {
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
	stopped atomic.Pointer[ending]

	mu        sync.Mutex
	conns     [2]net.Conn // control connections, whose blocked writes a hard stop fails
	interrupt func()      // ends what the session waits for while it does not look at news
}

// A state is what a session shows of itself. It is never written to: a session shows
// another one.
type state struct {
	stage                stage
	backend              string
	server               netip.AddrPort
	user                 masked
	clientTLS, serverTLS uint16           // 0: in the clear
	verb, arg            string           // of the client's last command
	secrets              *logline.Secrets // that the client had said by then
	transferring         bool
}

func newEntry(id uint64, rt *Runtime, fe *frontend, from origin.Origin) *entry {
	e := &entry{id: id, rt: rt, fe: fe, from: from, clientAddr: from.Client, local: from.Local, began: time.Now(),
		news: make(chan struct{}, 1)}
	e.shown.Store(&state{backend: fe.backend.name})
	return e
}

// leave tells the session to end after its running command.
func (e *entry) leave() {
	e.leaving.Store(true)
	e.tell()
}

// stop is the hard stop: the session ends at once. It may be in the middle of a write,
// which fails. From now on its writes have lastWrite. A context for each session would
// take a kilobyte of it.
func (e *entry) stop(why *ending) {
	e.stopped.CompareAndSwap(nil, why)
	e.tell()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, conn := range e.conns {
		if conn != nil {
			_ = conn.SetWriteDeadline(time.Unix(1, 0))
		}
	}
	if e.interrupt != nil {
		e.interrupt()
	}
}

func (e *entry) tell() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// hardStopped is why there was a hard stop, or nil.
func (e *entry) hardStopped() error {
	if why := e.stopped.Load(); why != nil {
		return why
	}
	return nil
}

// interruptBy says what a hard stop has to call until this is called with nil.
func (e *entry) interruptBy(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.interrupt = f; f != nil && e.stopped.Load() != nil {
		f()
	}
}

// replace has a hard stop fail the writes of another control connection, or of one more
// or less where one of them is nil.
func (e *entry) replace(old, conn net.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.conns {
		if e.conns[i] == old {
			e.conns[i] = conn
			return
		}
	}
}

// show makes the state of the session visible where it has changed.
func (s *session) show() {
	old := s.shown.Load()
	now := state{
		stage:        s.stage,
		backend:      s.backend.name,
		user:         s.user,
		clientTLS:    s.client.tls,
		verb:         old.verb,
		arg:          old.arg,
		secrets:      old.secrets,
		transferring: s.data.delivery != nil,
	}
	if s.server != nil {
		now.server, now.serverTLS = s.server.addr, s.server.tls
	}
	if now != *old {
		s.shown.Store(&now)
	}
}

// showCommand makes the client's last command visible.
func (s *session) showCommand(c ftp.Command) {
	old := s.shown.Load()
	verb, arg := c.Verb, c.Arg[:min(len(c.Arg), maxShown)]
	if len(secretVerbs.Secrets(c)) > 0 {
		verb, arg = string(secretVerbs.Show(verb, s.secrets.Load())), []byte("***")
	}
	verb = verb[:min(len(verb), maxShown)]
	if old.verb == verb && old.arg == string(arg) && old.secrets == s.secrets.Load() {
		return
	}
	now := *old
	now.verb, now.arg, now.secrets = verb, string(arg), s.secrets.Load()
	s.shown.Store(&now)
}

// maxShown bounds each of the two parts of a command that a session keeps to show it.
// Of them no more than ftp.MaxQuoted is shown, so a secret is cut by neither bound alone.
const maxShown = ftp.MaxQuotedError

// snapshot is what the session showed last.
func (e *entry) snapshot(name string) Snapshot {
	st := e.shown.Load()
	command := string(secretVerbs.Show(st.verb, st.secrets))
	if st.arg != "" {
		command += " " + string(st.secrets.Show(st.arg))
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
		Command:      command,
		Transferring: st.transferring,
	}
}

func tlsVersion(version uint16) string {
	if version == 0 {
		return ""
	}
	return tls.VersionName(version)
}
