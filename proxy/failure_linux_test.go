package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftproxy/config"
	"ftproxy/internal/portpool"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// A row sets the timers that it is about to failTimer and all others of the
// harness to never, so it ends by its own timer or not at all. No row has to do
// anything within failTimer, which is long because the proxy itself has to move
// something before it sees a stall; they wait side by side.
const failTimer = 3 * time.Second

// expiring is a set of timers.
type expiring uint

const (
	afterStall expiring = 1 << iota
	afterLinger
	afterFinal
)

func (e expiring) has(timer expiring) bool { return e&timer != 0 }

// sideBySide is how many failures happen at a time.
const sideBySide = 64

// sight is how a data connection ends for a peer.
type sight string

const (
	itself   sight = ""      // its own end is closed
	sawReset sight = "reset" // aborted
	sawEnd   sight = "end"   // the end of the file
)

// A failure is one way for one side to fail in the middle of a transfer, and
// what everybody must see of it.
type failure struct {
	name string
	fail func(*scene)
	// first is what else the sender does before the two ends are joined.
	first func(*scene, *net.TCPConn)
	// goesOn: the sender sends from then on until it is stopped.
	goesOn bool

	client, server sight  // of the data connections
	says, hears    string // the server, then the client; "" is silence
	late           string // what a silent server says in the end
	reason         string // of the session's end; "" means that it goes on

	result string // in log and metrics
	code   int
	after  expiring // the timers that it waits for, one after the other
}

const ours426 = "426 Connection closed; transfer aborted."

