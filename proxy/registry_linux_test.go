package proxy

import (
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
	"ftproxy/internal/registry"
)

// one is the session that lives, once it shows what is wanted.
func (th *harness) one(wanted func(Snapshot) bool) Snapshot {
	th.t.Helper()
	deadline := time.Now().Add(socketTimeout)
	for {
		all := th.process.Sessions()
		if len(all) == 1 && wanted(all[0]) {
			return all[0]
		}
		if time.Now().After(deadline) {
			th.t.Fatalf("sessions: %+v", all)
		}
		<-time.After(time.Millisecond)
	}
}

func (th *harness) noSessions() {
	th.t.Helper()
	for deadline := time.Now().Add(socketTimeout); len(th.process.Sessions()) > 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			th.t.Fatalf("sessions: %+v", th.process.Sessions())
		}
	}
}

// A session shows what it is and does, and nothing that is secret.
func TestSessionShown(t *testing.T) {
	th := protected(t, nil).harness
	in := th.one(func(s Snapshot) bool { return s.Stage == "logged_in" })
	for _, tt := range []struct{ says, want string }{
		{"PASS hunter2000", "PASS ***"},
		{"SITE PSWD hunter2000 other3000", "SITE ***"},
		{"CWD /srv/hunter2000", "CWD " + logline.Withheld},
		{"CWD a\tb", `CWD a\tb`},
	} {
		th.client.say(tt.says)
		th.server.hear(tt.says)
		got := th.one(func(s Snapshot) bool { return s.Command == tt.want })
		th.server.say("250 done")
		th.client.hear("250 done")
		if got.ID != in.ID {
			t.Errorf("session %s became %s", in.ID, got.ID)
		}
	}

	l, client := th.client.conn, th.client
	if in.Client != l.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort() || in.Local.String() != l.RemoteAddr().String() {
		t.Errorf("of %s at %s: %+v", l.LocalAddr(), l.RemoteAddr(), in)
	}
	if in.User != "anna" || in.Frontend != "public" || in.Backend != "inside" || in.Server.String() != th.server.conn.LocalAddr().String() {
		t.Errorf("%+v", in)
	}
	if in.ClientTLS != "TLS 1.3" || in.ServerTLS != "TLS 1.3" || in.Transferring || time.Since(in.Since) > time.Minute {
		t.Errorf("%+v", in)
	}
	if got, ok := th.process.Session(in.ID); !ok || got.Client != in.Client {
		t.Errorf("Session(%s) = %+v, %v", in.ID, got, ok)
	}
	prefix, _, _ := strings.Cut(in.ID, "-")
	for _, id := range []string{"", prefix, prefix + "-", prefix + "-0", prefix + "-01", prefix + "-+1", "1", "-1", "x-1"} {
		if _, ok := th.process.Session(id); ok || th.process.EndSession(id) {
			t.Errorf("there is a session %q", id)
		}
	}
	client.say("QUIT")
	th.server.hear("QUIT")
	th.server.say("221 bye")
	client.hear("221 bye")
	th.one(func(s Snapshot) bool { return s.Stage == "lingering" })
	_ = client.conn.Close()
	th.noSessions()
}

// The hard stop of one session aborts its transfer, and no other session feels it.
func TestEndSession(t *testing.T) {
	th, serverAt := emptyStage(t, straight("passive"), nil)
	arrive := func(name string) *harness {
		other := &harness{t: t, process: th.process, logs: th.logs}
		for _, addr := range th.process.Addrs() {
			other.client = newActor(t, name, dialLoopback(t, addr.String()))
		}
		other.server = newActor(t, "server of "+name, acceptOne(t, serverAt))
		other.server.say("220 ready")
		other.client.hear("220")
		other.logIn()
		return other
	}
	first := arrive("first")
	id := first.one(func(s Snapshot) bool { return s.Stage == "logged_in" }).ID
	second := arrive("second")
	client, server := first.passive()
	first.begin("RETR f")
	if _, err := server.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if s, ok := th.process.Session(id); !ok || !s.Transferring || s.Command != "RETR f" {
		t.Errorf("no transfer: %+v", s)
	}
	if !th.process.EndSession(id) {
		t.Fatal("no such session")
	}
	wantReset(t, "the client", client)
	wantReset(t, "the server", server)
	first.client.hear("426")
	first.client.hear("421 Session ended by the administrator.")
	first.client.hearEnd()
	first.server.hearEnd()
	first.await(`"reason":"stopped"`)
	_ = first.client.conn.Close()
	if left := second.one(func(s Snapshot) bool { return s.Stage == "logged_in" }); left.ID == id {
		t.Errorf("%s is still there", id)
	}
	second.noop()
	if th.process.EndSession(id) {
		t.Error("it was ended twice")
	}
}

