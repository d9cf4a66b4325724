package integration

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// onePort is the first port of a range alone.
func onePort(r portRange) portRange { return portRange{r.first, r.first} }

// plainBinary is ftproxy without the race detector, which dies of more than 8128
// goroutines.
func plainBinary(t *testing.T) string {
	t.Helper()
	if !raceEnabled || os.Getenv("FTPROXY_BINARY") != "" {
		return ""
	}
	path := filepath.Join(t.TempDir(), "ftproxy")
	build := exec.Command("go", "build", "-o", path, "ftproxy/cmd/ftproxy")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return path
}

// A crowd does something in stages: nobody begins with the next one before
// everybody is there.
type crowd struct {
	n      int
	stages []chan struct{} // closed when all are there
	there  []atomic.Int64
	broken chan struct{} // closed when one of them gives up
	once   sync.Once
	frozen atomic.Bool // the machine has stood still meanwhile
}

var errAlone = errors.New("not all came this far")

func (c *crowd) wait(stage int) error {
	if c.there[stage].Add(1) == int64(c.n) {
		close(c.stages[stage])
	}
	select {
	case <-c.stages[stage]:
		return nil
	case <-c.broken:
		return errAlone
	}
}

// stood is how late a tick must be for a machine that stands still.
const stood = 500 * time.Millisecond

func (c *crowd) watch(end <-chan struct{}) {
	tick := time.NewTicker(stood / 10)
	defer tick.Stop()
	for last := time.Now(); ; last = time.Now() {
		select {
		case <-tick.C:
			if time.Since(last) > stood {
				c.frozen.Store(true)
			}
		case <-end:
			return
		}
	}
}

// transfer runs f, and once more if it fails after the machine has stood still:
// then f may have lost its port, rightly.
func (c *crowd) transfer(f func() error) error {
	err := f()
	for tries := 0; err != nil && c.frozen.Load() && tries < 3; tries++ {
		err = f()
	}
	return err
}

// together runs f for 0 to n-1 at once, with so many stages.
func together(t *testing.T, n, stages int, f func(c *crowd, i int) error) {
	t.Helper()
	c := &crowd{n: n, there: make([]atomic.Int64, stages), broken: make(chan struct{})}
	for range stages {
		c.stages = append(c.stages, make(chan struct{}))
	}
	end := make(chan struct{})
	defer close(end)
	go c.watch(end)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			err := f(c, i)
			if err == nil {
				return
			}
			c.once.Do(func() { close(c.broken) })
			if !errors.Is(err, errAlone) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
}

