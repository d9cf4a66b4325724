//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A bench is one run of the program.
type bench struct {
	plan    plan
	self    string // this program
	ftproxy string // binaries
	against string
	cache   string // where peers.sh put them
	dir     string // temporary
	part    bool   // only some modes are asked for
	log     io.Writer

	loop        *loop
	payload     payload
	cert        *certificate
	stub        *stub
	pinned      bool
	cores       []int // that this process may use
	descriptors int   // that each process may have

	peers    []peer
	versions map[string]string // by peer; why not, for those that are absent
	absent   map[string]bool   // by peer, and by way for those that do not run with TLS
	running  []*instance
	started  int

	interrupted atomic.Bool
	results     results
}

// unprivileged is the user that ftproxy runs as, when this is root: nobody has
// the number, so nobody else has pipes in its account.
const unprivileged = 64123

// stubAddr is where the stub listens. Instances of peers get addresses from
// 127.0.0.10 up, so that all of them can map the stub's ports one to one.
const stubAddr = "127.0.0.2"

// newBench prepares the load and finds the peers.
func newBench(b *bench) (*bench, error) {
	b.versions = make(map[string]string)
	b.absent = make(map[string]bool)
	var err error
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if b.cache == "" {
		b.cache = peersCache()
	}
	if b.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // ftproxy is another user
		return nil, err
	}
	sweep()
	b.descriptors = raiseLimit()
	b.plan.most = b.most()
	if b.cores, err = allowedCores(); err != nil {
		return nil, err
	}
	b.pinned = len(b.cores) >= 2
	if b.pinned {
		if err := pinAll(b.cores[1]); err != nil {
			return nil, err
		}
	}
	if b.loop, err = newLoop(&b.interrupted); err != nil {
		return nil, err
	}
	if b.payload, err = newPayload(); err != nil {
		return nil, err
	}
	if b.cert, err = newCertificate(b.dir); err != nil {
		return nil, err
	}
	// All ports are below the usual ephemeral range, and free.
	for k := range 10 {
		first := 22000 + (os.Getpid()+k)%10*1000
		b.stub, err = newStub(b.loop, b.payload, b.cert, [4]byte{127, 0, 0, 2}, first+stubPorts, first)
		if err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	for _, p := range b.peers {
		if p.version == nil {
			continue
		}
		version, err := p.version(b)
		b.versions[p.name] = version
		if err != nil {
			b.versions[p.name] = "not installed"
			b.absent[p.name] = true
		}
	}
	b.peers = slices.DeleteFunc(b.peers, func(p peer) bool { return p.name == other && b.against == "" })
	return b, nil
}

func (b *bench) close() {
	for len(b.running) > 0 {
		b.running[0].stop()
	}
	if b.stub != nil {
		b.loop.close()
		b.stub.close()
		b.payload.close()
	}
	os.RemoveAll(b.dir)
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }

// An instance is a peer that runs.
type instance struct {
	peer
	way   protection
	b     *bench
	to    unix.SockaddrInet4
	first int // passive ports
	last  int
	group *group
	cmd   *exec.Cmd
	ended chan struct{} // closed when the first process has ended
	log   *os.File
}

// starting bounds how long a peer may take until it greets.
const starting = 30 * time.Second

// start runs a peer with so many passive ports and waits until it greets.
func (b *bench) start(p peer, way protection, ports int) (*instance, error) {
	i := &instance{peer: p, way: way, b: b, first: b.stub.first, last: b.stub.first + ports - 1}
	if p.name == direct && way != inClear {
		p.command = stubCommand
	}
	if p.command == nil {
		i.to = unix.SockaddrInet4{Addr: b.stub.addr, Port: b.stub.port}
		return i, nil
	}
	b.started++
	i.to = unix.SockaddrInet4{Addr: [4]byte{127, 0, byte(b.started / 200), byte(10 + b.started%200)}, Port: b.stub.port + 1}
	dir := filepath.Join(b.dir, fmt.Sprintf("%s-%d", p.name, b.started))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	command, err := p.command(b, settings{
		addr: dotted(i.to.Addr), port: i.to.Port, first: i.first, last: i.last, inside: b.stub.port + 100,
		server: stubAddr, serverPort: b.stub.port, way: way,
	}, dir)
	if err != nil {
		return nil, err
	}
	i.group = newGroup(groupName(b.started))
	args := []string{"launch", "-groups", strings.Join(i.group.dirs, ":")}
	if b.pinned {
		args = append(args, "-cpu", fmt.Sprint(b.cores[0]))
	}
	if os.Getuid() == 0 && (p.name == ours || p.name == other) {
		args = append(args, "-uid", fmt.Sprint(unprivileged))
	}
	i.cmd = exec.Command(b.self, append(append(args, "--"), command...)...)
	// Programs log as they would; only the end of what mod_proxy and HAProxy
	// say before they are ready is of use.
	if p.name != ours && p.name != other {
		if i.log, err = os.Create(filepath.Join(dir, "stderr")); err != nil {
			return nil, err
		}
		i.cmd.Stderr = i.log
	}
	i.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := i.cmd.Start(); err != nil {
		i.group.kill()
		return nil, err
	}
	i.group.root = i.cmd.Process.Pid
	i.ended = make(chan struct{})
	go i.wait()
	b.running = append(b.running, i)
	if err := i.greets(); err != nil {
		reason := i.complaint()
		i.stop()
		return nil, fmt.Errorf("%s did not start: %w %s", p.name, err, reason)
	}
	return i, nil
}

