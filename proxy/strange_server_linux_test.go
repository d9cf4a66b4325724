package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/metrics"
	"ftproxy/internal/tcp"
	"ftproxy/rewrite"
)

// Peers that misbehave one way at a time, on real sockets. Most of it is said
// in more detail by dialogues; this is where to find what (a name in quotes is
// a file in testdata/dialogues, one with * several):
//
//	server: multi-line, other codes    TestStrangeReplies, "h01-multi-line-other-codes"
//	server: 227 in the text            TestStrangeReplies, "h02-227-in-*", "h03-*", "h06-227-text-kept"
//	server: blank lines                TestStrangeReplies, "h18-odd-line-ends", "h19-*-of-blank-lines"
//	server: lines of 20 kB             TestStrangeReplies, "h19-reply-line-too-long"
//	server: 5,000 lines                TestStrangeReplies, "h19-long-reply-streamed", "h19-reply-above-16-mib"
//	server: code only                  TestStrangeReplies, "h01-bare-code-ends-multi-line"
//	server: bare LF                    TestStrangeReplies, "h18-odd-line-ends"
//	server: byte by byte               TestStrangeReplies, "h18-reply-byte-by-byte"
//	server: 8-bit text                 TestStrangeReplies, "h18-reply-byte-by-byte"
//	server: 150 and 226 at once        TestStrangeTransfers, "h11-*"
//	server: 226 before the data        TestStrangeTransfers, "h12-226-held-*"
//	server: 226 without 150            TestStrangeTransfers, "h58-226-without-150*"
//	server: waits for the connection   TestStrangeTransfers, "h51-*"
//	server: 550 after accepting        TestStrangeTransfers, "h14-*"
//	server: never greets               TestStrangeGreetings, "h17-greeting-none", "h17-greeting-timeout"
//	server: greets 120                 TestStrangeGreetings, "h17-greeting-120*"
//	server: greets 421                 TestStrangeGreetings, "two-servers/h17-first-greets-421", "h17-greeting-refused*"
//	server: lines that are no reply    TestStrangeGreetings, "h88-*"
//	server: closes after each verb     TestServerClosesAfterVerb, "server-eof-*"
//	server: unsolicited replies   TestUnsolicitedReplies, "h15-*", "h16-421-idle"
//	server: 227 of a third host        TestServerNamesAnotherHost, "h09-foreign-address"
//	server: 227 of 0.0.0.0             TestServerNamesAnotherHost, "h09-foreign-address"
//	client: pipelines everything       TestClientPipelinesEverything, "h30-*"
//	client: byte by byte               TestStrangeCommands, "h23-line-framing"
//	client: bare LF                    TestStrangeCommands, "h23-line-framing"
//	client: lower case                 TestStrangeCommands, "h29-case-and-aliases"
//	client: 8-bit names                TestStrangeCommands, "h26-ff-in-arguments", "h28-bytes-are-sacred"
//	client: TLS on the plain port      TestStrangeCommands, "h29-garbage"
//	client: half-closes after QUIT     TestHalfCloseBehindQUIT, "quit-half-close"
//	client: data before 150            TestStrangeClients, "data-early-upload"
//	client: connects late              TestStrangeClients, "data-client-connects-late"
//	client: never connects             TestStrangeClients, "data-connect-timer-client", "h48-*"
//	client: one byte a second          TestStrangeClients, "h60-stalled-data-and-control", "client-slow", "timer-client-write"
//	client: lines of 8,192 bytes       TestStrangeCommands, "h24-long-line"
//	client: NUL, bare CR               TestStrangeCommands, "h23-control-characters-refused"
//	client: all forms of ABOR          TestFormsOfABOR, TestUrgentABOR, "h32-*"
//	client: bounce, PORT below 1024    TestBounce, "h41-*"
//	strangers, passive                 TestStrangers, "h52-stranger-*", "data-second-peer-on-the-port"
//	strangers, active                  TestStrangers, "h52-stranger-at-the-inside-port", "server6/data-stranger"
//
// Some rest on a line or two that nothing else here touches, so break these to
// see them fail: lower case, parseVerb; 8-bit names, parseCommand; 8-bit text,
// maskControls; TLS, the first case of parseCommand (all in internal/ftp); one
// byte of a reply a second, peer.limitWrite.

