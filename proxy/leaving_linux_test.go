package proxy

import (
	"crypto/tls"
	"io"
	"testing"

	"ftproxy/config"
)

// send sends exactly this, under TLS where there is TLS.
func (a *actor) send(text string) {
	a.t.Helper()
	if _, err := io.WriteString(a.w, text); err != nil {
		a.t.Fatal(err)
	}
}

// leaves is a client's half-close, with close_notify before it under TLS.
func (a *actor) leaves() {
	a.t.Helper()
	if secured, ok := a.w.(*tls.Conn); ok {
		if err := secured.CloseWrite(); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := a.conn.CloseWrite(); err != nil {
		a.t.Fatal(err)
	}
}

// clearAndTLS are two stages, the second with TLS on both sides.
func clearAndTLS(t *testing.T) []*harness {
	t.Helper()
	return []*harness{playBeside(t, nil), protected(t, nil).harness}
}

// TestClientThatLeaves: a server that owes a client an answer sees that the client has
// left, and can answer all the same. It is not told while commands wait.
func TestClientThatLeaves(t *testing.T) {
	stages := append(clearAndTLS(t), clearAndTLS(t)...) // They wait side by side.
	for i, th := range stages {
		commands := "SIZE f\r\n"
		if i >= 2 {
			commands += "PWD\r\n"
		}
		th.client.send(commands)
		th.client.leaves()
		th.server.hear("SIZE f")
		if i >= 2 {
			th.server.say("213 5")
			th.client.hear("213 5")
			th.server.hear("PWD")
		}
	}
	for _, th := range stages {
		th.server.hearEnd()
		// Below close_notify there is a FIN, too.
		if n, err := th.server.conn.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			t.Errorf("the server reads %d bytes, then %v; want EOF", n, err)
		}
		th.server.say("250 late")
		th.client.hear("250 late")
		th.client.hearEnd()
		th.await(`"reason":"client_gone"`)
	}
}

// TestClientThatResets: a reset ends everything at once. Behind a command that waits
// nobody reads, so there it is looked for.
func TestClientThatResets(t *testing.T) {
	var stages []*harness
	for _, commands := range []string{"", "SIZE f\r\n", "SIZE f\r\nPWD\r\n", "SIZE f\r\nPWD\r\nPWD\r\nPW"} {
		for _, th := range clearAndTLS(t) {
			th.client.send(commands)
			if commands != "" {
				th.server.hear("SIZE f")
			}
			reset(th.client.conn)
			stages = append(stages, th)
		}
	}
	for _, th := range stages {
		th.server.hearEnd()
		th.await(`"reason":"client_gone"`)
	}
}

// TestClientThatResetsEarly: the same while its server is waited for.
func TestClientThatResetsEarly(t *testing.T) {
	for _, commands := range []string{"", "USER anna\r\n", "USER anna\r\nPASS secret\r\nPWD\r\n"} {
		t.Run(commands, func(t *testing.T) {
			t.Parallel()
			s := enact(t, straight("passive"), func(*config.Config) {})
			s.client = s.arrive()
			server := acceptOne(t, s.atDoor)
			s.client.send(commands)
			reset(s.client.conn)
			wantNoPortLeft(t, server)
			s.await(`"reason":"client_gone"`)
		})
	}
}
