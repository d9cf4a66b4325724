package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestInsideRangeOfTwo: servers that dial from port 20 have one connection to
// each port of ftproxy's, so two ports are two transfers at a time. Six that
// begin at once queue, and none of them fails.
func TestInsideRangeOfTwo(t *testing.T) {
	t.Parallel()
	throughProxy(t)
	needRoot(t, "a server that dials from port 20")
	for name, start := range map[string]func(t *testing.T, addr netip.Addr, root string) *server{
		"vsftpd": func(t *testing.T, addr netip.Addr, root string) *server {
			return startVsftpdWith(t, addr, root, "connect_from_port_20=YES", serverTLS{})
		},
		// Its port is one below that of control, where it may stay root for that.
		"proftpd": func(t *testing.T, addr netip.Addr, root string) *server {
			return startProFTPDWith(t, netip.AddrPortFrom(addr, 21), root, "RootRevoke off", serverTLS{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			s := start(t, p.server, folder(t))
			c := configure(t, p, s.addr)
			c.dataPort = portRange{p.data.first, p.data.first + 1}
			c.backend = `data = "active"`
			x := &insideTwo{proxy: startProxy(t, c), server: s, place: p, two: make(chan struct{})}
			together(t, 6, 1, x.transfer)
			if x.most > 2 {
				t.Errorf("%d transfers at a time with 2 ports", x.most)
			}
			log := x.proxy.transfers(t, 12)
			used := make(map[uint16]int)
			for path, line := range log {
				if line.ServerData != netip.AddrPortFrom(p.server, 20) {
					t.Errorf("%s: the server dialled from %v, want port 20 of %v", path, line.ServerData, p.server)
				}
				if !c.dataPort.contains(line.ServerDataLocal.Port()) {
					t.Errorf("%s: the server dialled %v, want ports %v", path, line.ServerDataLocal, c.dataPort)
				}
				used[line.ServerDataLocal.Port()]++
			}
			if len(log) != 12 || len(used) != 2 {
				t.Errorf("%d transfers through the ports %v, want 12 through 2", len(log), used)
			}
			m := x.proxy.metrics(t)
			if m["ftproxy_data_port_waits_total"] == 0 || m["ftproxy_data_port_full_total"] != 0 {
				t.Errorf("%v requests have waited and %v in vain, want some and 0", m["ftproxy_data_port_waits_total"], m["ftproxy_data_port_full_total"])
			}
		})
	}
}

const insideSize = 2_000_003

type insideTwo struct {
	proxy  *proxy
	server *server
	place  place

	mu        sync.Mutex
	now, most int // transfers
	once      sync.Once
	two       chan struct{} // closed when there were two at a time
}

func (x *insideTwo) transfer(c *crowd, i int) error {
	verb := []string{"PASV", "EPSV", "PORT"}[i%3]
	from := x.place.client.As4()
	from[3] += byte(i / 3)
	down, up := content(fmt.Sprint("down", i), insideSize), content(fmt.Sprint("up", i), insideSize)
	if err := os.WriteFile(filepath.Join(x.server.root, fmt.Sprint("down", i)), down, 0o644); err != nil {
		return err
	}
	r, err := dialIn(netip.AddrFrom4(from), x.proxy.addr4, x.server)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := c.wait(0); err != nil {
		return err
	}
	err = c.transfer(func() error {
		d, err := x.agree(r, verb)
		if err != nil {
			return err
		}
		got, err := x.download(r, d, fmt.Sprint("down", i))
		if err == nil && !bytes.Equal(got, down) {
			err = fmt.Errorf("download: %d bytes that are not its file", len(got))
		}
		return err
	})
	if err != nil {
		return err
	}
	err = c.transfer(func() error {
		d, err := x.agree(r, verb)
		if err != nil {
			return err
		}
		if err := x.upload(r, d, fmt.Sprint("up", i), up); err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(x.server.root, fmt.Sprint("up", i)))
		if err == nil && !bytes.Equal(got, up) {
			err = fmt.Errorf("upload: the server has %d bytes that are not its file", len(got))
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = r.expect(221, "QUIT")
	return err
}

// agree counts who has a port, and lets nobody go on before there were two.
func (x *insideTwo) agree(r *raw, verb string) (*dataEnd, error) {
	d, err := r.agree(verb)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	x.now++
	if x.most = max(x.most, x.now); x.now == 2 {
		x.once.Do(func() { close(x.two) })
	}
	x.mu.Unlock()
	select {
	case <-x.two:
		return d, nil
	case <-time.After(patience):
		d.Close()
		return nil, errors.New("nobody else has a port")
	}
}

// leave comes before ftproxy can know that the transfer has ended.
func (x *insideTwo) leave() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.now--
}

// download leaves when more is missing than the client's kernel can have.
func (x *insideTwo) download(r *raw, d *dataEnd, file string) ([]byte, error) {
	defer d.Close()
	got := make([]byte, insideSize/2)
	err := r.begin(d, "RETR "+file)
	if err == nil {
		err = d.conn.(*net.TCPConn).SetReadBuffer(64 << 10) // It grows with what is read.
	}
	if err == nil {
		_, err = io.ReadFull(d.conn, got)
	}
	x.leave()
	if err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(d.conn)
	if err != nil {
		return nil, err
	}
	return append(got, rest...), r.done("RETR")
}

func (x *insideTwo) upload(r *raw, d *dataEnd, file string, content []byte) error {
	defer d.Close()
	err := r.begin(d, "STOR "+file)
	if err == nil {
		_, err = d.conn.Write(content)
	}
	x.leave()
	if err != nil {
		return err
	}
	if err := d.conn.Close(); err != nil {
		return err
	}
	return r.done("STOR")
}
