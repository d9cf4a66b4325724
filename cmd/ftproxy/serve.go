package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/admin"
	"ftproxy/internal/metrics"
	"ftproxy/proxy"
)

var serveCommand = command{
	name:    "serve",
	summary: "run the proxy; what ftproxy does without a command",
	usage:   "[-config FILE]",
	help: `Serve runs the proxy until SIGTERM or SIGINT (Ctrl-C). Then it takes no new
clients, lets running transfers end within timeouts.drain, and exits 0; a second
signal cuts them. It logs to standard error.

Exit codes: 0 it ended as asked, 1 it could not start, 2 wrong usage.

Example:

  ftproxy serve -config /etc/ftproxy/config.toml
`,
	run: (*program).serve,
}

func (p *program) serve(ctx context.Context, c *command, args []string) int {
	f := c.flags()
	path := f.String("config", defaultConfig, "read the configuration from `FILE`")
	if code, ok := p.parse(c, f, args); !ok {
		return code
	}
	conf, ok := p.load(*path)
	if !ok {
		return exitFailed
	}
	log := newLogger(conf.Log, p.stderr)
	for _, w := range p.warnings(conf) {
		log.Warn().Str("file", w.File).Int("line", w.Line).Str("key", w.Key).
			Str("problem", w.Message).Str("hint", w.Hint).Msg("configuration warning")
	}
	s, err := start(conf, log)
	if err != nil {
		return p.failed(err)
	}
	s.announce()
	if err := s.untilStopped(ctx, p.signals); err != nil {
		return p.failed(err)
	}
	return exitOK
}

// A service is a proxy at work, with its admin address.
type service struct {
	conf    *config.Config
	log     zerolog.Logger
	process *proxy.Process
	admin   *admin.Server // nil where it is off
	serving atomic.Bool   // between the first listener and the signal to stop
}

// start opens all listeners, or none.
func start(conf *config.Config, log zerolog.Logger) (*service, error) {
	counts := metrics.New(buildVersion())
	s := &service{
		conf:    conf,
		log:     log,
		process: proxy.New(proxy.Options{Network: proxy.TCP{}, Log: log, Metrics: counts}),
	}
	if conf.Admin.Listen.IsValid() {
		var err error
		s.admin, err = admin.New(conf.Admin.Listen, counts.Handler(), s.ready, log)
		if err != nil {
			return nil, &listenError{"admin", conf.Admin.Listen, "admin.listen", err}
		}
	}
	if err := s.process.Apply(conf); err != nil {
		return nil, errors.Join(explain(err), s.stop(context.Background()))
	}
	s.serving.Store(true)
	return s, nil
}

func (s *service) ready() bool { return s.serving.Load() }

// announce logs one line for each listening address.
func (s *service) announce() {
	open := s.process.Addrs()
	for _, f := range s.conf.Frontends {
		for _, address := range f.Listen {
			if a := open[address]; a != nil { // An IPv6 wildcard may be missing.
				s.log.Info().Str("frontend", f.Name).Stringer("listen", a).Str("backend", f.Backend).Msg("listening")
			}
		}
	}
	if s.admin != nil {
		s.log.Info().Stringer("listen", s.admin.Addr()).Msg("admin listening")
	}
}

// untilStopped serves until a signal or ctx says to stop, then leaves service.
// A second signal ends at once what the first lets end.
func (s *service) untilStopped(ctx context.Context, signals <-chan os.Signal) error {
	cause := s.wait(ctx, signals)
	s.serving.Store(false)
	s.log.Info().Str("cause", cause).Stringer("shutdown_delay", s.conf.Timeouts.ShutdownDelay).
		Stringer("drain", s.conf.Timeouts.Drain).Msg("stopping")

	stopping, cut := context.WithTimeout(context.Background(), s.conf.Timeouts.ShutdownDelay+s.conf.Timeouts.Drain)
	defer cut()
	released := make(chan struct{})
	watched := make(chan struct{})
	go s.cutOnSignal(signals, cut, released, watched)

	delay := time.NewTimer(s.conf.Timeouts.ShutdownDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-stopping.Done():
	}
	err := s.stop(stopping)
	close(released)
	<-watched

	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn().Msg("stopped, what was still running was cut")
		return nil
	}
	if err == nil {
		s.log.Info().Msg("stopped")
	}
	return err
}

