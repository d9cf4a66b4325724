package proxy

import (
	"errors"
	"os"
	"testing"
	"time"
)

// TestABORBeforeTheReset: the server reads ABOR before it finds its data connection broken:
// one that finds it first says 225, that there is nothing to abort. The connection is reset
// when the server has answered, or a moment later where it does not read ABOR. The client's
// ends at once. In the meantime no byte moves and nothing looks complete.
func TestABORBeforeTheReset(t *testing.T) {
	for _, command := range []string{"RETR f", "STOR f"} {
		for _, answers := range []bool{true, false} {
			t.Run(command+map[bool]string{true: ", answered", false: ", not read"}[answers], func(t *testing.T) {
				t.Parallel()
				bothModes(t, func(t *testing.T, mode string) {
					th := play(t, nil)
					client, server := th.open(mode, command)
					from, to := server, client
					if command == "STOR f" {
						from, to = client, server
					}
					_, _ = from.Write([]byte("x")) // Both are open when it arrives.
					_ = to.SetReadDeadline(time.Now().Add(socketTimeout))
					if _, err := to.Read(make([]byte, 1)); err != nil {
						t.Fatal(err)
					}
					sent := time.Now()
					th.client.say("ABOR")
					th.server.hear("ABOR")
					wantReset(t, "client", client)
					_ = server.SetReadDeadline(sent.Add(100 * time.Millisecond))
					if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) && time.Since(sent) < 100*time.Millisecond {
						t.Errorf("the server's data connection ends (%v) with ABOR, want it open", err)
					}
					if answers {
						th.server.say("426 aborted")
						th.client.hear("426 aborted")
					}
					wantReset(t, "server", server)
					if !answers {
						if waited := time.Since(sent); waited < 200*time.Millisecond {
							t.Errorf("it is reset after %v", waited)
						}
						th.server.say("426 aborted")
						th.client.hear("426 aborted")
					}
					th.server.say("226 ABOR successful")
					th.client.hear("226 ABOR successful")
					th.stillWorks()
				})
			})
		}
	}
}
