package registry

import (
	"crypto/tls"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ftproxy/internal/control"
	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
)

// A Session is what never changes of one.
type Session struct {
	ClientAddr netip.AddrPort
	LocalAddr  netip.AddrPort // where the client reached us, or a proxy before us
	Frontend   string
	Rules      any // of the configuration that it began with: what they are, only their owner knows
}

// An Entry is a session in the registry.
type Entry struct {
	control.HardStop // of its control connections

	Session
	ID    uint64
	Began time.Time

	mu    sync.Mutex // held for no longer than a copy takes
	shown State

	news    chan struct{} // one, buffered: leave or Stop was called
	leaving atomic.Bool
}

// Stage is how far a session has come.
type Stage int

const (
	Connecting Stage = iota
	Greeted
	LoggedIn
	Lingering // all is over but its client's FIN
)

func (s Stage) String() string {
	return [...]string{"connecting", "greeted", "logged_in", "lingering"}[s]
}

// A State is what a session shows of itself.
type State struct {
	Stage                Stage
	Backend              string
	Server               netip.AddrPort // invalid: none yet
	User                 logline.Masked // empty: not logged in
	ClientTLS, ServerTLS uint16         // the versions; 0: in the clear
	Command              Command
	Transferring         bool
}

// A Command is the client's last one, as far as it may be shown.
type Command struct {
	verb, arg string
	secrets   *logline.Secrets // that the client had said by then
}

// maxShown bounds each of the two parts of a command that a session keeps to show it.
// Of them no more than ftp.MaxQuoted is shown; the rest is for finding secrets (Secrets.Show).
const maxShown = ftp.MaxQuotedError

// Hidden is shown in place of an argument that is secret.
const Hidden = "***"

// Keep makes it another command. Neither part may have a secret that is not one of secrets,
// which are all that the client has said by now.
func (c *Command) Keep(verb string, arg []byte, secrets *logline.Secrets) {
	c.verb, c.secrets = verb[:min(len(verb), maxShown)], secrets
	switch arg = arg[:min(len(arg), maxShown)]; {
	case string(arg) == Hidden:
		c.arg = Hidden
	case c.arg != string(arg):
		c.arg = string(arg)
	}
}

// Show makes the state of the session visible.
func (e *Entry) Show(now *State) {
	e.mu.Lock()
	e.shown = *now
	e.mu.Unlock()
}

func (e *Entry) state() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.shown
}

// leave tells the session to end after its running command.
func (e *Entry) leave() {
	e.leaving.Store(true)
	e.wake()
}

// Leaving tells whether the session is to end after its running command.
func (e *Entry) Leaving() bool { return e.leaving.Load() }

// Stop is the hard stop: the session ends at once, also in the middle of a write.
func (e *Entry) Stop(why error) {
	e.StopHard(why)
	e.wake()
}

// News tells the session's loop that Leaving or HardStopped has something to say.
func (e *Entry) News() <-chan struct{} { return e.news }

func (e *Entry) wake() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// A Snapshot is a session as it was at one moment.
type Snapshot struct {
	ID                   string // as in the log
	Client, Local        netip.AddrPort
	Frontend, Backend    string
	Server               netip.AddrPort // invalid: none yet
	User                 string         // empty: not logged in
	Since                time.Time
	Stage                string // connecting, greeted, logged_in or lingering
	ClientTLS, ServerTLS string // the versions; empty: in the clear
	Command              string // the last one; what is secret of it is withheld
	Transferring         bool
}

// Snapshot is what a session showed last.
func (r *Registry) Snapshot(e *Entry) Snapshot {
	st := e.state()
	c := st.Command
	shown := string(r.verbs.Show(c.verb, c.secrets))
	if c.arg != "" {
		shown += " " + string(c.secrets.Show(c.arg))
	}
	return Snapshot{
		ID:           r.Name(e.ID),
		Client:       e.ClientAddr,
		Local:        e.LocalAddr,
		Frontend:     e.Frontend,
		Backend:      st.Backend,
		Server:       st.Server,
		User:         string(st.User),
		Since:        e.Began,
		Stage:        st.Stage.String(),
		ClientTLS:    tlsVersion(st.ClientTLS),
		ServerTLS:    tlsVersion(st.ServerTLS),
		Command:      shown,
		Transferring: st.Transferring,
	}
}

func tlsVersion(version uint16) string {
	if version == 0 {
		return ""
	}
	return tls.VersionName(version)
}