// strangerAddr is a machine that has nothing to do with a session: on Linux all
// of 127.0.0.0/8 is loopback.
const strangerAddr = "127.0.0.2"

// inPieces is how a peer sends: all at once, or byte by byte.
func inPieces(t *testing.T, test func(t *testing.T, send func(a *actor, text string))) {
	t.Run("at once", func(t *testing.T) {
		test(t, func(a *actor, text string) { a.sendRaw(text) })
	})
	t.Run("byte by byte", func(t *testing.T) {
		test(t, func(a *actor, text string) {
			n := len(text)/1000 + 1 // Long ones in a thousand pieces.
			for piece := range slices.Chunk([]byte(text), n) {
				a.sendRaw(string(piece))
			}
		})
	})
}

func (a *actor) sendRaw(text string) {
	a.t.Helper()
	if _, err := a.conn.Write([]byte(text)); err != nil {
		a.t.Fatalf("%s sends %.100q: %v", a.name, text, err)
	}
}

// hearRaw expects exactly this text.
func (a *actor) hearRaw(want string) {
	a.t.Helper()
	_ = a.conn.SetReadDeadline(time.Now().Add(socketTimeout))
	got := make([]byte, len(want))
	n, err := io.ReadFull(a.r, got)
	if err != nil || string(got) != want {
		a.t.Fatalf("%s hears %.300q (%v), want %.300q", a.name, got[:n], err, want)
	}
}

// stillWorks expects that nothing is out of step.
func (th *harness) stillWorks() {
	th.t.Helper()
	th.client.say("SITE still there?")
	th.server.hear("SITE still there?")
	th.server.say("200 still here")
	th.client.hear("200 still here")
}

func TestStrangeReplies(t *testing.T) {
	long := strings.Repeat("x", 20_000)
	lines := strings.Repeat("211-one of many\r\n 227 (127,0,0,1,4,1)\r\n", 2500)
	tests := []struct{ name, says, hears string }{
		{"multi-line with other codes", "211-a\r\n226 b\r\n421 c\r\n211-d\r\n2119 e\r\n211 f\r\n", "211-a\r\n226 b\r\n421 c\r\n211-d\r\n2119 e\r\n211 f\r\n"},
		{"227 in the text", "211-Connected\r\n227 Entering Passive Mode (127,0,0,1,4,1)\r\n211 end\r\n", "211-Connected\r\n227 Entering Passive Mode (127,0,0,1,4,1)\r\n211 end\r\n"},
		{"227 to another command", "227 Entering Passive Mode (1,2,3,4,5,6).\r\n", "227 Entering Passive Mode (1,2,3,4,5,6).\r\n"},
		{"blank lines within", "211-a\r\n\r\n\n211 b\r\n", "211-a\r\n\r\n\r\n211 b\r\n"},
		{"blank lines before", "\r\n\r\n200 a\r\n", "200 a\r\n"},
		{"20 kB line", "200 " + long + "\r\n", "200 " + long + "\r\n"},
		{"20 kB line within", "211-a\r\n" + long + "\r\n211 b\r\n", "211-a\r\n" + long + "\r\n211 b\r\n"},
		{"5,000 lines", lines + "211 end\r\n", lines + "211 end\r\n"},
		{"code only", "200\r\n", "200 \r\n"},
		{"code only ends", "211-a\r\n211\r\n", "211-a\r\n211 \r\n"},
		{"bare LF", "211-a\nb\n211 c\n", "211-a\r\nb\r\n211 c\r\n"},
		{"CR CR LF", "200 a\r\r\n", "200 a\r\n"},
		{"8-bit text", "200 \xe4\xff\xff\xfe\r\n", "200 \xe4\xff\xff\xfe\r\n"},
	}
	inPieces(t, func(t *testing.T, send func(*actor, string)) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				th := play(t, nil)
				th.client.say("SITE x")
				th.server.hear("SITE x")
				sent := make(chan struct{})
				go func() { // The proxy waits for the client where the reply is long.
					defer close(sent)
					send(th.server, tt.says)
				}()
				th.client.hearRaw(tt.hears)
				<-sent
				th.stillWorks()
			})
		}
	})
}