// failures are the cells of {client, server} × {download, upload} × {reset, end,
// stall, control connection lost}, each with every joint of modes. Where the
// server is asked what it makes of it there is a row for each kind of answer:
// its own 4xx is the final reply, a success would be a lie, silence ends with
// timer linger.
var failures = []struct {
	direction transfer.Direction
	who       transfer.Side
	how       []failure
}{
	{transfer.Download, transfer.ClientSide, []failure{
		{name: "reset", fail: resetsData, server: sawReset, says: "426 broken", hears: "426 broken", result: "client", code: 426},
		{name: "reset, server says 226", fail: resetsData, server: sawReset, says: "226 done", hears: ours426, result: "client", code: 426},
		// A 5xx would blame the file: "550 f: Broken pipe".
		{name: "reset, server says 550", fail: resetsData, server: sawReset, says: "550 f: broken pipe", hears: ours426, result: "client", code: 426},
		{name: "reset, server silent", fail: resetsData, server: sawReset, hears: ours426, late: "226 done", result: "client", code: 426, after: afterLinger},
		// Its kernel answers what comes after its FIN with a reset.
		{name: "end", fail: closesData, goesOn: true, server: sawReset, says: "426 broken", hears: "426 broken", result: "client", code: 426},
		{name: "end, server says 226", fail: closesData, goesOn: true, server: sawReset, says: "226 done", hears: ours426, result: "client", code: 426},
		// Closing with unread bytes is a reset: it did not take everything (H12).
		{name: "end with unread data", fail: closesUnread, server: sawReset, says: "226 done", hears: ours426, result: "client", code: 426},
		// A downloading client has nothing to send: its FIN alone means nothing.
		{name: "half-close", fail: halfClosesAndWaits, client: sawEnd, says: "226 done", hears: "226 done", result: "ok", code: 226},
		// All was acknowledged, so the client's FIN or reset is no failure (H56).
		{name: "reset after all was delivered", fail: resetsDelivered, says: "226 done", hears: "226 done", result: "ok", code: 226},
		{name: "stall", first: sendsOn, fail: stalls, client: sawReset, server: sawReset, says: "426 broken", hears: "426 broken", result: "client", code: 426, after: afterStall},
		{name: "stall, server says 226", first: sendsOn, fail: stalls, client: sawReset, server: sawReset, says: "226 done", hears: ours426, result: "client", code: 426, after: afterStall},
		{name: "stall, server silent", first: sendsOn, fail: stalls, client: sawReset, server: sawReset, hears: ours426, late: "426 late", result: "client", code: 426, after: afterStall | afterLinger},
		// The server had its say; nobody can tell the client that it was wrong.
		{name: "stall after the server's 226", first: sendsAll, fail: finalThenStalls, client: sawReset, hears: ours426, result: "client", code: 426, after: afterStall},
		{name: "control closed", fail: closesControl, client: sawReset, server: sawReset, reason: endClientGone, result: "client", code: 426},
		{name: "control reset", fail: resetsControl, client: sawReset, server: sawReset, reason: endClientGone, result: "client", code: 426},
		{name: "control closed, stalled", fail: closesControl, goesOn: true, client: sawReset, server: sawReset, reason: endClientGone, result: "client", code: 426},
	}},
	{transfer.Download, transfer.ServerSide, []failure{
		{name: "reset", fail: resetsData, client: sawReset, says: "426 broken", hears: "426 broken", result: "server", code: 426},
		// It was the server that failed, so whatever it says of it is right.
		{name: "reset, server says 550", fail: resetsData, client: sawReset, says: "550 f: input/output error", hears: "550 f: input/output error", result: "server", code: 550},
		{name: "reset, server says 226", fail: resetsData, client: sawReset, says: "226 done", hears: ours426, result: "server", code: 426},
		{name: "reset, server silent", fail: resetsData, client: sawReset, hears: ours426, late: "226 done", result: "server", code: 426, after: afterLinger},
		// What is still in our buffers is no longer worth anything.
		{name: "reset while the client is slow", fail: fillsThenResets, client: sawReset, says: "426 broken", hears: "426 broken", result: "server", code: 426},
		// In stream mode nobody can tell an early end from the end of the file
		// (RFC 959 §3.3): the server's own final reply decides.
		{name: "end, server says 226", fail: closesData, client: sawEnd, says: "226 done", hears: "226 done", result: "ok", code: 226},
		{name: "end, server says 426", fail: closesData, client: sawEnd, says: "426 broken", hears: "426 broken", result: "server", code: 426},
		{name: "end, server says 551", fail: closesData, client: sawEnd, says: "551 f: read error", hears: "551 f: read error", result: "server", code: 551},
		{name: "end, server silent", fail: closesData, client: sawEnd, hears: "451 |421 ", reason: endReply, result: "server", code: 451, after: afterFinal},
		// An end that nothing confirms is none: the client must not hear 226.
		{name: "end, control closed", fail: closesDataThenControl, client: sawEnd, hears: "426 |421 ", reason: endServerGone, result: "server", code: 426},
		// Its part is done: the tail is delivered, and the truth said (H12).
		{name: "control closed behind 226", fail: finalThenClosesControl, client: sawEnd, hears: "226 done|421 ", reason: endServerGone, result: "ok", code: 226},
		// The server's error comes while its data connection is open: it gets
		// the time to end that, and the client never sees a clean end.
		{name: "error without end", fail: saysError, client: sawReset, server: sawReset, hears: "451 read error", result: "server", code: 451, after: afterLinger},
		{name: "stall", fail: stalls, client: sawReset, server: sawReset, says: "426 broken", hears: "426 broken", result: "server", code: 426, after: afterStall},
		{name: "stall, server says 226", fail: stalls, client: sawReset, server: sawReset, says: "226 done", hears: ours426, result: "server", code: 426, after: afterStall},
		{name: "stall, server silent", fail: stalls, client: sawReset, server: sawReset, hears: ours426, late: "426 late", result: "server", code: 426, after: afterStall | afterLinger},
		{name: "control closed", fail: closesControl, client: sawReset, server: sawReset, hears: "426 |421 ", reason: endServerGone, result: "server", code: 426},
		{name: "control reset", fail: resetsControl, client: sawReset, server: sawReset, hears: "426 |421 ", reason: endServerGone, result: "server", code: 426},
		{name: "control ends with 421", fail: says421, client: sawReset, server: sawReset, hears: "421 going down", reason: endServer421, result: "server", code: 421},
	}},
	{transfer.Upload, transfer.ClientSide, []failure{
		// The reset must never become an end: half a file would be stored as a
		// whole one (H56).
		{name: "reset", fail: resetsData, server: sawReset, says: "426 broken", hears: "426 broken", result: "client", code: 426},
		{name: "reset, server says 226", fail: resetsData, server: sawReset, says: "226 done", hears: ours426, result: "client", code: 426},
		{name: "reset, server says 451", fail: resetsData, server: sawReset, says: "451 cut", hears: "451 cut", result: "client", code: 451},
		{name: "reset, server says 550", fail: resetsData, server: sawReset, says: "550 f: broken pipe", hears: ours426, result: "client", code: 426},
		{name: "reset, server silent", fail: resetsData, server: sawReset, hears: ours426, late: "226 done", result: "client", code: 426, after: afterLinger},
		{name: "reset while the server is slow", fail: fillsThenResets, server: sawReset, says: "226 done", hears: ours426, result: "client", code: 426},
		// The end was delivered before; what comes after it is no abort (H56).
		{name: "reset behind the end", fail: endsThenResets, server: sawEnd, says: "226 done", hears: "226 done", result: "ok", code: 226},
		// Nobody can tell it from the end of the file: what the server says
		// of what it got is the reply.
		{name: "end, server says 226", fail: closesData, server: sawEnd, says: "226 done", hears: "226 done", result: "ok", code: 226},
		{name: "end, server says 451", fail: closesData, server: sawEnd, says: "451 too short", hears: "451 too short", result: "server", code: 451},
		{name: "end, server silent", fail: closesData, server: sawEnd, hears: "451 |421 ", reason: endReply, result: "server", code: 451, after: afterFinal},
		{name: "stall", fail: stalls, client: sawReset, server: sawReset, says: "426 broken", hears: "426 broken", result: "client", code: 426, after: afterStall},
		{name: "stall, server says 226", fail: stalls, client: sawReset, server: sawReset, says: "226 done", hears: ours426, result: "client", code: 426, after: afterStall},
		{name: "stall, server silent", fail: stalls, client: sawReset, server: sawReset, hears: ours426, late: "426 late", result: "client", code: 426, after: afterStall | afterLinger},
		{name: "control closed", fail: closesControl, client: sawReset, server: sawReset, reason: endClientGone, result: "client", code: 426},
		{name: "control reset", fail: resetsControl, client: sawReset, server: sawReset, reason: endClientGone, result: "client", code: 426},
		{name: "control closed, sending", fail: closesControl, goesOn: true, client: sawReset, server: sawReset, reason: endClientGone, result: "client", code: 426},
		// All that the client wanted to send is here: it is delivered (H59).
		{name: "control closed behind the end", fail: endsThenClosesControl, server: sawEnd, says: "226 done", reason: endClientGone, result: "ok", code: 226},
	}},
	{transfer.Upload, transfer.ServerSide, []failure{
		{name: "reset", fail: resetsData, goesOn: true, client: sawReset, says: "452 disk full", hears: "452 disk full", result: "server", code: 452},
		{name: "reset of an idle upload", fail: resetsData, client: sawReset, says: "552 quota", hears: "552 quota", result: "server", code: 552},
		{name: "reset, server says 226", fail: resetsData, client: sawReset, says: "226 done", hears: ours426, result: "server", code: 426},
		{name: "reset, server silent", fail: resetsData, client: sawReset, hears: ours426, late: "452 late", result: "server", code: 426, after: afterLinger},
		// It took all that there was; how it closes is its affair.
		{name: "reset after all was delivered", fail: endsThenReceiverResets, says: "226 done", hears: "226 done", result: "ok", code: 226},
		{name: "end", fail: closesData, goesOn: true, client: sawReset, says: "452 disk full", hears: "452 disk full", result: "server", code: 452},
		{name: "end, server says 226", fail: closesData, goesOn: true, client: sawReset, says: "226 done", hears: ours426, result: "server", code: 426},
		// No byte moves that the server's kernel could refuse: its error ends it.
		{name: "end of an idle upload with 452", fail: closesDataSaysFull, client: sawReset, hears: "452 disk full", result: "server", code: 452, after: afterLinger},
		// A receiver has nothing to send: its FIN alone means nothing.
		{name: "half-close", fail: halfClosesAndWaits, server: sawEnd, says: "226 done", hears: "226 done", result: "ok", code: 226},
		{name: "stall", first: sendsOn, fail: stalls, client: sawReset, server: sawReset, says: "451 cut", hears: "451 cut", result: "server", code: 451, after: afterStall},
		{name: "stall, server says 226", first: sendsOn, fail: stalls, client: sawReset, server: sawReset, says: "226 done", hears: ours426, result: "server", code: 426, after: afterStall},
		{name: "stall, server silent", first: sendsOn, fail: stalls, client: sawReset, server: sawReset, hears: ours426, late: "426 late", result: "server", code: 426, after: afterStall | afterLinger},
		{name: "control closed", fail: closesControl, client: sawReset, server: sawReset, hears: "426 |421 ", reason: endServerGone, result: "server", code: 426},
		{name: "control closed, sending", fail: closesControl, goesOn: true, client: sawReset, server: sawReset, hears: "426 |421 ", reason: endServerGone, result: "server", code: 426},
		{name: "control reset", fail: resetsControl, client: sawReset, server: sawReset, hears: "426 |421 ", reason: endServerGone, result: "server", code: 426},
		{name: "control ends with 421", fail: says421, client: sawReset, server: sawReset, hears: "421 going down", reason: endServer421, result: "server", code: 421},
	}},
}

