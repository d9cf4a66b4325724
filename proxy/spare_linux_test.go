package proxy

import "testing"

// A data connection that cannot be had at the end of the descriptors is 425, and
// does not take the spare one, on which new clients are told.
func TestDataPortAtTheEndOfDescriptors(t *testing.T) {
	sm := startSmall(t, 64, 4096)
	th := sm.admitted(sm.connect("client"))
	sm.tell("hoard")
	for range 3 {
		sm.wantTurnedAway()
		for range 2000 {
			sm.tell("settle")
			th.client.say("PASV")
			th.client.hear("425 ")
			th.client.say("PORT 127,0,0,1,200,1")
			th.client.hear("425 ")
		}
		th.noop()
	}
	sm.tell("release")
	sm.wantRoom()
	client, server := th.passive()
	th.begin("RETR f")
	moves(t, server, client)
	th.finish(server, client)
}
