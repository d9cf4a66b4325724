//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ftproxy/config"
)

// large is a configuration of n frontends and n backends. Odd variants differ in
// every table.
func large(n, variant int, server string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[frontend.f%d]\nlisten = \"127.0.%d.%d:28950\"\nbackend = \"b%d\"\nbanner = \"number %d\"\n"+
			"passive_ports = \"28400-28499\"\n", i, 10+i/200, 1+i%200, i, variant%2)
		fmt.Fprintf(&b, "[backend.b%d]\nservers = [%q, \"192.0.2.1:%d\"]\ndata_ports = \"28100-28199\"\n", i, server, 21+variant%2)
	}
	return b.String()
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReload200 tells what a reload of 200 frontends and backends costs, each
// of which has changed, and how long a session that asks NOOP after NOOP waits at
// most for an answer meanwhile.
func BenchmarkReload200(b *testing.B) {
	server, err := startDemoServer()
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	file := filepath.Join(b.TempDir(), "config.toml")
	write := func(variant int) {
		if err := os.WriteFile(file, []byte(large(200, variant, server.Addr().String())), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	write(0)
	conf, err := config.Load(file)
	if err != nil {
		b.Fatal(err)
	}
	log, target := newLogger(conf.Log, io.Discard)
	s := newService(log)
	s.file, s.target, s.warnings = file, target, (&program{sysctl: "/proc/sys"}).warnings
	if err := s.start(conf); err != nil {
		b.Fatal(err)
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = s.untilStopped(running, nil)
	}()
	defer func() {
		stop()
		<-ended
	}()
	reload := func() {
		if _, err := s.reload("benchmark"); err != nil {
			b.Fatal(err)
		}
	}
	variant := 0
	before := cpuTime()
	for b.Loop() {
		variant++
		write(variant)
		reload()
	}
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")

	// Once more, under a session that looks.
	conn, err := net.Dial("tcp", "127.0.10.1:28950")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	c := &busyClient{conn, bufio.NewReader(conn)}
	if _, err := c.hear("220"); err != nil {
		b.Fatal(err)
	}
	// longest is the longest wait of the NOOPs that are asked while act runs.
	longest := func(act func()) time.Duration {
		done := make(chan struct{})
		go func() {
			defer close(done)
			act()
		}()
		for most := time.Duration(0); ; {
			began := time.Now()
			if _, err := c.ask("NOOP", "200"); err != nil {
				b.Fatal(err)
			}
			most = max(most, time.Since(began))
			select {
			case <-done:
				return most
			default:
			}
		}
	}
	var with, without []time.Duration
	for range 30 {
		variant++
		write(variant)
		with = append(with, longest(reload))
		without = append(without, longest(func() { time.Sleep(20 * time.Millisecond) }))
	}
	slices.Sort(with)
	slices.Sort(without)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(with[len(with)/2]), "longest-noop-ms")
	b.ReportMetric(ms(with[len(with)-1]), "longest-noop-max-ms")
	b.ReportMetric(ms(without[len(without)/2]), "longest-noop-idle-ms")
	b.ReportMetric(ms(without[len(without)-1]), "longest-noop-idle-max-ms")
}
