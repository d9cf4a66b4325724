package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/ftp"
	"ftproxy/internal/tcp"
	"ftproxy/rewrite"
)

// All in one segment: each command takes its turn, and PASV is answered before
// RETR is sent (H30).
func TestClientPipelinesEverything(t *testing.T) {
	th := play(t, nil)
	th.client.sendRaw("TYPE I\r\nPASV\r\nRETR a\r\nPASV\r\nSTOR b\r\nNOOP\r\nQUIT\r\n")
	th.server.hear("TYPE I")
	th.server.staysSilent()
	th.server.say("200 ok")
	th.client.hear("200 ok")
	for _, command := range []string{"RETR a", "STOR b"} {
		l := listenLoopback(t)
		th.server.hear("PASV")
		th.server.staysSilent()
		th.server.say(rewrite.FormatPASV(tcp.AddrPort(l.Addr())))
		client := dialLoopback(t, passiveAt(t, th.client.hear("227 ")))
		server := acceptOne(t, l)
		th.server.hear(command)
		th.server.say("150 go")
		th.client.hear("150")
		from, to := server, client
		if command == "STOR b" {
			from, to = client, server
		}
		go func() {
			_, _ = from.Write(payload)
			_ = from.Close()
		}()
		wantData(t, "receiver", to, payload)
		_ = to.Close()
		th.server.say("226 " + command)
		th.client.hear("226 " + command)
	}
	th.server.hear("NOOP")
	th.server.say("200 ok")
	th.client.hear("200")
	th.server.hear("QUIT")
	th.server.say("221 bye")
	th.client.hear("221")
	th.client.hearEnd()
}

func TestStrangeCommands(t *testing.T) {
	tests := []struct{ name, sends, serverHears, hears string }{
		{"CRLF", "CWD a b \r\n", "CWD a b \r\n", ""},
		{"bare LF", "CWD a\n", "CWD a\r\n", ""},
		{"lower case", "cwd A\r\n", "CWD A\r\n", ""},
		{"8-bit", "CWD \xff\xe4\xff\xff\r\n", "CWD \xff\xe4\xff\xff\r\n", ""},
		{"4,000 bytes", "CWD " + strings.Repeat("x", 4000) + "\r\n", "CWD " + strings.Repeat("x", 4000) + "\r\n", ""},
		{"8,192 bytes", "CWD " + strings.Repeat("x", 8186) + "\r\n", "", "500 "},
		{"8,192 bytes with commands", strings.Repeat("DELE y\r", 1170) + "\r\n", "", "500 "},
		{"1 MB", "CWD " + strings.Repeat("x", 1<<20) + "\n", "", "500 "},
		{"NUL", "CWD a\x00b\r\n", "", "501 "},
		{"NUL at the end", "CWD a\x00\r\n", "", "501 "},
		{"bare CR", "CWD a\rDELE b\r\n", "", "501 "},
		{"CR NUL", "CWD a\r\x00DELE b\r\n", "", "501 "},
		{"no verb", " \r\n", "", "500 "},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", "", "500 "},
	}
	inPieces(t, func(t *testing.T, send func(*actor, string)) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				th := play(t, nil)
				send(th.client, tt.sends)
				if tt.serverHears == "" {
					th.client.hear(tt.hears)
					th.server.staysSilent()
				} else {
					th.server.hearRaw(tt.serverHears)
					th.server.say("250 ok")
					th.client.hear("250 ok")
				}
				th.stillWorks()
			})
		}
	})
}

// However ABOR comes, the transfer ends at once on both sides, the server hears
// one ABOR, behind the synch where the client has sent that, and the client two replies
// (H32).
func TestFormsOfABOR(t *testing.T) {
	tests := []struct {
		name   string
		urgent string // sent as urgent data: its last byte is the urgent one
		plain  string // sent behind it
	}{
		{"plain", "", "ABOR\r\n"},
		{"bare LF", "", "abor\n"},
		{"Telnet in line", "", "\xff\xf4\xff\xf2ABOR\r\n"},
		{"IP only", "", "\xff\xf4ABOR\r\n"},
		{"DM missing", "", "\xff\xf4\xffABOR\r\n"},
		{"DM alone", "", "\xf2ABOR\r\n"},
		{"IAC DM", "", "\xff\xf2ABOR\r\n"},
		{"DM urgent", "\xff\xf4\xff\xf2", "ABOR\r\n"},
		{"IAC urgent", "\xff\xf4\xff", "\xf2ABOR\r\n"},
		{"all urgent", "ABOR\r\n", ""},
		{"Telnet and all urgent", "\xff\xf4\xff\xf2ABOR\r\n", ""},
		{"A urgent", "A", "BOR\r\n"},
		{"CR urgent", "ABOR\r", "\n"},
		{"behind NOOPs", "", "NOOP\r\nNOOP\r\nABOR\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			th := play(t, nil)
			client, server := th.open("passive", "RETR f")
			if err := setOOBInline(th.server.conn); err != nil {
				t.Fatal(err)
			}
			if tt.urgent != "" {
				sendUrgent(t, th.client.conn, tt.urgent)
			}
			th.client.sendRaw(tt.plain)
			wantReset(t, "client", client)
			wantReset(t, "server", server)
			want := "ABOR\r\n"
			if strings.Contains(tt.urgent+tt.plain, "\xf4") || strings.Contains(tt.urgent+tt.plain, "\xf2") {
				want = ftp.TelnetSynch + want // The client has sent some of it.
			}
			th.server.hearRaw(want)
			th.server.say("426 broken\r\n226 aborted")
			th.client.hear("426 broken")
			for range strings.Count(tt.plain, "NOOP") {
				th.server.hear("NOOP")
				th.server.say("200 ok")
				th.client.hear("200 ok")
			}
			th.client.hear("226 aborted")
			th.stillWorks()
		})
	}
}

