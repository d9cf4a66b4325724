package identify

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/internal/ftps"
	"ftproxy/internal/logline"
	"ftproxy/internal/metrics"
	"ftproxy/internal/origin"
	"ftproxy/internal/portpool"
	"ftproxy/internal/report"
)

// pair is a connection, both ends of it.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if far, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

func identifier(ctx context.Context) *Identifier {
	lines := &logline.Summary{Log: logline.Log{Logger: zerolog.New(io.Discard)}}
	return &Identifier{Ctx: ctx, Report: report.Frontend{Lines: lines, Metrics: metrics.New("test"), Name: "public", Ctx: ctx},
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Header: 5 * time.Second}
}

// A connection is the client's that its header names; one without a client is nobody's.
func TestHeaderNamesTheClient(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   string
		err    error
	}{
		{"PROXY TCP4 198.51.100.7 203.0.113.9 40000 30000\r\n", "198.51.100.7", nil},
		{"PROXY UNKNOWN\r\n", "", origin.ErrLocal},
	} {
		i := identifier(t.Context())
		var r portpool.Request
		i.Ask(&r, nil)
		if r.Header == nil || r.Prove != nil || len(r.Through) != 1 {
			t.Fatalf("%+v", r)
		}
		near, far := pair(t)
		if _, err := io.WriteString(far, tt.header); err != nil {
			t.Fatal(err)
		}
		conn, client, err := r.Header(near)
		if !errors.Is(err, tt.err) || err == nil && (client.String() != tt.want || conn.RemoteAddr().String() != tt.want+":40000") {
			t.Errorf("%q: %v, %v; want %s, %v", tt.header, client, err, tt.want, tt.err)
		}
		i.Report.Lines.Close()
	}
}

// The end of the process ends the wait for a header, and is no fault of the peer's.
func TestIdentifierEnds(t *testing.T) {
	over := errors.New("over")
	ctx, end := context.WithCancelCause(t.Context())
	i := identifier(ctx)
	var r portpool.Request
	i.Ask(&r, nil)
	near, _ := pair(t)
	end(over)
	if _, _, err := r.Header(near); !errors.Is(err, over) {
		t.Errorf("it ends with %v", err)
	}
	i.Report.Lines.Close()
}

// A connection that is reset before its handshake proves nothing. Ports whose connections are
// identified in one way are alike, whoever asks for them.
func TestProof(t *testing.T) {
	i := identifier(t.Context())
	i.TLS, i.Header = new(ftps.Frontend), 0
	var r, other portpool.Request
	i.Ask(&r, make(chan error, 1))
	same := *i
	same.Ask(&other, make(chan error, 1))
	if r.Header != nil || r.Prove == nil || r.Alike != other.Alike {
		t.Errorf("%+v", r)
	}
	near, far := pair(t)
	_ = far.(*net.TCPConn).SetLinger(0)
	_ = far.Close()
	if _, _, err := r.Prove(near); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("it ends with %v", err)
	}
	r.Refused(io.EOF)
	r.Refused(io.EOF) // Nobody waits for room.
	i.Report.Lines.Close()
}
