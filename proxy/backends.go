package proxy

import (
	"context"
	"errors"
	"net/netip"

	"ftproxy/config"
	"ftproxy/internal/servers"
)

// specs are what a configuration says of the servers of the backends of rt.
func (rt *Runtime) specs(c *config.Config) (all []servers.Spec, err error) {
	var failed []error
	for _, b := range c.Backends {
		spec := servers.Spec{Backend: b, TLS: rt.backends[b.Name].TLS, Connect: rt.timeouts.Connect}
		if b.Check.Kind == config.CheckLogin {
			spec.Password, err = servers.ReadPassword(b.Check.PasswordFile)
			failed = append(failed, err)
		}
		all = append(all, spec)
	}
	return all, errors.Join(failed...)
}

// isOwn tells whether a connection to an address comes to a listener of ours.
func (p *Process) isOwn(at netip.AddrPort) bool {
	rt := p.runtime.Load()
	return rt != nil && rt.isOwn(at)
}

// down tells whether a frontend does not listen because it has no server.
func (fe *frontend) down() bool { return fe.closeWhenDown && !fe.backend.Group.Usable() }

// relisten follows the servers: frontends with close_when_down listen while they have one.
func (p *Process) relisten() {
	p.applying.Lock()
	defer p.applying.Unlock()
	rt := p.runtime.Load()
	if rt == nil {
		return
	}
	if err := p.listeners.Follow(rt.listens()); err != nil {
		p.log.Warn().Err(err).Str("check", "who else listens there").Msg("a server is up again, but ftproxy cannot listen for its clients")
	}
}

// followServers is called when a backend has lost its last server, or has one again.
func (p *Process) followServers() {
	rt := p.runtime.Load()
	if rt == nil || !rt.closes {
		return
	}
	p.outlive(p.relisten)
}

// SetServer is an administrator's word on a server: "ready", "drain" or "down". It holds
// until the next word, also over reloads, and not over a restart.
func (p *Process) SetServer(backend, server, word string) error {
	return p.servers.SetByHand(backend, server, word)
}

// follow keeps the names of the runtime in force fresh, until the process leaves
// service. It is called with the process locked.
func (p *Process) follow(rt *Runtime) {
	if len(rt.hosts) > 0 && !p.following {
		p.following = true
		p.accepting.Go(func() { p.names.Run(p.serving, func() { p.resolve(p.runtime.Load()) }) })
	}
}

// resolve asks for all names of rt at once.
func (p *Process) resolve(rt *Runtime) {
	if len(rt.hosts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(p.hardStop, rt.timeouts.Connect)
	defer cancel()
	p.names.Resolve(ctx, rt.hosts, p.network.Resolve, p.log)
}
