package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ftproxy/internal/admin"
	"ftproxy/internal/balance"
	"ftproxy/internal/resolve"
	"ftproxy/proxy"
)

var serverCommand = command{
	name:    "server",
	summary: "take a server out of use, or put it in use again",
	usage:   "[-config FILE] [-socket PATH] BACKEND/SERVER ready|drain|down",
	help: `Server says what one server of a backend is to do. SERVER is what the
configuration calls it: its label, or its address with the port.

  ready  it is used again, as its checks and its agent allow
  drain  it gets no new sessions; those that it has go on
  down   the same, and the status calls it down

It holds until the next such command, also over reloads, but not over a restart
of ftproxy. "ftproxy status" lists the servers.

Exit codes: 0 done, 1 it was refused or ftproxy cannot be reached, 2 wrong
usage.

Example:

  ftproxy server legacy/10.0.0.5:21 drain
`,
	run: (*program).server,
}

func (p *program) server(ctx context.Context, c *command, args []string) int {
	r, words, code, ok := p.askAbout(c, c.flags(), args, 2)
	if !ok {
		return code
	}
	r.instead = "Without it no server can be set by hand"
	backend, server, named := strings.Cut(words[0], "/")
	if !named {
		return p.misused("server: %q names no server: write BACKEND/SERVER, as in legacy/10.0.0.5:21", words[0])
	}
	if _, err := balance.ParseState(words[1]); err != nil {
		return p.misused("server: %q is none of ready, drain and down", words[1])
	}
	service, ok := p.find(r)
	if !ok {
		return exitFailed
	}
	ctx, done := p.untilSignal(ctx)
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, statusLimit, errNoAnswer)
	defer cancel()
	set, err := service.SetServer(ctx, backend, server, words[1])
	if err != nil {
		return p.failed(err)
	}
	for _, s := range set.Servers {
		at := ""
		if s.Address != s.Server {
			at = " at " + s.Address
		}
		fmt.Fprintf(p.stdout, "%s/%s%s: %s, %s\n", s.Backend, s.Server, at, s.State, count(s.Sessions, "session"))
	}
	return exitOK
}

// SetServer is what the command server asks for.
func (s *service) SetServer(backend, server, state string) (done admin.ServerSet, err error) {
	if err := s.process.SetServer(backend, server, state); err != nil {
		return done, err
	}
	for _, one := range serverStatus(s.process.Status()) {
		if one.Backend == backend && one.Server == server {
			done.Servers = append(done.Servers, one)
		}
	}
	return done, nil
}

// serverStatus are all servers, as the control socket shows them.
func serverStatus(st proxy.Status) (all []admin.ServerStatus) {
	for _, backend := range slices.Sorted(maps.Keys(st.Servers)) {
		for _, s := range st.Servers[backend].Servers {
			one := admin.ServerStatus{Backend: backend, Backup: s.Target.Tier >= resolve.BackupTier, Server: s.Target.Name, Address: s.Target.Addr.String(), State: s.State.String(), By: string(s.By),
				Reason: s.Why, Sessions: s.Sessions, Limit: s.Max, Weight: s.Weight, Removed: s.Gone,
				Failures: s.Failures, Greeting: s.Greeting.Seconds(), Check: checkStatus(s.Check), Agent: checkStatus(s.Agent)}
			if !s.Since.IsZero() {
				one.Since = &s.Since
			}
			all = append(all, one)
		}
	}
	return all
}

func checkStatus(r balance.Report) *admin.CheckStatus {
	if r.At.IsZero() {
		return nil
	}
	c := &admin.CheckStatus{At: r.At, Took: r.Took.Seconds(), Text: r.Text}
	if r.Err != nil {
		c.Error = r.Err.Error()
	}
	return c
}

// mostServers is how many rows of servers a screen has.
const mostServers = 20

// serverTable has a row for each address of a server.
func serverTable(b *strings.Builder, all []admin.ServerStatus, now time.Time) {
	if len(all) == 0 {
		return
	}
	rows := [][]string{{"backend", "server", "state", "sessions", "last check"}}
	for i, s := range all {
		if i == mostServers {
			break
		}
		server := s.Server
		if s.Address != s.Server {
			server += " " + s.Address
		}
		state := s.State
		switch {
		case s.Removed:
			state = "removed"
		case s.By == string(balance.ByHand), s.By == string(balance.ByAgent):
			state += " by " + s.By
		case s.Backup:
			state += ", backup"
		}
		check := "none"
		if s.Check != nil {
			check = "ok " + age(now.Sub(s.Check.At)) + " ago"
			if s.Check.Error != "" {
				check = "FAILED " + age(now.Sub(s.Check.At)) + " ago"
			}
		}
		rows = append(rows, []string{shorten(s.Backend), shorten(server), state, outOf(s.Sessions, s.Limit), check})
	}
	b.WriteString("\n" + strings.Join(columns(rows, 2), "\n") + "\n")
	if len(all) > mostServers {
		fmt.Fprintf(b, "and %d more: -json has them all\n", len(all)-mostServers)
	}
	for _, s := range all[:min(len(all), mostServers)] {
		if s.State != "up" && s.Reason != "" {
			wrap(b, s.Server+": "+s.Reason, "  ", "    ")
		}
	}
}
