package dial

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"ftproxy/internal/control"
	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
)

// errGreeting is a server that greets with a refusal, or not in time.
var errGreeting = errors.New("the server refuses service")

// A Refused is the reply of a server that refuses service. Where no server is left the
// client hears it: it says what the client can do, as "too many connections from your
// address" does.
type Refused struct {
	Reply  ftp.Reply
	Host   string
	Inside []netip.Addr // the server's address, and ours towards it
}

func (e *Refused) Error() string {
	return fmt.Sprintf("%v: %v", errGreeting, logline.PeerText(e.Reply.Text()))
}

// Unwrap gives what the log quotes apart.
func (e *Refused) Unwrap() []error {
	return []error{errGreeting, logline.PeerText(e.Reply.Text())}
}

// LastRefusal is the refusal of the last server that sent one, of all that failed.
func LastRefusal(err error) *Refused {
	switch e := err.(type) { //nolint:errorlint // It walks the tree itself.
	case *Refused:
		return e
	case interface{ Unwrap() []error }:
		all := e.Unwrap()
		for i := len(all) - 1; i >= 0; i-- {
			if r := LastRefusal(all[i]); r != nil {
				return r
			}
		}
	case interface{ Unwrap() error }:
		return LastRefusal(e.Unwrap())
	}
	return nil
}

// readGreeting reads a server's first reply.
func (d Dialer) readGreeting(ctx context.Context, sv *Server) error {
	if err := d.greeting(ctx, sv); err != nil {
		return &failure{failedGreeting, err}
	}
	return nil
}

// greeting is readGreeting. A 120 asks for patience and is given it once (RFC 959 §5.4).
func (d Dialer) greeting(ctx context.Context, sv *Server) error {
	conn := sv.Conn
	_ = conn.SetReadDeadline(time.Now().Add(d.Timeouts.Greeting)) // It must not undo that of stop.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	extended := false
	for range maxDelays + 1 {
		greeting, err := readReply(sv.Reader, &sv.Preface)
		if err != nil {
			return fmt.Errorf("greeting: %w", err)
		}
		switch ftp.Class(greeting.Code) {
		case 1:
			if !extended {
				extended = true
				_ = conn.SetReadDeadline(time.Now().Add(d.Timeouts.Greeting))
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
			}
		case 2:
			if !stop() {
				return context.Cause(ctx)
			}
			_ = conn.SetReadDeadline(time.Time{})
			sv.Greeting = &greeting
			return nil
		case 3, 4, 5:
			return &Refused{Reply: greeting, Host: sv.Host, Inside: []netip.Addr{sv.Addr.Addr(), sv.Local.Addr()}}
		default: // "800 files available": a number, but no reply.
			sv.Preface = append(sv.Preface, greeting.Lines...)
		}
	}
	return fmt.Errorf("%w: more than %d preliminary replies", errGreeting, maxDelays)
}

// readReply reads one whole reply of at most 64 KiB. Lines that are no reply go to stray,
// where that is not nil; the bound is for both.
func readReply(r control.Reader[ftp.ReplyLine], stray *[]string) (ftp.Reply, error) {
	var reply ftp.Reply
	size := 0
	for last, loose := false, false; !last || loose; {
		l, err := r.Read()
		if err != nil {
			return ftp.Reply{}, err
		}
		if size += len(l.Text) + len("\r\n"); size > maxReply {
			return ftp.Reply{}, ftp.ErrLineTooLong
		}
		switch {
		case l.Code != 0:
			reply.Add(l)
			last = l.Last
		case stray != nil:
			*stray = append(*stray, string(l.Text))
		}
		loose = stray != nil && l.Loose // It is here already.
	}
	return reply, nil
}
