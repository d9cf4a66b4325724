package proxy

import (
	"io"
	"testing"
	"time"

	"ftproxy/config"
	"ftproxy/internal/transfer"
)

// What is limited is slower than the machine: the time that a transfer takes has
// a least, however fast or slow the machine is. The kernel does not pace the
// beginning, so the bound is that of the rest.
func TestBandwidth(t *testing.T) {
	const size, limit = 4 << 20, 2 << 20
	const least = (size - 700<<10) * time.Second / (limit + limit/20)
	tests := []struct {
		name      string
		direction transfer.Direction
		change    func(*config.Config)
	}{
		{"session", transfer.Download, func(c *config.Config) { c.Frontends[0].SessionBandwidth = limit }},
		{"frontend", transfer.Upload, func(c *config.Config) { c.Frontends[0].Bandwidth = limit }},
		{"backend", transfer.Download, func(c *config.Config) { c.Backends[0].Bandwidth = limit }},
		{"least of all", transfer.Upload, func(c *config.Config) {
			c.Frontends[0].SessionBandwidth, c.Frontends[0].Bandwidth, c.Backends[0].Bandwidth = 50*limit, 40*limit, limit
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			th := play(t, tt.change)
			command := "RETR f"
			if tt.direction == transfer.Upload {
				command = "STOR f"
			}
			client, server := th.open("passive", command)
			from, to := server, client
			if tt.direction == transfer.Upload {
				from, to = client, server
			}
			began := time.Now()
			sent := make(chan error, 1)
			go func() {
				_, err := from.Write(make([]byte, size))
				_ = from.Close()
				sent <- err
			}()
			n, err := io.Copy(io.Discard, to)
			if err != nil || n != size {
				t.Fatalf("%d bytes arrived, %v", n, err)
			}
			if took := time.Since(began); took < least {
				t.Errorf("%d bytes took %v, the limit allows no less than %v", n, took, least)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			_ = to.Close()
			th.server.say("226 done")
			th.client.hear("226 done")
		})
	}
}

// A new configuration slows what is running, where frontend and backend are the
// same by name; a session keeps its own limit.
func TestBandwidthReloaded(t *testing.T) {
	const size, limit = 4 << 20, 2 << 20
	var c config.Config
	th := play(t, func(begun *config.Config) {
		begun.Backends[0].Bandwidth = 1000
		c = *begun
		c.Backends = []config.Backend{begun.Backends[0]}
	})
	client, server := th.open("passive", "RETR f")
	sent := make(chan error, 1)
	go func() {
		_, err := server.Write(make([]byte, size))
		_ = server.Close()
		sent <- err
	}()
	if _, err := io.ReadFull(client, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	c.Backends[0].Bandwidth = 0 // At 1 kB/s it would last an hour.
	if err := th.process.Apply(&c); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, client); err != nil || n != size-1000 {
		t.Fatalf("%d bytes arrived, %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	_ = client.Close()
	th.server.say("226 done")
	th.client.hear("226 done")
}