// wait returns why to stop.
func (s *service) wait(ctx context.Context, signals <-chan os.Signal) (cause string) {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx).Error()
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return sig.String()
			}
			s.ignoreReload()
		}
	}
}

// cutOnSignal ends the drain at the first signal to stop.
func (s *service) cutOnSignal(signals <-chan os.Signal, cut context.CancelFunc, released <-chan struct{}, watched chan<- struct{}) {
	defer close(watched)
	for {
		select {
		case <-released:
			return
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				s.ignoreReload()
				continue
			}
			s.log.Warn().Str("cause", sig.String()).Msg("cutting what is still running")
			cut()
			return
		}
	}
}

func (s *service) ignoreReload() {
	s.log.Warn().Str("hint", "restart ftproxy to use a changed configuration").
		Msg("reload is not available in this version")
}

// adminLimit bounds what an unfinished scrape may delay the end by.
const adminLimit = time.Second

// stop closes everything; the admin address last, so that it tells of the drain.
func (s *service) stop(ctx context.Context) error {
	err := s.process.Shutdown(ctx)
	if s.admin != nil {
		bounded, cancel := context.WithTimeout(context.Background(), adminLimit)
		defer cancel()
		_ = s.admin.Close(bounded) // A scrape that was cut is no failure.
	}
	return err
}

// explain turns what Apply returned into what to do about it, one line for each
// listener that failed.
func explain(err error) error {
	failures := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		failures = joined.Unwrap()
	}
	var lines []error
	for _, one := range failures {
		var failed *proxy.ListenError
		var source *proxy.SourceError
		switch {
		case errors.As(one, &failed):
			one = &listenError{"frontend " + failed.Frontend, failed.Addr, "frontend." + failed.Frontend + ".listen", failed.Err}
		case errors.As(one, &source):
			one = fmt.Errorf("frontend %s: cannot connect from port %d: %w: %s", source.Frontend, source.Port, source.Err,
				needsCapability("frontend."+source.Frontend+".active_source_ports"))
		}
		lines = append(lines, one)
	}
	slices.SortFunc(lines, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(lines...)
}

// A listenError says why an address cannot be listened on, and what to do.
type listenError struct {
	what    string // "admin", "frontend public"
	address netip.AddrPort
	key     string // where it is configured
	cause   error
}

func (e *listenError) Error() string {
	return fmt.Sprintf("%s: cannot listen on %s: %s", e.what, e.address, e.advice())
}

func (e *listenError) Unwrap() error { return e.cause }

func (e *listenError) advice() string {
	err, address, key := e.cause, e.address, e.key
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("the port is in use by another program; `ss -ltnp 'sport = :%d'` shows which: stop it, or change %s",
			address.Port(), key)
	case errors.Is(err, syscall.EACCES) && address.Port() < 1024:
		return needsCapability(key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("this machine does not have the address; `ip address` lists those it has: change %s", key)
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Sprintf("this machine has no %s; take the address out of %s", family(address.Addr()), key)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // the address stands in the message already
	}
	return err.Error()
}

func needsCapability(key string) string {
	return fmt.Sprintf("ports below 1024 need CAP_NET_BIND_SERVICE: "+
		"`setcap cap_net_bind_service=+ep %s`, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, "+
		"or a port from 1024 up in %s", executable(), key)
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func executable() string {
	path, err := os.Executable()
	if err != nil {
		return "/path/to/ftproxy"
	}
	return path
}