// What a side that fails does.

func stalls(*scene)          {} // but for what it has sent first
func resetsData(s *scene)    { reset(s.of(s.who)) }
func closesData(s *scene)    { _ = s.of(s.who).Close() }
func closesControl(s *scene) { _ = s.control(s.who).conn.Close() }
func resetsControl(s *scene) { reset(s.control(s.who).conn) }
func says421(s *scene)       { s.harness.server.say("421 going down") }
func saysError(s *scene)     { s.harness.server.say("451 read error") }

func closesUnread(s *scene) {
	s.send(1000)
	s.await("the rest arrives", func() bool { return unread(s.t, s.of(s.who)) == 1000 })
	_ = s.of(s.who).Close()
}

func closesDataThenControl(s *scene) {
	closesData(s)
	s.await("the end of the data is passed on", func() bool { return finished(s.t, s.clientData) })
	closesControl(s)
}

func closesDataSaysFull(s *scene) {
	closesData(s)
	s.harness.server.say("452 disk full")
}

func halfClosesAndWaits(s *scene) {
	_ = s.of(s.who).CloseWrite()
	s.send(1000)
	_ = s.of(s.sender()).Close()
}

// endsThenClosesControl leaves before the server has confirmed the upload.
func endsThenClosesControl(s *scene) {
	_ = s.clientData.Close()
	s.await("the end of the data is passed on", func() bool { return finished(s.t, s.serverData) })
	near, far := tcp.AddrPort(s.harness.client.conn.LocalAddr()), tcp.AddrPort(s.harness.client.conn.RemoteAddr())
	_ = s.harness.client.conn.Close()
	s.await("the proxy reads the end of control", func() bool { return allRead(s.t, far, near, tcpCloseWait) })
}

