package proxy

import (
	"context"
	"time"
)

// namesRefresh is how often the host names that clients are told are resolved
// again: a public address may change at any time.
const namesRefresh = 30 * time.Second

// follow keeps the names of the runtime in force fresh, until the process leaves
// service. It is called with the process locked.
func (p *Process) follow(rt *Runtime) {
	if len(rt.hosts) > 0 && !p.following {
		p.following = true
		p.accepting.Add(1)
		go p.refreshNames()
	}
}

func (p *Process) refreshNames() {
	defer p.accepting.Done()
	tick := time.NewTicker(namesRefresh)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.resolve(p.runtime.Load())
		case <-p.serving.Done():
			return
		}
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
