package registry

import (
	"errors"
	"net/netip"
	"testing"

	"ftproxy/internal/logline"
)

func secretPASS(verb string) (known, secret bool) { return true, verb == "PASS" }

func session(addr string) Session {
	return Session{ClientAddr: netip.MustParseAddrPort(addr), Frontend: "public"}
}

// Each limit has its name, and a session that has ended counts no more.
func TestLimits(t *testing.T) {
	var r Registry
	r.Init(secretPASS)
	limits := Limits{Sessions: 3, PerClient: 2}
	enter := func(addr, want string) *Entry {
		t.Helper()
		e, limit := r.Enter(session(addr), limits)
		if limit != want || (e == nil) != (want != "") {
			t.Errorf("%s: %v, %q; want %q", addr, e, limit, want)
		}
		return e
	}
	first := enter("192.0.2.1:1", "")
	enter("192.0.2.1:2", "")
	enter("192.0.2.1:3", "sessions_per_client")
	r.Remove(first)
	enter("192.0.2.1:3", "")
	last := enter("192.0.2.2:1", "")
	enter("192.0.2.3:1", "sessions")
	if r.Started() != 4 || len(r.Entries()) != 3 || r.Find(r.Name(last.ID)) != last || r.Find(r.Name(first.ID)) != nil {
		t.Errorf("%d sessions, %d of them live", r.Started(), len(r.Entries()))
	}
	r.Drain()
	enter("192.0.2.4:1", "draining")
	for _, e := range r.Entries() {
		if <-e.News(); !e.Leaving() || e.HardStopped() != nil {
			t.Errorf("session %d was not told to leave", e.ID)
		}
	}
}

// A transfer more than the limit is refused until one is given back.
func TestTransferLimit(t *testing.T) {
	var r Registry
	if !r.TakeTransfer(1) || r.TakeTransfer(1) || !r.TakeTransfer(0) || r.Transfers() != 2 {
		t.Errorf("%d transfers", r.Transfers())
	}
	r.FreeTransfer()
	r.FreeTransfer()
	if !r.TakeTransfer(1) {
		t.Error("none is free")
	}
}

// A hard stop is for sessions that do something; its first reason stays.
func TestHardStop(t *testing.T) {
	var r Registry
	r.Init(secretPASS)
	e, _ := r.Enter(session("192.0.2.1:1"), Limits{})
	if !r.Busy() {
		t.Error("a session that connects has nothing to lose")
	}
	e.Show(&State{Stage: Lingering})
	if r.Busy() {
		t.Error("a session that lingers has something to lose")
	}
	why := errors.New("why")
	r.StopAll(why)
	e.Stop(errors.New("later"))
	if <-e.News(); e.HardStopped() != why {
		t.Errorf("stopped for %v", e.HardStopped())
	}
}

// A snapshot shows no secret, whether it was known when the command was kept or not, and
// showing a state that has not changed costs no memory.
func TestSnapshot(t *testing.T) {
	var r Registry
	r.Init(secretPASS)
	e, _ := r.Enter(session("192.0.2.1:1"), Limits{})
	var secrets *logline.Secrets
	secrets = secrets.With("hunter2000")
	now := State{Stage: LoggedIn, Backend: "inside", User: "anna", ClientTLS: 0x304}
	now.Command.Keep("CWD", []byte("/srv/hunter2000"), secrets)
	e.Show(&now)
	got := r.Snapshots()[0]
	if got.Command != "CWD "+logline.Withheld || got.User != "anna" || got.Stage != "logged_in" || got.ClientTLS != "TLS 1.3" || got.ServerTLS != "" {
		t.Errorf("%+v", got)
	}
	arg := []byte("/srv/hunter2000")
	if n := testing.AllocsPerRun(100, func() {
		now := State{Command: now.Command}
		now.Command.Keep("CWD", arg, secrets)
		e.Show(&now)
	}); n > 0 {
		t.Errorf("%v allocations to show a state", n)
	}
}
