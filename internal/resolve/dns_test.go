package resolve

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A dnsServer is a name server on loopback, for UDP and TCP.
type dnsServer struct {
	udp, tcp string
	overTCP  atomic.Int32 // questions that came over TCP

	mu      sync.Mutex
	records map[string][]dns.RR // by "A ftp.example.net."
	hanging map[string]bool     // names that get no answer
	failing map[string]bool     // names that get SERVFAIL
}

func startDNS(t *testing.T) *dnsServer {
	t.Helper()
	d := &dnsServer{records: make(map[string][]dns.RR), hanging: make(map[string]bool), failing: make(map[string]bool)}
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.udp, d.tcp = packets.LocalAddr().String(), listener.Addr().String()
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: d}, {Listener: listener, Handler: d}} {
		ready, ended := make(chan struct{}), make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		go func() {
			defer close(ended)
			if err := server.ActivateAndServe(); err != nil {
				t.Error(err)
			}
		}()
		<-ready
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = server.ShutdownContext(ctx)
			<-ended
		})
	}
	return d
}

// resolver asks this server only.
func (d *dnsServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		addr := d.udp
		if network == "tcp" || network == "tcp4" || network == "tcp6" {
			addr = d.tcp
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
}

// set gives the records of a name, in the form of zone files; none is NXDOMAIN.
func (d *dnsServer) set(t *testing.T, name string, records ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, kind := range []string{"A ", "AAAA ", "SRV "} {
		delete(d.records, kind+name)
	}
	for _, text := range records {
		rr, err := dns.NewRR(name + " 60 IN " + text)
		if err != nil {
			t.Fatal(err)
		}
		key := dns.TypeToString[rr.Header().Rrtype] + " " + name
		d.records[key] = append(d.records[key], rr)
	}
}

// behave says whether a name gets no answer, or SERVFAIL.
func (d *dnsServer) behave(name string, hangs, fails bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hanging[name], d.failing[name] = hangs, fails
}

func (d *dnsServer) ServeDNS(w dns.ResponseWriter, asked *dns.Msg) {
	q := asked.Question[0]
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hanging[q.Name] {
		return
	}
	answer := new(dns.Msg).SetReply(asked)
	answer.RecursionAvailable = true
	answer.Answer = d.records[dns.TypeToString[q.Qtype]+" "+q.Name]
	known := len(d.records["A "+q.Name])+len(d.records["AAAA "+q.Name])+len(d.records["SRV "+q.Name]) > 0
	switch {
	case d.failing[q.Name]:
		answer.Answer, answer.Rcode = nil, dns.RcodeServerFailure
	case !known:
		answer.Rcode = dns.RcodeNameError
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		answer.Truncate(dns.MinMsgSize)
	} else {
		d.overTCP.Add(1)
	}
	_ = w.WriteMsg(answer)
}
