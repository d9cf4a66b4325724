package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// stressWaits are the times that clients waited for a passive port.
type stressWaits struct {
	mu    sync.Mutex
	times []time.Duration // 425 included
	none  int             // how many heard 425
}

func (w *stressWaits) add(l *stressLeg, code int) {
	if w == nil || l.listen != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.times = append(w.times, l.told.Sub(l.asked))
	if code == 425 {
		w.none++
	}
}

// percentile is the time within which that share of the clients was answered.
func (w *stressWaits) percentile(p int) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.times) == 0 {
		return 0
	}
	slices.Sort(w.times)
	d := w.times[min(len(w.times)*p/100, len(w.times)-1)]
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

// idle asks for a port and is then silent until the row's end.
func idle(c *stressClient) error {
	l, err := c.agree()
	if l == nil {
		return err
	}
	defer l.close(c)
	_, err = c.listenFor(time.Hour)
	return err
}

// TestStressPrice prints how long clients of one address wait for a port. It judges
// nothing, and runs by hand: FTPROXY_STRESS_PRICE=10s is the time of each line.
func TestStressPrice(t *testing.T) {
	text := os.Getenv("FTPROXY_STRESS_PRICE")
	if text == "" {
		t.Skip("FTPROXY_STRESS_PRICE is not set: this measures, and takes minutes")
	}
	each, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| reuse | ports | sessions | clients | transfers/s | wait p50 | p99 | 425 of requests | 421 | faults |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, reuse := range []bool{false, true} {
		for _, ports := range []int{1, 3, 10, 100} {
			for _, sessions := range []int{1, 2, 50} {
				for _, kind := range []struct {
					name   string
					mix    []stressAction
					idlers int
				}{
					{"honest", []stressAction{{"prompt", 1, prompt}}, 0},
					{"20 % close what they opened", []stressAction{{"prompt", 80, prompt}, {"give up", 20, giveUp}}, 0},
					{"20 % never connect", []stressAction{{"prompt", 80, prompt}, {"never connects", 20, neverConnects}}, 0},
					{"and one that is silent", []stressAction{{"prompt", 1, prompt}}, 1},
				} {
					row := stressRow{
						name: "price", addresses: 1, sessions: sessions + kind.idlers, idlers: kind.idlers, ports: ports, mix: kind.mix, setups: passiveSetups,
					}
					if reuse {
						row.version, row.reuse = "1.3", true
					}
					t.Run(fmt.Sprintf("%v-%d-%d-%s", reuse, ports, sessions, kind.name), func(t *testing.T) {
						w := row.start(t)
						w.waits = new(stressWaits)
						row.crowd(w, 1, each)
						fmt.Fprintf(&table, "| %v | %d | %d | %s | %.0f | %v | %v | %d of %d | %d | %d |\n", reuse, ports, sessions, kind.name,
							float64(w.get(transferred))/each.Seconds(), w.waits.percentile(50), w.waits.percentile(99), w.waits.none, len(w.waits.times),
							w.get(said421), w.get(mismatched)+w.get(falselyDone)+w.get(unserved)+w.get(broken))
					})
				}
			}
		}
	}
	t.Logf("how long clients of one address wait for a passive port\n\n%s", &table)
}