// TestThousandClientsOnePort: 1,000 client addresses download and upload through
// one passive port. All of them have been told that port before the first one
// connects to it, each time.
func TestThousandClientsOnePort(t *testing.T) {
	throughProxy(t)
	const clients = 1000
	p := newPlace(t)
	s := startEmbedded(t, netip.MustParseAddr("127.0.0.1"), folder(t))
	c := configure(t, p, s.addr)
	c.passive = onePort(p.passive)
	c.binary = plainBinary(t)
	ftproxy := startProxy(t, c)
	together(t, clients, 4, func(c *crowd, i int) error {
		return thousandth(c, i, p, ftproxy, s)
	})
	m := ftproxy.metrics(t)
	for name, want := range map[string]float64{
		"ftproxy_sessions_started_total": clients, "ftproxy_transfers_total": 2 * clients,
		"ftproxy_data_port_leases_total": 2 * clients, "ftproxy_data_port_waits_total": 0,
		"ftproxy_data_port_full_total": 0, "ftproxy_data_strangers_closed_total": 0,
	} {
		if m[name] != want {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
}

// thousandth is one of these clients.
func thousandth(c *crowd, i int, p place, ftproxy *proxy, s *server) error {
	const size = 20_011
	net := p.client.As4()
	from := netip.AddrFrom4([4]byte{127, net[1], byte(i / 250), byte(1 + i%250)})
	down, up := content(fmt.Sprint("down ", i), size), content(fmt.Sprint("up ", i), size)
	if err := os.WriteFile(filepath.Join(s.root, fmt.Sprint("down", i)), down, 0o644); err != nil {
		return err
	}
	r, err := dialIn(from, ftproxy.addr4, s)
	if err != nil {
		return err
	}
	defer r.Close()
	for stage, verb := range []string{"PASV", "EPSV"} {
		if err := c.wait(2 * stage); err != nil {
			return err
		}
		d, err := r.agree(verb)
		if err != nil {
			return err
		}
		defer d.Close()
		if d.to.Port() != p.passive.first {
			return fmt.Errorf("%s: told to connect to %v", verb, d.to)
		}
		if err := c.wait(2*stage + 1); err != nil {
			return err
		}
		if verb == "EPSV" {
			err = r.upload(d, fmt.Sprint("up", i), up)
		} else {
			var got []byte
			if got, err = r.download(d, fmt.Sprint("down", i)); err == nil && !bytes.Equal(got, down) {
				err = fmt.Errorf("download: %d bytes that are not its file", len(got))
			}
		}
		if err != nil {
			return err
		}
	}
	got, err := os.ReadFile(filepath.Join(s.root, fmt.Sprint("up", i)))
	if err == nil && !bytes.Equal(got, up) {
		err = fmt.Errorf("upload: the server has %d bytes that are not its file", len(got))
	}
	return err
}

// TestOneClientOnePort: 50 sessions of one address share one port, which serves
// one pending data connection of theirs at a time. All ask for it at once; every
// third is refused its first transfer, with and without a data connection that
// is open then. One never connects: it hears 421 after data_connect, because the
// others wait, and each of those gets its files.
func TestOneClientOnePort(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	const sessions, idle = 50, 7
	for _, name := range []string{"vsftpd", "pyftpdlib"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			s := serverNamed(name).start(t, p.server, folder(t))
			c := configure(t, p, s.addr)
			c.passive = onePort(p.passive)
			c.timeouts = map[string]string{"data_connect": "15s"} // port_wait is long.
			ftproxy := startProxy(t, c)
			together(t, sessions, 1, func(c *crowd, i int) error {
				r, err := dialIn(p.client, ftproxy.addr4, s)
				if err != nil {
					return err
				}
				defer r.Close()
				if err := c.wait(0); err != nil {
					return err
				}
				if i != idle {
					return queued(c, r, i, s)
				}
				if _, err := r.agree("PASV"); err != nil {
					return err
				}
				code, text, err := r.reply()
				if err == nil && code != 421 {
					err = fmt.Errorf("the silent one hears %d %s", code, text)
				}
				return err
			})
			m := ftproxy.metrics(t)
			if got := m["ftproxy_data_port_full_total"]; got != 0 {
				t.Errorf("%v requests waited in vain", got)
			}
			if got := m["ftproxy_data_port_waits_total"]; got < sessions-1 {
				t.Errorf("%v requests had to wait, want %d at least", got, sessions-1)
			}
			if got := m["ftproxy_data_port_evictions_total"]; got != 1 {
				t.Errorf("%v sessions were asked to leave, want 1", got)
			}
		})
	}
}

// queued is what one of them does.
func queued(c *crowd, r *raw, i int, s *server) error {
	const size = 30_011
	verb := []string{"PASV", "EPSV"}[i/3%2]
	if i%3 == 0 {
		if err := c.transfer(func() error { return refusedFirst(r, verb, i%2 == 0) }); err != nil {
			return err
		}
	}
	file := fmt.Sprint("down", i)
	down, up := content(file, size), content(fmt.Sprint("up", i), size)
	if err := os.WriteFile(filepath.Join(s.root, file), down, 0o644); err != nil {
		return err
	}
	return c.transfer(func() error {
		got, err := r.get(verb, file)
		if err == nil && !bytes.Equal(got, down) {
			err = fmt.Errorf("download: %d bytes that are not its file", len(got))
		}
		if err != nil {
			return err
		}
		if err := r.put(verb, fmt.Sprint("up", i), up); err != nil {
			return err
		}
		if got, err = os.ReadFile(filepath.Join(s.root, fmt.Sprint("up", i))); err == nil && !bytes.Equal(got, up) {
			err = fmt.Errorf("upload: the server has %d bytes that are not its file", len(got))
		}
		return err
	})
}

// refusedFirst asks for a file that is not there, before or after it has opened
// the data connection.
func refusedFirst(r *raw, verb string, connects bool) error {
	d, err := r.agree(verb)
	if err != nil {
		return err
	}
	defer d.Close()
	if connects {
		if err := r.connect(d); err != nil {
			return err
		}
	}
	_, err = r.expect(550, "RETR nothing") // That leaves the data connection as it is.
	return err
}