func TestStrangeTransfers(t *testing.T) {
	send := func(conn *net.TCPConn) {
		_, _ = conn.Write(payload)
		_ = conn.Close()
	}
	t.Run("150 and 226 at once", func(t *testing.T) {
		th := play(t, nil)
		client, server := th.passive()
		th.client.say("RETR f")
		th.server.hear("RETR f")
		th.server.sendRaw("150 go\r\n226 done\r\n")
		th.client.hear("150 go")
		go send(server)
		wantData(t, "client", client, payload)
		th.client.hear("226 done")
		th.wantLog(`"result":"ok"`, fmt.Sprintf(`"bytes":%d`, len(payload)))
	})
	t.Run("226 before the data", func(t *testing.T) {
		bothModes(t, func(t *testing.T, mode string) {
			th := play(t, nil)
			client, server := th.open(mode, "RETR f")
			th.server.say("226 done")
			// Nothing is said before the data has ended.
			th.client.staysSilent()
			go send(server)
			wantData(t, "client", client, payload)
			th.client.hear("226 done")
		})
	})
	t.Run("226 without 150", func(t *testing.T) {
		th := play(t, nil)
		client, server := th.passive()
		th.client.say("RETR f")
		th.server.hear("RETR f")
		th.server.say("226 done")
		go send(server)
		wantData(t, "client", client, payload)
		th.client.hear("226 done")
		th.wantLog(`"result":"ok"`, fmt.Sprintf(`"bytes":%d`, len(payload)))
	})
	t.Run("waits for the connection", func(t *testing.T) {
		th := play(t, nil)
		l := listenLoopback(t)
		th.client.say("PASV")
		th.server.hear("PASV")
		th.server.say(rewrite.FormatPASV(tcp.AddrPort(l.Addr())))
		at := passiveAt(t, th.client.hear("227"))
		th.client.say("RETR f")
		th.server.hear("RETR f")
		server := acceptOne(t, l) // The client has not connected.
		th.server.say("150 go")
		th.client.hear("150")
		client := dialLoopback(t, at)
		go send(server)
		wantData(t, "client", client, payload)
		th.server.say("226 done")
		th.client.hear("226 done")
	})
	for _, command := range []string{"RETR f", "STOR f"} {
		t.Run("550 after accepting to "+command, func(t *testing.T) {
			th := play(t, nil)
			client, server := th.passive()
			for range 2 {
				th.client.say(command)
				th.server.hear(command)
				th.server.say("550 no")
				th.client.hear("550 no")
				th.stillWorks()
			}
			// The next one has what was agreed on, whichever way it goes.
			th.begin("RETR g")
			go send(server)
			wantData(t, "client", client, payload)
			th.server.say("226 done")
			th.client.hear("226 done")
		})
		t.Run("550 after 150 to "+command, func(t *testing.T) {
			// Nobody writes to the server: only linger ends the upload.
			th := play(t, func(c *config.Config) { c.Timeouts.Linger = 100 * time.Millisecond })
			client, server := th.open("passive", command)
			th.server.say("550 disk full")
			_ = server.Close()
			th.client.hear("550 disk full")
			receives(t, client)
			th.stillWorks()
		})
	}
}

// staysSilent expects that nothing comes for a while.
func (a *actor) staysSilent() {
	a.t.Helper()
	_ = a.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	var timeout net.Error
	if b, err := a.r.Peek(1); !errors.As(err, &timeout) || !timeout.Timeout() {
		a.t.Fatalf("%s hears %q (%v), want nothing", a.name, b, err)
	}
}

