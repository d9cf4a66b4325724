package main

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/admin"
	"ftproxy/internal/metrics"
	"ftproxy/internal/tcp"
	"ftproxy/proxy"
)

// A service is a proxy at work, with its admin address and its control socket.
type service struct {
	file      string                                // of the configuration; empty: none to reload
	target    *logTarget                            // of log; nil: it stays as it is
	warnings  func(*config.Config) []config.Problem // of a configuration on this machine
	directory runtimeDirectory
	log       zerolog.Logger
	metrics   *metrics.Metrics
	process   *proxy.Process
	notify    *notifier
	began     time.Time
	serving   atomic.Bool   // between the first listener and the signal to stop
	asked     chan string   // to stop, with the cause
	left      chan struct{} // closed when the process has left service
	cut       bool          // set before left is closed: something had to be cut

	conf     atomic.Pointer[config.Config] // in force
	reloaded atomic.Pointer[admin.ReloadStatus]
	reloads  chan string // asked for by signals, with the cause

	mu      sync.Mutex // one reload at a time; guards what follows
	servers adminServers
	closing sync.WaitGroup // admin servers that are being closed, because no configuration has them any more
}

// adminServers are what the service itself listens with, beside the proxy.
type adminServers struct {
	admin   *admin.Server        // nil where it is off
	control *admin.ControlServer // nil where it is off
}

func newService(log zerolog.Logger) *service {
	counts := metrics.New(buildVersion())
	return &service{
		log:     log,
		metrics: counts,
		process: proxy.New(proxy.Options{Network: tcp.Network{}, Log: log, Metrics: counts, Descriptors: descriptorLimit()}),
		notify:  newNotifier(log),
		began:   time.Now(),
		asked:   make(chan string, 1),
		left:    make(chan struct{}),
		reloads: make(chan string, 1),
	}
}

// start opens all listeners, or none.
func (s *service) start(conf *config.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.apply(conf); err != nil {
		_ = s.process.Shutdown(context.Background())
		return err
	}
	s.serving.Store(true)
	return nil
}

// apply puts conf in force, in the process and in the admin servers: all of it, or on an
// error nothing.
func (s *service) apply(conf *config.Config) error {
	if err := checkDescriptors(conf, descriptorLimit()); err != nil {
		return err
	}
	if err := checkLocalLoops(conf, nil); err != nil {
		return err
	}
	opened, err := s.open(conf)
	if err != nil {
		return err
	}
	if err := s.process.Apply(conf); err != nil {
		opened.close()
		return explain(conf, err)
	}
	closing := s.swap(conf, opened)
	s.conf.Store(conf)
	s.metrics.ConfigurationLoaded(true, time.Now())
	s.closing.Go(closing.close) // The reload that is under way may have come by one of them.
	return nil
}

// open opens the admin servers that conf has and the service has not.
func (s *service) open(conf *config.Config) (opened adminServers, err error) {
	s.closing.Wait() // It may be the same address again.
	old := s.conf.Load()
	if at := conf.Admin.Listen; at.IsValid() && (old == nil || at != old.Admin.Listen) {
		opened.admin, err = admin.New(at, s.metrics.Handler(), s.ready, s.log)
		if err != nil {
			return adminServers{}, &listenError{"admin", at, "admin.listen", err}
		}
	}
	if path := conf.Control.Socket; path != "" && s.wantsControl(conf) {
		opened.control, err = admin.ListenControl(path, s, s.log)
		if err != nil {
			opened.close()
			return adminServers{}, err
		}
	}
	return opened, nil
}

// swap takes the admin servers that were opened for conf in use, and returns those that
// it does not have any more.
func (s *service) swap(conf *config.Config, opened adminServers) (closing adminServers) {
	old := s.conf.Load()
	if old == nil || conf.Admin.Listen != old.Admin.Listen {
		s.servers.admin, closing.admin = opened.admin, s.servers.admin
	}
	if opened.control != nil || conf.Control.Socket == "" {
		s.servers.control, closing.control = opened.control, s.servers.control
	}
	return closing
}

// lastWords is what a service manager allows for the end itself, after the drain.
const lastWords = 15 * time.Second

// wantsControl tells whether the control socket of conf is another than the one that
// is open, or that one cannot be found any more.
func (s *service) wantsControl(conf *config.Config) bool {
	old := s.conf.Load()
	return old == nil || conf.Control.Socket != old.Control.Socket || s.servers.control.Gone()
}

// closeLimit bounds what an unfinished request may delay a close by.
const closeLimit = time.Second

