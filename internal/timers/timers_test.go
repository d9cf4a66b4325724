package timers

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var timers Timers[int]
		timers.Init()
		defer timers.Stop()
		want := func(after time.Duration, ids ...int) {
			t.Helper()
			for {
				<-timers.C()
				got := timers.Expired()
				if len(got) == 0 { // It was armed for one that is cleared or moved.
					continue
				}
				if !slices.Equal(got, ids) || time.Since(began) != after {
					t.Errorf("%v after %s; want %v after %s", got, time.Since(began), ids, after)
				}
				return
			}
		}
		timers.Set(0, time.Second)
		timers.Set(1, 2*time.Second)
		timers.Set(2, 3*time.Second)
		timers.Set(3, 3*time.Second)
		<-timers.C() // The first is armed, and then moved.
		if got := timers.Expired(); !slices.Equal(got, []int{0}) {
			t.Errorf("first %v", got)
		}
		timers.Clear(1)
		timers.SetIfUnset(2, time.Hour)
		want(3*time.Second, 2, 3)
		timers.Set(4, time.Second)
		timers.C()
		timers.Set(4, 3*time.Second)
		timers.SetIfUnset(5, 2*time.Second)
		want(5*time.Second, 5)
		want(6*time.Second, 4)
	})
}