// receives reads to the end, whatever that is.
func receives(t *testing.T, conn *net.TCPConn) int64 {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(socketTimeout))
	n, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("a data connection stays open")
	}
	return n
}

func passiveAt(t *testing.T, reply string) string {
	t.Helper()
	at, err := rewrite.ParsePASV(reply)
	if err != nil {
		t.Fatal(err)
	}
	return at.String()
}

// A lobby is a proxy whose client has connected and whose server has not been
// asked to greet.
type lobby struct {
	client *actor
	server *net.TCPListener
}

func enter(t *testing.T, greeting time.Duration) lobby {
	t.Helper()
	noGoroutineStays(t)
	server := listenLoopback(t)
	c := config.Defaults()
	c.Timeouts.Greeting = greeting
	fe, be := config.NewFrontend("public"), config.NewBackend("inside")
	fe.Listen, fe.Backend = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, "inside"
	be.Servers = []config.Server{{Host: "127.0.0.1", Port: tcp.AddrPort(server.Addr()).Port()}}
	c.Frontends, c.Backends = []config.Frontend{fe}, []config.Backend{be}
	p := New(Options{Network: tcp.Network{}, Log: zerolog.Nop(), Metrics: metrics.New("test")})
	if err := p.Apply(&c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), socketTimeout)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	var client *actor
	for _, at := range p.Addrs() {
		client = newActor(t, "client", dialLoopback(t, at.String()))
	}
	return lobby{client, server}
}

func TestStrangeGreetings(t *testing.T) {
	tests := []struct {
		name, says, hears string
		greeting          time.Duration
	}{
		{"none", "", "421 Service not available", 100 * time.Millisecond},
		{"half of one", "220-wait", "421 Service not available", 100 * time.Millisecond},
		{"120 only", "120 in a minute\r\n", "421 Service not available", 100 * time.Millisecond},
		{"120, then 220", "120 in a minute\r\n220 ready\r\n", "220 ready", never},
		{"421", "421 too many\r\n", "421 too many", never},
		{"530", "530 not you\r\n", "530 not you", never},
		{"a disclaimer, then 220", "Authorized use only\n\r\x00\r\n220 ready\r\n", "220-Authorized use only", never},
		{"SSH", "SSH-2.0-OpenSSH_9.9\r\n", "421 Service not available", never},
		{"multi-line with 227", "220-a\r\n227 (1,2,3,4,5,6)\r\n220 b\r\n", "220-a", never},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := enter(t, tt.greeting)
			server := newActor(t, "server", acceptOne(t, l.server))
			server.sendRaw(tt.says)
			l.client.hear(tt.hears)
			if !strings.HasPrefix(tt.hears, "220") {
				l.client.hearEnd()
				if tt.greeting == never { // Otherwise what it says may come too late, and is answered with a reset.
					server.hearEnd()
				} else {
					receives(t, server.conn)
				}
			}
			_ = l.client.conn.Close()
		})
	}
}

// A server that closes its control connection as soon as it has a verb: the
// client hears 421, after 425 or 426 where a transfer was asked for, and all
// ends.
func TestServerClosesAfterVerb(t *testing.T) {
	for _, command := range []string{"USER bert", "PASV", "EPSV", "PORT", "TYPE I", "STAT", "FEAT", "REST 5", "SITE x", "ABOR", "NOOP", "QUIT"} {
		t.Run(command, func(t *testing.T) {
			th := play(t, nil)
			line := command
			if command == "PORT" {
				line += " " + rewrite.FormatPORT(tcp.AddrPort(listenLoopback(t).Addr()))
			}
			th.client.say(line)
			th.server.hear(command)
			_ = th.server.conn.Close()
			th.client.hear("421 ")
			th.client.hearEnd()
		})
	}
	for _, command := range []string{"RETR f", "STOR f", "LIST"} {
		t.Run(command, func(t *testing.T) {
			th := play(t, nil)
			client, server := th.passive()
			th.client.say(command)
			th.server.hear(command)
			_ = th.server.conn.Close()
			th.client.hear("42")
			th.client.hear("421 ")
			th.client.hearEnd()
			wantReset(t, "client", client)
			wantReset(t, "server", server)
		})
	}
}

