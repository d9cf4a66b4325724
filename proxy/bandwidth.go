package proxy

import (
	"ftproxy/config"
	"ftproxy/internal/transfer"
)

// bandwidthOf is what limits the transfers of a session.
func (p *Process) bandwidthOf(fe *frontend, be *backend) transfer.Bandwidth {
	b := transfer.Bandwidth{Set: &p.paces, Frontend: fe.name, Backend: be.Name}
	if fe.bandwidth > 0 {
		for _, d := range []transfer.Direction{transfer.Download, transfer.Upload} {
			b.Session[d] = p.paces.NewShare(int64(fe.bandwidth))
		}
	}
	return b
}

// bandwidths are the limits of all shares that have one.
func bandwidths(c *config.Config) map[string]int64 {
	limits := make(map[string]int64)
	for _, d := range []transfer.Direction{transfer.Download, transfer.Upload} {
		for _, f := range c.Frontends {
			if f.Bandwidth > 0 {
				limits[transfer.FrontendShare(f.Name, d)] = int64(f.Bandwidth)
			}
		}
		for _, b := range c.Backends {
			if b.Bandwidth > 0 {
				limits[transfer.BackendShare(b.Name, d)] = int64(b.Bandwidth)
			}
		}
	}
	return limits
}