// Nobody is connected to on behalf of a client but the client (H41).
func TestBounce(t *testing.T) {
	th := play(t, nil)
	victim := listenAt(t, strangerAddr, 0)
	port := tcp.AddrPort(victim.Addr()).Port()
	for _, command := range []string{
		"PORT " + rewrite.FormatPORT(netip.AddrPortFrom(netip.MustParseAddr(strangerAddr), port)),
		"EPRT " + rewrite.FormatEPRT(netip.AddrPortFrom(netip.MustParseAddr(strangerAddr), port)),
		"PORT 127,0,0,1,3,255",
		"PORT 127,0,0,1,0,22",
		"EPRT |1|127.0.0.1|1023|",
		"PORT 0,0,0,0,200,1",
	} {
		th.client.say(command)
		th.client.hear("504 ")
		th.client.say("STOR f")
		th.client.hear("425 ")
	}
	th.server.staysSilent()
	wantNobody(t, victim)
	th.stillWorks()
}

// A stranger gets nothing, and keeps the peer from nothing: neither before the
// peer came nor after it (H52).
func TestStrangers(t *testing.T) {
	const secret = "for the client alone"
	for _, when := range []string{"before the command", "after 150", "after the peer"} {
		t.Run("passive/"+when, func(t *testing.T) {
			th := play(t, nil)
			l := listenLoopback(t)
			th.client.say("PASV")
			th.server.hear("PASV")
			th.server.say(rewrite.FormatPASV(tcp.AddrPort(l.Addr())))
			at := passiveAt(t, th.client.hear("227 "))
			server := acceptOne(t, l)
			_, _ = server.Write([]byte(secret))
			_ = server.CloseWrite()
			if when == "before the command" {
				intrude(t, at, true)
			}
			th.begin("RETR f")
			if when == "after 150" {
				intrude(t, at, true)
			}
			client := dialLoopback(t, at)
			wantData(t, "client", client, []byte(secret))
			if when == "after the peer" {
				intrude(t, at, false)
			}
			th.server.say("226 done")
			th.client.hear("226 done")
			th.wantLog(`"result":"ok"`, fmt.Sprintf(`"bytes":%d`, len(secret)))
		})
		t.Run("active/"+when, func(t *testing.T) {
			th := play(t, nil)
			l := listenLoopback(t)
			th.client.say("PORT " + rewrite.FormatPORT(tcp.AddrPort(l.Addr())))
			at, err := rewrite.ParsePORT(strings.TrimPrefix(th.server.hear("PORT "), "PORT "))
			if err != nil {
				t.Fatal(err)
			}
			th.server.say("200 ok")
			th.client.hear("200")
			if when == "before the command" {
				intrude(t, at.String(), true)
			}
			th.begin("STOR f")
			if when == "after 150" {
				intrude(t, at.String(), true)
			}
			server := dialLoopback(t, at.String())
			client := acceptOne(t, l)
			if when == "after the peer" {
				intrude(t, at.String(), false)
			}
			_, _ = client.Write([]byte(secret))
			_ = client.Close()
			wantData(t, "server", server, []byte(secret))
			_ = server.Close()
			th.server.say("226 done")
			th.client.hear("226 done")
			th.wantLog(`"result":"ok"`, fmt.Sprintf(`"bytes":%d`, len(secret)))
		})
	}
}

// intrude connects from another machine and sends something. Where a peer is
// still waited for it is let in and thrown out again; otherwise, but for a
// moment, nobody listens.
func intrude(t *testing.T, at string, open bool) {
	t.Helper()
	d := net.Dialer{Timeout: socketTimeout, LocalAddr: &net.TCPAddr{IP: net.ParseIP(strangerAddr)}}
	for deadline := time.Now().Add(socketTimeout); ; {
		conn, err := d.Dial("tcp4", at)
		switch {
		case err == nil:
			_, _ = conn.Write([]byte("bytes of a stranger's"))
			if n := receives(t, conn.(*net.TCPConn)); n > 0 {
				t.Errorf("a stranger received %d bytes", n)
			}
			_ = conn.Close()
		case !open && errors.Is(err, syscall.ECONNREFUSED):
			return
		case !errors.Is(err, syscall.ECONNRESET): // The reset may come before Dial has returned.
			t.Fatalf("stranger: %v", err)
		}
		if open {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("somebody still listens where the peer has come")
		}
	}
}

