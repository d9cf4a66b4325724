package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ftproxy/config"
	"ftproxy/internal/balance"
	"ftproxy/internal/dial"
	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
	"ftproxy/internal/proxyheader"
	"ftproxy/internal/tcp"
)

// settings are how a backend chooses and checks.
func (s *Set) settings(spec Spec, f *features) balance.Settings {
	b := spec.Backend
	set := balance.Settings{
		Policy:    balance.Policy(b.Balance),
		Queue:     b.Queue,
		Rise:      b.Check.Rise,
		Fall:      b.Check.Fall,
		SlowStart: b.SlowStart,
	}
	if !b.Check.Kind.On() && b.Check.AgentPort == 0 {
		return set
	}
	c := newChecker(s, spec)
	c.features = f
	set.Interval, set.Timeout = b.Check.Interval, b.Check.Timeout
	if b.Check.Kind.On() {
		set.Check = c.check
	}
	if b.Check.AgentPort != 0 {
		set.Agent = c.agent
	}
	set.CheckKey = fmt.Sprintf("%+v %v %v %+v", b.Check, b.Source, b.SendProxy, b.TLS) + string(spec.Password)
	return set
}

// A checker finds out whether a server works. It comes from ftproxy's own address, also
// where sessions come from their clients'.
type checker struct {
	dialer   dial.Dialer
	kind     config.CheckKind
	user     string
	password string
	port     uint16 // of the agent
	timeout  time.Duration
	features *features
}

func newChecker(s *Set, spec Spec) checker {
	b := spec.Backend
	source := b.Source
	source.Client = false
	c := checker{kind: b.Check.Kind, user: b.Check.User, password: string(spec.Password), port: uint16(b.Check.AgentPort), timeout: b.Check.Timeout}
	c.dialer = dial.Dialer{
		IsOwn:   s.Own,
		Network: s.Network, Metrics: s.Metrics, Backend: dial.Backend{Name: b.Name, Source: source, TLS: spec.TLS},
		Timeouts: &config.Timeouts{Connect: c.timeout, Greeting: c.timeout, TLSHandshake: c.timeout},
	}
	switch b.SendProxy {
	case "v1":
		c.dialer.Header, _ = proxyheader.Header{Own: true}.Format(1)
	case "v2":
		c.dialer.Header, _ = proxyheader.Header{Own: true}.Format(2)
	}
	return c
}

var (
	errLogin  = errors.New("the server refuses the login")
	errSilent = errors.New("it says nothing")
)

// check is balance's.
func (c checker) check(ctx context.Context, t balance.Target) (text string, took time.Duration, err error) {
	began := time.Now()
	if c.kind == config.CheckTCP {
		if c.dialer.IsOwn(t.Addr) {
			return "", 0, dial.ErrLoop
		}
		conn, err := c.dialer.Network.Dial(ctx, c.dialer.From(t.Addr.Addr()), t.Addr)
		if err != nil {
			return "", time.Since(began), err
		}
		tcp.Reset(conn) // A FIN would keep a port of ours in TIME_WAIT.
		return "connected", time.Since(began), nil
	}
	sv, err := c.dialer.Dial(ctx, t.Host, t.Addr)
	took = time.Since(began)
	if err != nil {
		return "", took, err
	}
	defer tcp.Reset(sv.Conn)
	text = string(sv.Greeting.Text())
	if c.kind == config.CheckLogin {
		if text, err = c.login(ctx, sv); err != nil {
			return "", took, err
		}
	}
	if reply, err := c.dialer.Ask(ctx, sv, "FEAT"); err == nil {
		c.features.note(t.Addr, reply)
	}
	_, _ = c.dialer.Ask(ctx, sv, "QUIT")
	return text, took, nil
}

// login logs in.
func (c checker) login(ctx context.Context, sv *dial.Server) (text string, err error) {
	reply, err := c.dialer.Ask(ctx, sv, "USER "+c.user)
	if err == nil && ftp.Class(reply.Code) == 3 {
		reply, err = c.dialer.Ask(ctx, sv, "PASS "+c.password)
		if err != nil {
			err = errors.New("PASS: no reply") // The error would quote it.
		}
	}
	switch {
	case err != nil:
		return "", err
	case ftp.Class(reply.Code) != 2 && c.password != "" && strings.Contains(reply.Text(), c.password):
		return "", fmt.Errorf("%w: %d", errLogin, reply.Code) // It quotes the password.
	case ftp.Class(reply.Code) != 2:
		return "", fmt.Errorf("%w: %w", errLogin, logline.PeerText(reply.Text()))
	}
	return strconv.Itoa(reply.Code) + " logged in", nil
}

// maxAgentLine is how much an agent may say.
const maxAgentLine = 1 << 10

// agent is balance's: it reads the line of a server's agent.
func (c checker) agent(ctx context.Context, t balance.Target) (line string, err error) {
	at := netip.AddrPortFrom(t.Addr.Addr(), c.port)
	conn, err := c.dialer.Network.Dial(ctx, c.dialer.From(at.Addr()), at)
	if err != nil {
		return "", err
	}
	defer tcp.Reset(conn)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return firstLine(conn)
}

// firstLine reads a line, or what there is until the end.
func firstLine(conn net.Conn) (string, error) {
	text, err := bufio.NewReader(io.LimitReader(conn, maxAgentLine)).ReadString('\n')
	switch {
	case text != "":
		return text, nil
	case err == nil || errors.Is(err, io.EOF):
		return "", errSilent
	}
	return "", err
}
