package proxy

import (
	"context"

	"ftproxy/config"
	"ftproxy/internal/pace"
	"ftproxy/internal/splice"
)

// bandwidth is what limits the transfers of a session: its own limit, and those
// that it shares with others. They are kept by the kernel (internal/pace).
type bandwidth struct {
	set      *pace.Set
	frontend string
	backend  string
	session  [upload + 1]*pace.Share // by direction; nil: no limit
}

func (p *Process) bandwidthOf(fe *frontend, be *backend) bandwidth {
	b := bandwidth{set: &p.paces, frontend: fe.name, backend: be.name}
	if fe.bandwidth > 0 {
		for _, d := range []direction{download, upload} {
			b.session[d] = p.paces.NewShare(int64(fe.bandwidth))
		}
	}
	return b
}

// join puts a transfer under its limits. leave takes it out again.
func (b *bandwidth) join(ctx context.Context, c *splice.Copy, d direction, log sessionLog) (leave func()) {
	leave, err := b.set.Join(ctx, c, b.session[d],
		b.set.Share(frontendShare(b.frontend, d)), b.set.Share(backendShare(b.backend, d)))
	if err != nil && ctx.Err() == nil { // The copy itself tells of an abort.
		log.Warn().Err(err).Msg("transfer without its bandwidth limit")
	}
	return leave
}

// The names of shares. Each direction is one of its own.
func frontendShare(name string, d direction) string { return "frontend " + name + " " + d.String() }
func backendShare(name string, d direction) string  { return "backend " + name + " " + d.String() }

// bandwidths are the limits of all shares that have one.
func bandwidths(c *config.Config) map[string]int64 {
	limits := make(map[string]int64)
	for _, d := range []direction{download, upload} {
		for _, f := range c.Frontends {
			if f.Bandwidth > 0 {
				limits[frontendShare(f.Name, d)] = int64(f.Bandwidth)
			}
		}
		for _, b := range c.Backends {
			if b.Bandwidth > 0 {
				limits[backendShare(b.Name, d)] = int64(b.Bandwidth)
			}
		}
	}
	return limits
}