func TestUnsolicitedReplies(t *testing.T) {
	t.Run("are dropped", func(t *testing.T) {
		th := play(t, nil)
		th.server.say("226 Transfer complete.\r\n227 Entering Passive Mode (127,0,0,1,4,1).\r\n211-a\r\n b\r\n211 c")
		th.await(`"text":"226 Transfer complete."`) // The others are counted.
		th.stillWorks()
		th.client.say("RETR f")
		th.server.hear("RETR f")
		th.server.say("425 no data connection")
		th.client.hear("425 no data connection")
		th.stillWorks()
	})
	t.Run("421 ends", func(t *testing.T) {
		th := play(t, nil)
		th.server.say("421 idle too long")
		th.client.hear("421 idle too long")
		th.client.hearEnd()
		th.server.hearEnd()
	})
	t.Run("the fifth ends", func(t *testing.T) {
		th := play(t, nil)
		th.server.sendRaw(strings.Repeat("200 hello?\r\n", 5))
		th.client.hear("421 ")
		th.client.hearEnd()
	})
}

// await waits until the log has text.
func (th *harness) await(text string) {
	th.t.Helper()
	for deadline := time.Now().Add(socketTimeout); !strings.Contains(th.logs.String(), text); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			th.t.Fatalf("the log has no %s:\n%s", text, th.logs)
		}
	}
}

// Whatever host a 227 names, the server itself is dialled, and nobody else (H9).
func TestServerNamesAnotherHost(t *testing.T) {
	for _, host := range []string{strangerAddr, "0.0.0.0", "255.255.255.255", "8.8.8.8"} {
		t.Run(host, func(t *testing.T) {
			th := play(t, nil)
			l, victim := twinListeners(t, strangerAddr)
			port := tcp.AddrPort(l.Addr()).Port()
			th.client.say("PASV")
			th.server.hear("PASV")
			th.server.say(rewrite.FormatPASV(netip.AddrPortFrom(netip.MustParseAddr(host), port)))
			client := dialLoopback(t, passiveAt(t, th.client.hear("227 ")))
			server := acceptOne(t, l)
			th.begin("RETR f")
			_, _ = server.Write([]byte("data"))
			_ = server.Close()
			wantData(t, "client", client, []byte("data"))
			th.server.say("226 done")
			th.client.hear("226")
			wantNobody(t, victim)
		})
	}
}

// twinListeners gives one listener on loopback, and one at host with the same port: the
// kernel picks a port that is free at one of them, and it may be in use at the other.
func twinListeners(t *testing.T, host string) (l, beside *net.TCPListener) {
	t.Helper()
	for range 100 {
		l := listenLoopback(t)
		at := netip.AddrPortFrom(netip.MustParseAddr(host), tcp.AddrPort(l.Addr()).Port())
		if beside, err := net.Listen("tcp4", at.String()); err == nil {
			t.Cleanup(func() { beside.Close() })
			return l, beside.(*net.TCPListener)
		}
	}
	t.Fatalf("no port is free on loopback and at %s", host)
	return nil, nil
}

func listenAt(t *testing.T, host string, port uint16) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp4", netip.AddrPortFrom(netip.MustParseAddr(host), port).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// wantNobody expects that nobody has connected.
func wantNobody(t *testing.T, l *net.TCPListener) {
	t.Helper()
	_ = l.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if conn, err := l.Accept(); err == nil {
		t.Errorf("%s was connected to from %s", l.Addr(), conn.RemoteAddr())
		_ = conn.Close()
	}
}
