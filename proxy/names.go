package proxy

import "context"

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
