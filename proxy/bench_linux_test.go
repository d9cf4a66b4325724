package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/rewrite"
)

// The benchmarks play both peers in this process, with as little as they can, so
// what they allocate is the same in every commit. Time is measured better in
// bench/, allocations here.

// benchServer serves control connections with the verbs of the benchmarks, and
// 1 KiB for each RETR.
func benchServer(b testing.TB) netip.AddrPort { return benchServerTLS(b, nil) }

// benchServerTLS is benchServer that knows AUTH TLS, but no data connections with it.
func benchServerTLS(b testing.TB, asHost *tls.Config) netip.AddrPort {
	control, data := listenOn(b, false), listenOn(b, false)
	b.Cleanup(func() { control.Close(); data.Close() })
	port := data.Addr().(*net.TCPAddr).AddrPort()
	pasv := []byte(rewrite.FormatPASV(port) + "\r\n")
	file := make([]byte, 1<<10)
	serve := func(c net.Conn) {
		defer func() { c.Close() }()
		say := func(line string) { _, _ = io.WriteString(c, line) }
		r := bufio.NewReaderSize(c, 64)
		say("220 ready\r\n")
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			switch string(line[:4]) {
			case "AUTH":
				say("234 go on\r\n")
				c = tls.Server(c, asHost)
				r.Reset(c)
			case "PBSZ", "PROT":
				say("200 ok\r\n")
			case "USER":
				say("331 who\r\n")
			case "PASS":
				say("230 in\r\n")
			case "NOOP":
				say("200 ok\r\n")
			case "PASV":
				_, _ = c.Write(pasv)
			case "RETR":
				say("150 now\r\n")
				d, err := data.Accept()
				if err != nil {
					return
				}
				_, _ = d.Write(file)
				d.Close()
				say("226 done\r\n")
			case "QUIT":
				say("221 bye\r\n")
				return
			}
		}
	}
	go func() {
		for {
			c, err := control.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return control.Addr().(*net.TCPAddr).AddrPort()
}

// benchProxy is a proxy before benchServer, and where it listens.
func benchProxy(b *testing.B) string {
	return startHop(b, benchServer(b), io.Discard, func(_ *config.Frontend, inside *config.Backend) {
		inside.Data = config.DataPASV
	}).String()
}

// benchProxyTLS is benchProxy with TLS towards clients, and on both sides where the
// server is to have it, too; and how clients speak it.
func benchProxyTLS(b *testing.B, both bool) (addr string, asUser *tls.Config) {
	c := ftptest.Certificate(b, "127.0.0.1")
	addr = startHop(b, benchServerTLS(b, &tls.Config{Certificates: []tls.Certificate{c.Certificate}}), io.Discard, func(f *config.Frontend, inside *config.Backend) {
		f.TLS = config.FrontendTLS{Mode: config.TLSRequired, Certificates: []config.KeyPair{{Certificate: c.File, Key: c.File}},
			MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13}
		if both {
			inside.TLS = config.BackendTLS{Mode: config.TLSExplicit, Data: config.DataPrivate, CA: c.File,
				MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13}
		}
	}).String()
	return addr, &tls.Config{RootCAs: c.Pool, ServerName: "127.0.0.1"}
}

// A benchClient is a control connection.
type benchClient struct {
	b    *testing.B
	conn net.Conn
	r    *bufio.Reader
}

func benchDial(b *testing.B, addr string) *benchClient {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(never))
	c := &benchClient{b, conn, bufio.NewReaderSize(conn, 128)}
	c.hear("220")
	return c
}

func (c *benchClient) hear(code string) []byte {
	line, err := c.r.ReadSlice('\n')
	if err != nil || string(line[:3]) != code {
		c.b.Fatalf("%q (%v), want %s", line, err, code)
	}
	return line
}

func (c *benchClient) ask(command, code string) []byte {
	if _, err := io.WriteString(c.conn, command); err != nil {
		c.b.Fatal(err)
	}
	return c.hear(code)
}

// protect says AUTH TLS and makes the handshake.
func (c *benchClient) protect(asUser *tls.Config) {
	c.ask("AUTH TLS\r\n", "234")
	c.conn = tls.Client(c.conn, asUser)
	c.r.Reset(c.conn)
}

func (c *benchClient) login() {
	c.ask("USER anna\r\n", "331")
	c.ask("PASS secret\r\n", "230")
}

func BenchmarkLogin(b *testing.B) {
	addr := benchProxy(b)
	b.ReportAllocs()
	for b.Loop() {
		c := benchDial(b, addr)
		c.login()
		c.ask("QUIT\r\n", "221")
		c.conn.Close()
	}
}

// Both halves of the handshakes that are ours alone cannot be told apart from the
// peers' here: what changes between commits is ours.
func BenchmarkLoginTLS(b *testing.B) {
	for _, at := range []struct {
		name string
		both bool
	}{{"front", false}, {"both", true}} {
		b.Run(at.name, func(b *testing.B) {
			addr, asUser := benchProxyTLS(b, at.both)
			b.ReportAllocs()
			for b.Loop() {
				c := benchDial(b, addr)
				c.protect(asUser)
				c.login()
				c.ask("QUIT\r\n", "221")
				c.conn.Close()
			}
		})
	}
}

func BenchmarkNOOP(b *testing.B) {
	c := benchDial(b, benchProxy(b))
	defer c.conn.Close()
	c.login()
	b.ReportAllocs()
	for b.Loop() {
		c.ask("NOOP\r\n", "200")
	}
}

func BenchmarkSmallTransfer(b *testing.B) {
	c := benchDial(b, benchProxy(b))
	defer c.conn.Close()
	c.login()
	buf := make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		at, err := rewrite.ParsePASV(strings.TrimSpace(string(c.ask("PASV\r\n", "227"))))
		if err != nil {
			b.Fatal(err)
		}
		data, err := net.Dial("tcp", at.String())
		if err != nil {
			b.Fatal(err)
		}
		c.ask("RETR f\r\n", "150")
		n := 0
		for err == nil {
			var m int
			m, err = data.Read(buf)
			n += m
		}
		data.Close()
		if n != 1<<10 || err != io.EOF {
			b.Fatal(fmt.Errorf("%d bytes: %w", n, err))
		}
		c.hear("226")
	}
}