// user is a client of the instance.
func (i *instance) user(t *task) *user {
	u := newUser(t, i.to, [4]byte{}, i.b.payload)
	if i.way != inClear {
		u.cert = i.b.cert
	}
	return u
}

func (i *instance) wait() {
	i.cmd.Wait() // how it ends says nothing: it is killed
	close(i.ended)
}

// greets waits until the instance takes a session.
func (i *instance) greets() error {
	l := i.b.loop
	end := time.Now().Add(starting)
	for {
		var err error
		done := false
		t := l.spawn(func(t *task) {
			u := i.user(t)
			err = u.visit()
			done = true
		})
		if !l.run(5*time.Second, func() bool { return done }) {
			l.cancel(t)
			err = errors.New("no greeting")
		}
		if err == nil {
			return nil
		}
		select {
		case <-i.ended:
			return errors.New("it has ended")
		default:
		}
		if i.b.interrupted.Load() || time.Now().After(end) {
			return err
		}
		l.sleep(10 * time.Millisecond)
	}
}

// complaint is the end of what the instance wrote to its standard error, without
// paths of this machine.
func (i *instance) complaint() string {
	if i.log == nil {
		return ""
	}
	text, _ := os.ReadFile(i.log.Name())
	return strings.TrimSpace(paths.ReplaceAllString(string(text[max(0, len(text)-500):]), ""))
}

// stop ends all processes of the instance.
func (i *instance) stop() {
	i.b.running = slices.DeleteFunc(i.b.running, func(r *instance) bool { return r == i })
	if i.cmd == nil {
		return
	}
	i.group.kill()
	syscall.Kill(-i.cmd.Process.Pid, syscall.SIGKILL)
	<-i.ended
	if i.log != nil {
		i.log.Close()
	}
}

// cpu returns what the instance has used so far; direct uses nothing.
func (i *instance) cpu() time.Duration {
	if i.group == nil {
		return 0
	}
	used, err := i.group.cpuTime()
	if err != nil {
		return 0
	}
	return used
}

func dotted(a [4]byte) string { return fmt.Sprintf("%d.%d.%d.%d", a[0], a[1], a[2], a[3]) }

// raiseLimit allows this process, and those that it starts, as many descriptors
// as it can, and returns how many.
func raiseLimit() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	for _, most := range []uint64{max(limit.Max, 100_000), limit.Max} {
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: most}) == nil {
			return int(min(most, 1<<20))
		}
	}
	return int(min(limit.Cur, 1<<20))
}

// most is how many sessions the load, and a proxy that is one process, have
// descriptors for.
func (b *bench) most() int { return (b.descriptors - 2*stubPorts - 4*runningMost - keptBack) / 2 }

// runningMost is how many transfers run at once at most, with some to spare: each
// has two connections and a pipe.
const runningMost = 600

// keptBack is what ftproxy keeps of the descriptors for sessions that run, and for the rest.
const keptBack = 600

// allowedCores lists the cores that this process may use.
func allowedCores() (all []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	for i := range 1024 {
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all, nil
}

// pinAll keeps all threads of this process on some cores; new threads inherit.
func pinAll(cores ...int) error {
	var set unix.CPUSet
	for _, c := range cores {
		set.Set(c)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		var id int
		if _, err := fmt.Sscan(t.Name(), &id); err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("sched_setaffinity: %w", err)
		}
	}
	return nil
}