// A session that waits for its peer is ended, too: one whose client reads nothing, and
// one whose client does not begin its implicit TLS.
func TestEndSessionThatWaits(t *testing.T) {
	t.Run("write", func(t *testing.T) {
		th := play(t, nil)
		th.client.say("HELP")
		th.server.hear("HELP")
		flooded := make(chan error, 1)
		go flood(th.server.conn, flooded)
		if err := <-flooded; err != nil {
			t.Fatal(err)
		}
		th.process.EndSession(th.one(func(Snapshot) bool { return true }).ID)
		th.noSessions()
	})
	t.Run("handshake", func(t *testing.T) {
		s := enact(t, straight("passive"), func(c *config.Config) { c.Frontends[0].TLS.Mode = config.TLSImplicit })
		client := s.arrive()
		s.process.EndSession(s.one(func(s Snapshot) bool { return s.Stage == "connecting" }).ID)
		client.hearEnd()
		s.noSessions()
	})
}

// flood sends a reply until nobody takes more of it.
func flood(conn interface {
	io.Writer
	SetWriteDeadline(time.Time) error
}, done chan<- error) {
	line := []byte(strings.Repeat("211-"+strings.Repeat("x", 1000)+"\r\n", 16))
	for {
		_ = conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := conn.Write(line); err != nil {
			done <- nil
			return
		}
	}
}

// What a list of many sessions costs, and what one more session keeps for it.
func TestRegistryIsCheap(t *testing.T) {
	const many = 10_000
	p := &Process{}
	p.sessions.Init(secretVerbs)
	rt, fe := &Runtime{}, &frontend{name: "public", backend: &backend{Backend: dial.Backend{Name: "inside"}}}
	before := heap()
	for i := range many {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 4711)
		e, refusal := p.sessions.Enter(registry.Session{ClientAddr: client, Frontend: fe.name, Rules: rt}, registry.Limits{})
		if refusal != "" {
			t.Fatal(refusal)
		}
		s := &session{Entry: e, backend: fe.backend, stage: loggedIn, user: "anna", secrets: new(atomic.Pointer[logline.Secrets])}
		s.secrets.Store((*logline.Secrets)(nil).With(fmt.Sprintf("secret of %d", i)))
		s.keepCommand(ftp.Command{Verb: "RETR", Arg: fmt.Appendf(nil, "/srv/ftp/some/longer/path/file-%d.bin", i), HasArg: true}, false)
		s.show()
	}
	kept := (heap() - before) / many
	least := time.Hour
	for range 5 {
		began := cpu(t)
		all := p.Sessions()
		least = min(least, cpu(t)-began)
		if len(all) != many || all[1].Command != "RETR /srv/ftp/some/longer/path/file-1.bin" || all[1].User != "anna" {
			t.Fatalf("%d sessions, %+v", len(all), all[1])
		}
	}
	t.Logf("%d bytes kept for each session, %s of CPU for a list of %d", kept, least, many)
	if least > 50*time.Millisecond && !raceEnabled {
		t.Errorf("a list of %d sessions takes %s of CPU", many, least)
	}
	if kept > 1<<10 {
		t.Errorf("%d bytes are kept for each session", kept)
	}
	runtime.KeepAlive(p)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
