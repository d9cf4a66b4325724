package main

import (
	"context"
	"path/filepath"

	"ftproxy/config"
)

var serveCommand = command{
	name:    "serve",
	summary: "run the proxy; what ftproxy does without a command",
	usage:   "[-config FILE]",
	help: `Serve runs the proxy and logs to standard error.

SIGHUP, or "ftproxy reload", puts a changed configuration in force: sessions
that run keep the rules that they began with, new ones get the new rules. A
faulty file changes nothing.

SIGTERM, SIGINT (Ctrl-C), or "ftproxy drain", ends it: after shutdown_delay it
takes no new clients, lets running transfers end within timeouts.drain, and
exits. A second signal cuts them at once.

Exit codes: 0 it ended and nothing was cut, 1 it could not start, 2 wrong usage,
3 it ended and something had to be cut.

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
	log, target := newLogger(conf.Log, p.stderr)
	s := newService(log)
	s.file, s.target, s.warnings = *path, target, p.warnings
	s.directory = p.runtimeDirectory
	s.warn(conf)
	if err := s.start(conf); err != nil {
		return p.failed(err)
	}
	s.announce()
	cut, err := s.untilStopped(ctx, p.signals)
	switch {
	case err != nil:
		return p.failed(err)
	case cut:
		return exitCut
	}
	return exitOK
}

// absolute is where a file is, whatever the working directory of whoever reads it.
func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

// warn logs what a configuration allows but is unwise, as check prints it.
func (s *service) warn(conf *config.Config) (lines []string) {
	for _, w := range s.warnings(conf) {
		s.log.Warn().Str("file", w.File).Int("line", w.Line).Str("key", w.Key).
			Str("problem", w.Message).Str("hint", w.Hint).Msg("configuration warning")
		lines = append(lines, w.Error())
	}
	return lines
}
