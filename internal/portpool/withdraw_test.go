package portpool

import (
	"testing"
	"time"
)

// What a peer was told of and never asked to use keeps nobody waiting; a connection that
// it has opened all the same is not the next lease's.
func TestWithdraw(t *testing.T) {
	onFakes(t, func(t *bench) {
		first := t.promised(ask(one, alice, 1))
		first.withdraw()
		second := t.must(ask(one, alice, 2))
		early := t.mustDial(alice, second)
		t.pass(time.Second)
		second.promise()
		if early.closes() != 1 {
			t.Errorf("a connection from before the promise was closed %d times", early.closes())
		}
		t.use(second)
		second.withdraw() // Its connection has come.
		if second.pool.mu.Lock(); second.err != nil {
			t.Errorf("a lease in use has ended: %v", second.err)
		}
		second.pool.mu.Unlock()
		second.Close()
		t.mustRest()
	})
}
