package proxy

import (
	"ftproxy/internal/ftp"
	"ftproxy/internal/registry"
)

// A Snapshot is a session as it was at one moment.
type Snapshot = registry.Snapshot

// Sessions lists the sessions that live now, the oldest first. No session waits for it.
func (p *Process) Sessions() []Snapshot { return p.sessions.Snapshots() }

// Session finds one session by its ID.
func (p *Process) Session(id string) (Snapshot, bool) {
	e := p.sessions.Find(id)
	if e == nil {
		return Snapshot{}, false
	}
	return p.sessions.Snapshot(e), true
}

// EndSession is the hard stop of one session: its transfer is aborted, and its client
// gets 421. It reports false if there is no such session; it does not wait for the end.
func (p *Process) EndSession(id string) bool {
	e := p.sessions.Find(id)
	if e != nil {
		e.Stop(&ending{reason: endStopped, text: "Session ended by the administrator."})
	}
	return e != nil
}

// show makes the state of the session visible to others.
func (s *session) show() {
	now := registry.State{
		Stage:        s.stage,
		Backend:      s.backend.Name,
		User:         s.user,
		ClientTLS:    s.client.TLS(),
		Command:      s.client.last,
		Transferring: s.data.delivery != nil,
	}
	if s.server != nil {
		now.Server, now.ServerTLS = s.server.Addr, s.server.TLS()
	}
	s.Show(&now)
}

// keepCommand keeps the client's last command for show, without its argument where that
// is secret.
func (s *session) keepCommand(c ftp.Command, secret bool) {
	secrets := s.secrets.Load()
	if secret {
		s.client.last.Keep(string(secretVerbs.Show(c.Verb, secrets)), []byte(registry.Hidden), secrets)
		return
	}
	s.client.last.Keep(c.Verb, c.Arg, secrets)
}