func resetsDelivered(s *scene) {
	_ = s.serverData.Close()
	s.await("the end of the data is passed on", func() bool { return finished(s.t, s.clientData) })
	reset(s.clientData)
}

// sendsOn sends until it is stopped, and more than the receiver's kernel takes
// before it returns.
func sendsOn(s *scene, sender *net.TCPConn) {
	s.fill(sender)
	s.inexact = true
	s.stopped = make(chan error, 1)
	go sendOn(sender, s.stopped)
}

// sendsAll sends more than the receiver's kernel takes, and the end.
func sendsAll(s *scene, sender *net.TCPConn) {
	s.sent += s.fill(sender)
	_ = sender.CloseWrite()
}

// fill sends what the sender's kernel takes for itself but a receiver's does not
// unless it is read.
func (s *scene) fill(sender *net.TCPConn) int {
	s.t.Helper()
	_ = sender.SetWriteBuffer(1 << 20)
	n, err := sender.Write(payload[:200_000])
	if err != nil {
		s.t.Fatalf("%s sends: %v", s.sender(), err)
	}
	return n
}

// fillsThenResets is a sender that resets while the receiver is behind, so that
// nobody reads from the sender at that moment.
func fillsThenResets(s *scene) {
	_ = s.of(s.receiver()).SetReadBuffer(4096)
	conn := s.of(s.sender())
	stopped := make(chan error, 1)
	go sendOn(conn, stopped)
	still, last := 0, uint64(0)
	s.await("the proxy takes no more", func() bool {
		acked := tcpInfo(s.t, conn).Bytes_acked
		if still++; acked != last {
			still, last = 0, acked
		}
		return still == 50
	})
	s.inexact = true
	reset(conn)
	<-stopped
}

