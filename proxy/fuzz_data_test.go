package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ftproxy/rewrite"
)

// The data connections.

// listen opens the client's data port and returns the argument that says so.
func (s *fuzzScene) listen(o *fuzzOrder) string {
	ip := s.client.conn.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Addr()
	l := s.w.listen(s.w.clientHosts[s.name], ip.String())
	addr := netip.MustParseAddrPort(l.Addr().String())
	s.w.say("client%s-data: listen %d", s.name, addr.Port())
	d := o.data
	go s.w.acceptData(l, func(c *fuzzWire) { d.client = c })
	if o.verb == "EPRT" {
		return rewrite.FormatEPRT(addr)
	}
	return rewrite.FormatPORT(addr)
}

// doConnect connects the end that has to, or a stranger. Neither peer connects
// for a setup behind which it has said or heard of another.
func (s *fuzzScene) doConnect(how int) bool {
	if how%8 == 7 {
		if s.prepared == nil || s.prepared.clientAt == "" {
			return false
		}
		if c := s.w.dial(s.w.stranger, "stranger-data", s.prepared.clientAt, false); c != nil {
			c.write([]byte("stranger"))
			s.w.strangers = append(s.w.strangers, c)
		}
		return true
	}
	var said, heard *fuzzOrder
	for _, o := range s.orders {
		if o.isSetup() {
			said = o
			if o.forwarded {
				heard = o
			}
		}
	}
	switch {
	case said != nil && said.data != nil && said.data.mayArrive():
		said.data.client = s.w.dial(s.w.clientHosts[s.name], "client"+s.name+"-data", said.data.clientAt, how%4 == 3)
	case heard != nil && heard.data.serverAt != "" && heard.data.server == nil && s.stillWanted(heard.data) && !s.serverSilent():
		heard.data.server = s.w.dial(s.w.serverHost, "server"+s.name+"-data", heard.data.serverAt, how%4 == 3)
	default:
		return false
	}
	return true
}

// doConnectLate connects for what is over: the client's connection, or the server's, was
// on its way.
func (s *fuzzScene) doConnectLate(how int) bool {
	var late []func()
	for _, o := range s.orders {
		d := o.data
		if d == nil || !o.isSetup() {
			continue
		}
		if d.mayArrive() && !(d.over.IsZero() && d.told.IsZero()) {
			late = append(late, func() {
				d.client = s.w.dial(s.w.clientHosts[s.name], "client"+s.name+"-data (late)", d.clientAt, false)
				s.sayLate(d.client)
			})
		}
		if d.serverMayArrive() {
			late = append(late, func() {
				d.server = s.w.dial(s.w.serverHost, "server"+s.name+"-data (late)", d.serverAt, false)
				s.sayLate(d.server)
			})
		}
	}
	if len(late) == 0 {
		return false
	}
	late[how%len(late)]()
	return true
}

// sayLate sends what must reach nobody.
func (s *fuzzScene) sayLate(c *fuzzWire) {
	if c != nil {
		s.w.serial++
		c.write(fmt.Appendf(nil, "late %d.", s.w.serial))
	}
}

// stillWanted tells whether the server has agreed on d, not too long ago (H48),
// and has not done with it. Where it has, its port may be another session's.
func (s *fuzzScene) stillWanted(d *fuzzData) bool {
	return s.data == d && time.Since(d.since) < 29*time.Second || len(s.out) > 0 && s.out[0].data == d && s.out[0].isTransfer() && !s.out[0].aborted
}

// pairing is the data connection that events are about: the last that exists.
func (s *fuzzScene) pairing() *fuzzData {
	for i := len(s.orders) - 1; i >= 0; i-- {
		if d := s.orders[i].data; d != nil && (d.client != nil || d.server != nil) {
			return d
		}
	}
	return nil
}

func (d *fuzzData) end(how int) (w *fuzzWire, name string) {
	if how%2 == 0 {
		return d.server, "server"
	}
	return d.client, "client"
}

// sender is the end that should send, for events that shall make sense.
func (s *fuzzScene) sender(d *fuzzData, how int) (w *fuzzWire, name string) {
	for _, o := range slices.Backward(s.orders) {
		if o.data == d && o.isTransfer() && how%8 != 7 {
			if o.verb == "STOR" {
				return d.client, "client"
			}
			return d.server, "server"
		}
	}
	return d.end(how)
}

func (s *fuzzScene) doData(how int) bool {
	d := s.pairing()
	if d == nil {
		return false
	}
	end, name := s.sender(d, how)
	if end == nil || end.last || len(end.sent) > 300_000 {
		return false
	}
	n := []int{1, 100, 5000, 70_000}[how/8%4]
	s.w.serial++
	block := fmt.Sprintf("%s%s %d.", name, s.name, s.w.serial)
	s.w.say("%s%s-data> %q * %d", name, s.name, block, n/len(block)+1)
	end.write([]byte(strings.Repeat(block, n/len(block)+1)))
	return true
}

func (s *fuzzScene) doDataEnd(how int) bool {
	d := s.pairing()
	if d == nil {
		return false
	}
	end, name := s.sender(d, how)
	if how/8%8 >= 6 {
		end, name = d.end(how)
	}
	if end == nil || end.gone {
		return false
	}
	switch how / 8 % 8 {
	case 0, 1, 2:
		s.w.say("%s%s-data: half-close", name, s.name)
		end.halfClose()
	case 3, 4:
		if end.lazy { // It would be a reset, or not, as it happens.
			return false
		}
		s.w.say("%s%s-data: close", name, s.name)
		end.close()
	case 5, 7:
		d.resets = true
		s.w.say("%s%s-data: reset", name, s.name)
		end.reset()
	case 6:
		if !end.lazy {
			d.resets = true
			s.w.say("%s%s-data: close", name, s.name)
			end.close()
			return true
		}
		s.w.say("%s%s-data: start-reading", name, s.name)
		end.startReading()
	}
	return true
}
