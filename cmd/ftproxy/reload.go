package main

import (
	"errors"
	"strings"
	"time"

	"ftproxy/config"
	"ftproxy/internal/admin"
)

var (
	errNoFile   = errors.New("there is no configuration file to reload")
	errStopping = errors.New("ftproxy is leaving service")
)

// reload reads the file again and puts its configuration in force; on an error the
// configuration in force stays. It logs the result, and returns it.
func (s *service) reload(cause string) (admin.Reloaded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.serving.Load() {
		s.log.Error().Str("cause", cause).Err(errStopping).Msg("not reloaded, the configuration in force stays")
		return admin.Reloaded{}, errStopping
	}
	s.notify.reloading()
	began := time.Now()
	done, err := s.reloadFile(cause, began)
	news := &admin.ReloadStatus{At: began, OK: err == nil}
	status := ""
	if err != nil {
		news.Error = err.Error()
		s.metrics.ConfigurationLoaded(false, began)
		for line := range strings.Lines(err.Error()) {
			s.log.Error().Str("problem", strings.TrimRight(line, "\n")).Msg("configuration refused")
		}
		s.log.Error().Str("cause", cause).Str("file", s.file).Msg("not reloaded, the configuration in force stays")
		status = "The last reload was refused, the configuration before it is in force."
	}
	s.reloaded.Store(news)
	if s.serving.Load() { // Once it stops, a service manager is told nothing else.
		s.notify.status(status)
		s.notify.ready()
	}
	return done, err
}

func (s *service) reloadFile(cause string, began time.Time) (done admin.Reloaded, err error) {
	if s.file == "" {
		return done, errNoFile
	}
	conf, err := config.LoadGently(s.file, letSessionsGoFirst)
	if err != nil {
		return done, err
	}
	s.directory.give(conf)
	letSessionsGoFirst()
	changes := config.Changes(s.conf.Load(), conf)
	letSessionsGoFirst()
	if err := s.apply(conf); err != nil {
		return done, err
	}
	letSessionsGoFirst()
	// The changes are logged at the more talkative of the two levels, the old or the new.
	if s.target != nil {
		s.target.lower(conf.Log)
		defer s.target.configure(conf.Log)
	}
	done.Warnings = s.warn(conf)
	for i, c := range changes {
		if i%50 == 49 {
			letSessionsGoFirst()
		}
		s.log.Info().Str("key", c.Key).Str("old", c.Old).Str("new", c.New).Msg("configuration changed")
		done.Changes = append(done.Changes, c.String())
	}
	s.log.Info().Str("cause", cause).Str("file", s.file).Int("changes", len(done.Changes)).
		Dur("took", time.Since(began)).Msg("reloaded")
	return done, nil
}

// letSessionsGoFirst pauses between the parts of a reload: a large configuration
// takes milliseconds, and on one processor a goroutine that is always ready, even
// one that yields, keeps the runtime from looking at the network.
func letSessionsGoFirst() { time.Sleep(time.Microsecond) }
