package transfer

import (
	"errors"
	"testing"
)

// The final reply says what has happened: the server's where that is true, ours otherwise.
func TestVerdict(t *testing.T) {
	failed := errors.New("failed")
	for _, tt := range []struct {
		name    string
		answer  Answer
		code    int
		servers bool
		outcome string
	}{
		{"complete", Answer{226, true, false, &Result{Opened: true}}, 226, true, OK},
		{"refused", Answer{550, false, false, &Result{}}, 550, true, Refused},
		{"an error after all the data", Answer{451, true, false, &Result{Opened: true}}, 451, true, "server"},
		{"success that is a lie", Answer{226, true, false, &Result{Opened: true, Failed: ClientSide, Err: failed}}, 426, false, "client"},
		{"the server says so, too", Answer{426, true, false, &Result{Opened: true, Failed: ClientSide, Err: failed}}, 426, true, "client"},
		{"not the server's fault", Answer{550, true, false, &Result{Opened: true, Failed: ClientSide, Err: failed}}, 426, false, "client"},
		{"the server's fault", Answer{552, true, false, &Result{Opened: true, Failed: ServerSide, Err: failed}}, 552, true, "server"},
		{"no connection of the client's", Answer{426, true, false, &Result{Failed: ClientSide, Err: failed}}, 425, false, "client"},
		{"no connection of the server's", Answer{425, true, false, &Result{Failed: ServerSide, Err: failed}}, 425, true, "server"},
		{"aborted", Answer{426, true, true, &Result{Failed: ClientSide, Err: ErrAborted}}, 426, true, "client"},
		{"aborted, in other words", Answer{550, true, true, &Result{Opened: true, Failed: ClientSide, Err: ErrAborted}}, 426, false, "client"},
		{"no final reply", Answer{0, true, false, &Result{Opened: true, Failed: ServerSide, Err: failed}}, 426, false, "server"},
	} {
		code, servers := tt.answer.Verdict()
		if outcome := tt.answer.Outcome(code); code != tt.code || servers != tt.servers || outcome != tt.outcome {
			t.Errorf("%s: %d, %v, %s; want %d, %v, %s", tt.name, code, servers, outcome, tt.code, tt.servers, tt.outcome)
		}
	}
}