// endsThenResets is an uploading client in a hurry.
func endsThenResets(s *scene) {
	_ = s.clientData.CloseWrite()
	s.await("the end of the data is passed on", func() bool { return finished(s.t, s.serverData) })
	reset(s.clientData)
}

func endsThenReceiverResets(s *scene) {
	_ = s.clientData.Close()
	s.await("the end of the data is passed on", func() bool { return finished(s.t, s.serverData) })
	reset(s.serverData)
}

func finalThenClosesControl(s *scene) {
	s.send(len(payload))
	_ = s.serverData.Close()
	s.harness.server.say("226 done")
	_ = s.harness.server.conn.Close()
}

// finalThenStalls is a server whose part is done while the client takes none.
func finalThenStalls(s *scene) {
	_ = s.serverData.SetReadDeadline(time.Now().Add(socketTimeout))
	if _, err := io.Copy(io.Discard, s.serverData); err != nil { // Our FIN: all was read.
		s.t.Fatal(err)
	}
	_ = s.serverData.Close()
	s.harness.server.say("226 done")
	// The client reads on only when it is too late.
	s.harness.client.hear(ours426)
	s.heard = true
}

func TestFailures(t *testing.T) {
	noGoroutineStays(t)
	var waiting sync.WaitGroup
	places := make(chan struct{}, sideBySide)
	for _, cell := range failures {
		for i, f := range cell.how {
			for _, j := range jointsOf(i) {
				places <- struct{}{}
				waiting.Go(func() {
					defer func() { <-places }()
					t.Run(fmt.Sprintf("%s/%s/%s/%s", cell.direction, cell.who, f.name, j), func(t *testing.T) {
						newScene(t, cell.direction, cell.who, j, &f).run(&f)
					})
				})
			}
		}
	}
	waiting.Wait()
}

// A scene is a transfer in which part of the file has arrived.
type scene struct {
	*harness
	direction              transfer.Direction
	who                    transfer.Side // that fails
	joint                  joint
	joined                 transfer.Modes   // of its data connection
	public, inside         config.PortRange // for the leases
	kept                   int              // sockets of the proxy's that a transfer leaves open
	began                  time.Time        // before the first byte was sent
	clientData, serverData *net.TCPConn
	sent                   int
	stopped                chan error // of a sender that goes on
	heard                  bool       // the final reply was heard already
	inexact                bool       // more was sent than is counted
}

