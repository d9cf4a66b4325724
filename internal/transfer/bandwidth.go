package transfer

import (
	"context"

	"ftproxy/internal/pace"
	"ftproxy/internal/splice"
)

// A Bandwidth is what limits transfers: their session's own limit, and those that
// sessions share. The kernel keeps them (internal/pace).
type Bandwidth struct {
	Set      *pace.Set
	Frontend string
	Backend  string
	Session  [Upload + 1]*pace.Share // by direction; nil: no limit
}

// join puts a transfer under its limits. leave takes it out again; on an error it has
// none of them.
func (b *Bandwidth) join(ctx context.Context, c *splice.Copy, d Direction) (leave func(), err error) {
	return b.Set.Join(ctx, c, b.Session[d],
		b.Set.Share(FrontendShare(b.Frontend, d)), b.Set.Share(BackendShare(b.Backend, d)))
}

// FrontendShare is the name of a frontend's share. Each direction is one of its own.
func FrontendShare(name string, d Direction) string { return "frontend " + name + " " + d.String() }

// BackendShare is the name of a backend's.
func BackendShare(name string, d Direction) string { return "backend " + name + " " + d.String() }