func TestStrangeClients(t *testing.T) {
	t.Run("data before 150", func(t *testing.T) {
		th := play(t, nil)
		client, server := th.passive()
		_, _ = client.Write([]byte("early"))
		_ = client.Close()
		th.client.say("STOR f")
		th.server.hear("STOR f")
		_ = server.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := server.Read(make([]byte, 1)); n > 0 || errors.Is(err, io.EOF) {
			t.Errorf("the server received %d bytes (%v) before its 150", n, err)
		}
		th.server.say("150 go")
		th.client.hear("150")
		wantData(t, "server", server, []byte("early"))
		_ = server.Close()
		th.server.say("226 done")
		th.client.hear("226 done")
	})
	t.Run("connects late", func(t *testing.T) {
		th := play(t, nil)
		l := listenLoopback(t)
		th.client.say("PASV")
		th.server.hear("PASV")
		th.server.say(rewrite.FormatPASV(tcp.AddrPort(l.Addr())))
		at := passiveAt(t, th.client.hear("227 "))
		th.begin("RETR f")
		server := acceptOne(t, l)
		_, _ = server.Write([]byte("data"))
		_ = server.Close()
		th.server.say("226 done")
		th.client.staysSilent()
		wantData(t, "client", dialLoopback(t, at), []byte("data"))
		th.client.hear("226 done")
	})
	for _, command := range []string{"RETR f", "STOR f"} {
		t.Run("never connects for "+command, func(t *testing.T) {
			th := play(t, func(c *config.Config) { c.Timeouts.DataConnect = 100 * time.Millisecond })
			l := listenLoopback(t)
			th.client.say("PASV")
			th.server.hear("PASV")
			th.server.say(rewrite.FormatPASV(tcp.AddrPort(l.Addr())))
			at := passiveAt(t, th.client.hear("227 "))
			server := acceptOne(t, l)
			th.begin(command)
			wantReset(t, "server", server)
			th.server.say("426 gone")
			th.client.hear("425 ")
			if conn, err := net.Dial("tcp4", at); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("the port is still open: %v", err)
				_ = conn.Close()
			}
			th.stillWorks()
		})
		t.Run("never listens for "+command, func(t *testing.T) {
			th := play(t, nil)
			l := listenLoopback(t)
			th.client.say("PORT " + rewrite.FormatPORT(tcp.AddrPort(l.Addr())))
			_ = l.Close()
			at, err := rewrite.ParsePORT(strings.TrimPrefix(th.server.hear("PORT "), "PORT "))
			if err != nil {
				t.Fatal(err)
			}
			th.server.say("200 ok")
			th.client.hear("200")
			server := dialLoopback(t, at.String())
			th.begin(command)
			wantReset(t, "server", server)
			th.server.say("426 gone")
			th.client.hear("425 ")
			th.stillWorks()
		})
	}
	// A second is a millisecond here. The stall timer counts what moves, not
	// what is left, and 226 is not said before the last byte has moved.
	t.Run("one byte a second", func(t *testing.T) {
		th := play(t, nil)
		client, server := th.passive()
		_ = client.SetReadBuffer(64 << 10)
		th.begin("RETR f")
		go func() {
			_, _ = server.Write(payload)
			_ = server.Close()
			_, _ = th.server.conn.Write([]byte("226 done\r\n"))
		}()
		buf := make([]byte, 1)
		for range 300 {
			<-time.After(time.Millisecond)
			_ = client.SetReadDeadline(time.Now().Add(socketTimeout))
			if _, err := client.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		th.client.say("STAT") // Its control connection is not held up.
		th.client.hear("211 ")
		wantData(t, "client", client, payload[300:])
		th.client.hear("226 done")
	})
	// The reply is longer than all buffers on the way, so that the proxy waits
	// for the client within it. A wait shorter than client_write is none to
	// give up for.
	t.Run("one byte of a reply a second", func(t *testing.T) {
		th := play(t, nil)
		_ = th.client.conn.SetReadBuffer(64 << 10)
		_ = th.server.conn.SetWriteBuffer(64 << 10)
		reply := "211-" + strings.Repeat(strings.Repeat("x", 60_000)+"\r\n", 200) + "211 end\r\n"
		th.client.say("STAT")
		th.server.hear("STAT")
		sent := make(chan error, 1)
		go func() {
			_, err := th.server.conn.Write([]byte(reply))
			sent <- err
		}()
		const slowly = 300
		buf := make([]byte, 1)
		for i := range slowly {
			<-time.After(time.Millisecond)
			_ = th.client.conn.SetReadDeadline(time.Now().Add(socketTimeout))
			if _, err := th.client.conn.Read(buf); err != nil || buf[0] != reply[i] {
				t.Fatalf("byte %d of the reply: %q, %v", i, buf, err)
			}
		}
		th.client.hearRaw(reply[slowly:])
		if err := <-sent; err != nil {
			t.Errorf("the server sends its reply: %v", err)
		}
		th.stillWorks()
	})
}