func newScene(t *testing.T, d transfer.Direction, who transfer.Side, j joint, f *failure) *scene {
	t.Helper()
	s := &scene{direction: d, who: who, joint: j}
	s.harness = playJoint(t, j, func(c *config.Config) {
		for timer, at := range map[expiring]*time.Duration{
			afterStall: &c.Timeouts.DataStall, afterLinger: &c.Timeouts.Linger, afterFinal: &c.Timeouts.FinalReply,
		} {
			if *at = never; f.after.has(timer) {
				*at = failTimer
			}
		}
		if j.hurried(d) {
			c.Timeouts.DataStall *= 3
		}
		s.public, s.inside = c.Frontends[0].PassivePorts, c.Backends[0].DataPorts
	})
	if err := setOOBInline(s.harness.server.conn); err != nil { // It may hear a Telnet synch.
		t.Fatal(err)
	}
	s.kept = s.harness.sockets.open()
	s.began = time.Now()
	s.open(func(sender *net.TCPConn) {
		s.sent = s.write(sender, 1000)
		if f.first != nil {
			f.first(s, sender)
		}
	})
	s.joined = s.agreed
	receiver := s.of(s.receiver())
	_ = receiver.SetReadDeadline(time.Now().Add(socketTimeout))
	if _, err := io.ReadFull(receiver, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens both ends of a data connection behind what its sender sends.
func (s *scene) open(sending func(*net.TCPConn)) {
	s.t.Helper()
	command := "RETR f"
	if s.direction == transfer.Upload {
		command = "STOR f"
	}
	s.clientData, s.serverData = s.harness.openBehind(sending, s.direction, s.joint, command)
}

func (s *scene) of(who transfer.Side) *net.TCPConn {
	if who == transfer.ClientSide {
		return s.clientData
	}
	return s.serverData
}

func (s *scene) control(who transfer.Side) *actor {
	if who == transfer.ClientSide {
		return s.harness.client
	}
	return s.harness.server
}

func (s *scene) sender() transfer.Side {
	if s.direction == transfer.Upload {
		return transfer.ClientSide
	}
	return transfer.ServerSide
}

func (s *scene) receiver() transfer.Side {
	if s.direction == transfer.Upload {
		return transfer.ServerSide
	}
	return transfer.ClientSide
}

// send sends n bytes.
func (s *scene) send(n int) {
	s.t.Helper()
	s.sent += s.write(s.of(s.sender()), n)
}

func (s *scene) write(sender *net.TCPConn, n int) int {
	s.t.Helper()
	if _, err := sender.Write(payload[:n]); err != nil {
		s.t.Fatalf("%s sends: %v", s.sender(), err)
	}
	return n
}

// run plays the failure and looks at everything that it must be seen by.
func (s *scene) run(f *failure) {
	began := time.Now()
	if f.after.has(afterStall) { // It may have begun with the first byte.
		began = s.began
	}
	f.fail(s)
	if f.goesOn {
		s.inexact = true
		s.stopped = make(chan error, 1)
		go sendOn(s.of(s.sender()), s.stopped)
	}
	// A receiver that stalls reads on only when the sender was stopped.
	want := map[transfer.Side]sight{transfer.ClientSide: f.client, transfer.ServerSide: f.server}
	received := int64(-1)
	for _, who := range []transfer.Side{s.sender(), s.receiver()} {
		if want[who] == itself {
			continue
		}
		got, n := s.see(who)
		if got != want[who] {
			s.t.Errorf("%s sees %q, want %q", who, got, want[who])
		}
		if who == s.receiver() && got == sawEnd {
			received = 1000 + n
		}
	}
	if received >= 0 && received != int64(s.sent) {
		s.t.Errorf("%s got %d bytes and a clean end, want %d", s.receiver(), received, s.sent)
	}
	s.speak(f)
	if took, least := time.Since(began), failTimer*time.Duration(bits.OnesCount(uint(f.after))); took < least {
		s.t.Errorf("it took %v, want %v at least", took, least)
	}
	s.wantRecord(f)
	_ = s.clientData.Close()
	_ = s.serverData.Close()
	if f.reason == "" {
		s.goOn()
	} else {
		_ = s.harness.client.conn.Close()
		_ = s.harness.server.conn.Close()
		s.kept -= 2
		s.wantMetric(fmt.Sprintf(`ftproxy_sessions_ended_total{frontend="public",reason="%s"}`, f.reason), 1)
	}
	s.wantReleased()
}

// speak plays the control connections to the final reply, or to their end.
func (s *scene) speak(f *failure) {
	s.t.Helper()
	client, server := s.harness.client, s.harness.server
	if f.says != "" {
		server.say(f.says)
	}
	if f.hears != "" && !s.heard {
		for line := range strings.SplitSeq(f.hears, "|") {
			client.hear(line)
		}
	}
	switch {
	case f.late != "":
		// It must not become the answer to what the client says meanwhile.
		server.hear("NOOP") // the barrier
		client.say("NOOP")
		s.await("the proxy reads NOOP", func() bool {
			return allRead(s.t, tcp.AddrPort(client.conn.RemoteAddr()), tcp.AddrPort(client.conn.LocalAddr()), tcpEstablished)
		})
		server.say(f.late + "\r\n200 barrier")
		server.hear("NOOP")
		server.say("200 next")
		client.hear("200 next")
	case f.reason == endClientGone && f.result == "client":
		// A client that is gone is ABOR and logout (H59).
		if got := server.hear(""); !strings.HasSuffix(got, "ABOR") {
			s.t.Errorf("server hears %q, want ABOR", got)
		}
		server.hearEnd()
	case f.reason == endClientGone:
		server.hearEnd()
	case f.reason != "":
		client.hearEnd()
	}
}

// see waits for the end of a data connection and tells how many bytes came
// before it.
func (s *scene) see(who transfer.Side) (sight, int64) {
	s.t.Helper()
	if who == s.sender() && s.stopped != nil {
		select { // The error of a connection can be taken only once.
		case err := <-s.stopped:
			if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
				return sawReset, 0
			}
			s.t.Fatalf("%s sends: %v", who, err)
		case <-time.After(socketTimeout):
			s.t.Fatalf("%s is not stopped", who)
		}
	}
	conn := s.of(who)
	_ = conn.SetReadDeadline(time.Now().Add(socketTimeout))
	n, err := io.Copy(io.Discard, conn)
	switch {
	case err == nil:
		return sawEnd, n
	case errors.Is(err, syscall.ECONNRESET):
		return sawReset, n
	}
	s.t.Fatalf("%s reads: %v", who, err)
	return itself, 0
}

// sendOn sends until that fails.
func sendOn(conn net.Conn, stopped chan<- error) {
	for {
		if _, err := conn.Write(payload); err != nil {
			stopped <- err
			return
		}
	}
}

// wantRecord expects one transfer in log and metrics, with the same story.
func (s *scene) wantRecord(f *failure) {
	s.t.Helper()
	if f.reason == endClientGone { // An upload may be a part of a file, whatever the server says.
		s.wantLog(`"client_gone":true`)
	}
	s.wantLog(fmt.Sprintf(`"client_mode":"%s","server_mode":"%s"`, s.joined.Client, s.joined.Server))
	s.wantLog(fmt.Sprintf(`"direction":"%s"`, s.direction), fmt.Sprintf(`"result":"%s"`, f.result), fmt.Sprintf(`"code":%d`, f.code))
	var bytes int64
	for line := range strings.Lines(s.logs.String()) {
		if strings.Contains(line, `"message":"transfer"`) {
			_, after, _ := strings.Cut(line, `"bytes":`)
			number, _, _ := strings.Cut(after, ",")
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil {
				s.t.Fatalf("no bytes in the log: %s", line)
			}
			bytes = n
		}
	}
	switch {
	case !s.inexact && bytes != int64(s.sent), bytes < int64(s.sent):
		s.t.Errorf("the log has %d bytes, want %d (or more: %t)", bytes, s.sent, s.inexact)
	}
	for _, result := range []string{"ok", "client", "server", "proxy"} {
		want := 0
		if result == f.result {
			want = 1
		}
		s.wantMetric(fmt.Sprintf(`ftproxy_transfers_total{direction="%s",result="%s"}`, s.direction, result), int64(want))
	}
	s.wantMetric(fmt.Sprintf(`ftproxy_transfer_bytes_total{direction="%s"}`, s.direction), bytes)
	s.wantMetric(fmt.Sprintf(`ftproxy_transfers_active{direction="%s"}`, s.direction), 0)
}

func (s *scene) wantMetric(name string, want int64) {
	s.t.Helper()
	var got float64
	s.await(fmt.Sprintf("%s is %d", name, want), func() bool {
		page := httptest.NewRecorder()
		s.process.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		got = 0
		for line := range strings.Lines(page.Body.String()) {
			if value, found := strings.CutPrefix(line, name+" "); found {
				got, _ = strconv.ParseFloat(strings.TrimSpace(value), 64)
			}
		}
		return got == float64(want)
	})
}

// goOn plays another transfer in the same session: replies are in step, and the
// port is there.
func (s *scene) goOn() {
	s.t.Helper()
	s.open(func(sender *net.TCPConn) {
		s.write(sender, 1000)
		_ = sender.CloseWrite()
	})
	to := s.of(s.receiver())
	wantData(s.t, "the next receiver", to, payload[:1000])
	_ = to.Close()
	s.harness.server.say("226 next done")
	s.harness.client.hear("226 next done")
}

// wantReleased expects that the failure has left nothing: no socket, and a port
// that somebody else may have at once.
func (s *scene) wantReleased() {
	s.t.Helper()
	s.await("the sockets are closed", func() bool { return s.harness.sockets.open() <= s.kept })
	if s.joint.client == "passive" {
		s.wantFree(s.public, s.joint.client6, false)
	}
	if s.joint.server == "active" {
		s.wantFree(s.inside, s.joint.server6, true)
	}
}

func (s *scene) wantFree(ports config.PortRange, ipv6, hold bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), socketTimeout)
	defer cancel()
	lo := loopback(ipv6)
	lease, err := s.process.ports.Lease(ctx, portpool.Request{
		Local: lo, Ports: portpool.Range(ports), Peer: netip.PrefixFrom(lo, lo.BitLen()), Hold: hold,
	})
	if err != nil {
		s.t.Errorf("port %v is not free: %v", ports, err)
		return
	}
	_ = lease.Close()
}