func (a adminServers) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	// A request that was cut is no failure.
	if a.control != nil {
		_ = a.control.Close(ctx)
	}
	if a.admin != nil {
		_ = a.admin.Close(ctx)
	}
}

func (s *service) ready() bool { return s.serving.Load() }

// announce logs one line for each listening address.
func (s *service) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.process.Addrs()
	for _, f := range s.conf.Load().Frontends {
		for _, address := range f.Listen {
			if a := open[address]; a != nil { // An IPv6 wildcard may be missing.
				s.log.Info().Str("frontend", f.Name).Stringer("listen", a).Str("backend", f.Backend).Msg("listening")
			}
		}
	}
	if s.servers.admin != nil {
		s.log.Info().Stringer("listen", s.servers.admin.Addr()).Msg("admin listening")
	}
	if s.servers.control != nil {
		s.log.Info().Str("socket", s.servers.control.Path()).Msg("control socket listening")
	}
}

// untilStopped serves until a signal, the control socket or ctx says to stop,
// then leaves service. A second signal ends at once what the first lets end. It
// reports whether something had to be cut.
func (s *service) untilStopped(ctx context.Context, signals <-chan os.Signal) (cut bool, err error) {
	watching, unwatch := context.WithCancel(context.Background())
	defer unwatch()
	s.notify.ready()
	fed := s.notify.watchdog(watching, s.alive)
	reloadsEnded := make(chan struct{})
	go s.reloadOnSignal(reloadsEnded)
	cause := s.wait(ctx, signals)
	s.serving.Store(false)
	s.notify.stopping()
	s.notify.status("Leaving service, running transfers may end.")
	timeouts := s.conf.Load().Timeouts
	s.notify.extend(timeouts.ShutdownDelay + timeouts.Drain + lastWords)
	s.log.Info().Str("cause", cause).Stringer("shutdown_delay", timeouts.ShutdownDelay).
		Stringer("drain", timeouts.Drain).Msg("stopping")

	stopping, hardStop := context.WithTimeout(context.Background(), timeouts.ShutdownDelay+timeouts.Drain)
	defer hardStop()
	released := make(chan struct{})
	watched := make(chan struct{})
	go s.hardStopOnSignal(signals, hardStop, released, watched)

	delay := time.NewTimer(timeouts.ShutdownDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-stopping.Done():
	}
	err = s.process.Shutdown(stopping)
	s.cut = errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	close(released)
	<-watched
	close(s.reloads)
	<-reloadsEnded
	s.mu.Lock() // A reload that was under way ends: the process refuses it.
	last := s.servers
	s.servers = adminServers{}
	s.mu.Unlock()
	s.closing.Wait()
	// Who waits for the end of the drain may start another ftproxy then: the
	// control socket, which tells of it, is the last.
	adminServers{admin: last.admin}.close()
	close(s.left)
	adminServers{control: last.control}.close()
	unwatch()
	<-fed
	s.notify.close()
	switch {
	case s.cut:
		s.log.Warn().Msg("stopped, what was still running was cut")
		return true, nil
	case err == nil:
		s.log.Info().Msg("stopped")
	}
	return false, err
}

// alive takes the locks that sessions wait for. The watchdog hears nothing where
// one of them is never free.
func (s *service) alive() bool {
	s.process.Status()
	return true
}

// wait returns why to stop.
func (s *service) wait(ctx context.Context, signals <-chan os.Signal) (cause string) {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx).Error()
		case cause := <-s.asked:
			return cause
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return sig.String()
			}
			s.askReload(sig.String())
		}
	}
}

// askReload has the file read again, after what is asked for already. A resolver
// may take its time, and a signal to stop must not wait for it.
func (s *service) askReload(cause string) {
	select {
	case s.reloads <- cause:
	default: // The next one reads what is in the file now.
	}
}

func (s *service) reloadOnSignal(ended chan<- struct{}) {
	defer close(ended)
	for cause := range s.reloads {
		_, _ = s.reload(cause) // It has logged what came of it.
	}
}

// hardStopOnSignal ends the drain at the first signal to stop.
func (s *service) hardStopOnSignal(signals <-chan os.Signal, cut context.CancelFunc, released <-chan struct{}, watched chan<- struct{}) {
	defer close(watched)
	for {
		select {
		case <-released:
			return
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				s.askReload(sig.String())
				continue
			}
			s.log.Warn().Str("cause", sig.String()).Msg("cutting what is still running")
			cut()
			return
		}
	}
}

// listens is where the service listens for a frontend's configured address.
func (s *service) listens(address netip.AddrPort) (netip.AddrPort, error) {
	return netip.ParseAddrPort(s.process.Addrs()[address].String())
}