// await waits until cond holds.
func (s *scene) await(what string, cond func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(socketTimeout)
	for !cond() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s", socketTimeout, what)
		}
		<-time.After(time.Millisecond)
	}
}

// unread is how many bytes wait in a connection's receive queue.
func unread(t *testing.T, conn *net.TCPConn) (n int) {
	t.Helper()
	inspect(t, conn, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.SIOCINQ)
		return err
	})
	return n
}

// finished tells whether the peer's FIN is here.
func finished(t *testing.T, conn *net.TCPConn) bool {
	t.Helper()
	return tcpInfo(t, conn).State == tcpCloseWait
}

func tcpInfo(t *testing.T, conn *net.TCPConn) (info *unix.TCPInfo) {
	t.Helper()
	inspect(t, conn, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	return info
}

func inspect(t *testing.T, conn *net.TCPConn, look func(fd int) error) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = look(int(fd)) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// States of a socket in /proc/net/tcp and TCP_INFO.
const (
	tcpEstablished = 1
	tcpCloseWait   = 8 // the peer's FIN is here
)

// allRead tells whether the owner of a connection has read all that came, a FIN
// included, where the connection is in that state.
func allRead(t *testing.T, local, remote netip.AddrPort, state int) bool {
	t.Helper()
	table := "/proc/net/tcp"
	if local.Addr().Is6() {
		table = "/proc/net/tcp6"
	}
	text, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	hex := func(a netip.AddrPort) (text string) {
		for word := range slices.Chunk(a.Addr().AsSlice(), 4) { // as little-endian numbers
			text += fmt.Sprintf("%02X%02X%02X%02X", word[3], word[2], word[1], word[0])
		}
		return fmt.Sprintf("%s:%04X", text, a.Port())
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 && f[1] == hex(local) && f[2] == hex(remote) {
			return f[3] == fmt.Sprintf("%02X", state) && strings.HasSuffix(f[4], ":00000000")
		}
	}
	return true // closed
}
