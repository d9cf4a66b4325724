package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

var serverKeys = section[Server]{
	path:  "backend.NAME.server.LABEL",
	apart: true,
	help: `A server with settings of its own. Write one such table for each server, instead of the list servers,
		with a label made of letters, digits, - and _. Their order in the file is the order of the servers.`,
	rows: []row[Server]{{
		name: "address",
		value: value[Server]{
			kind:   `"HOST", "HOST:PORT", "[IPv6]:PORT" or "srv:NAME"`,
			preset: func(s *Server) { s.Host, s.Port, s.SRV = "", 0, false },
			read:   cell.address,
			print:  func(s *Server) string { return quote(s.String()) },
		},
		example:  `"10.0.0.7:21"`,
		required: `write address = "10.0.0.7:21"`,
		help:     `The address of the server, written as in servers.`,
	}, {
		name:  "weight",
		value: sparse(between(1, MaxWeight), 1, func(s *Server) *int { return &s.Weight }),
		help: `The share of the clients that the server gets, 1 to 256: a server with weight 2 gets twice as many as
			one with weight 1. It has no effect with balance = "first". If the address stands for several
			servers, each has this weight.`,
	}, {
		name:  "backup",
		value: field(boolean, false, func(s *Server) *bool { return &s.Backup }),
		help:  `Whether the server is a spare one, which gets clients only while none of the others works.`,
	}, {
		name:  "max_sessions",
		value: field(whole(0), 0, func(s *Server) *int { return &s.MaxSessions }),
		help: `The most sessions that the server gets at once. 0 is no limit. If the address stands for several
			servers, each has this limit.`,
	}},
}

var checkKeys = section[Check]{
	path: "backend.NAME.check",
	help: `How ftproxy finds out which servers work. Without this table it learns that only from the sessions
		of clients.`,
	rules: checkRules,
	rows: []row[Check]{{
		name:  "kind",
		value: sparse(words(CheckOff, CheckTCP, CheckFTP, CheckLogin), CheckOff, func(c *Check) *CheckKind { return &c.Kind }),
		help: `What ftproxy does to check a server. "off": nothing. "tcp": it connects. "ftp": it waits for the greeting
			and sends QUIT. "login": it logs in with user and password_file. With TLS to the servers, "ftp" and
			"login" use it.`,
	}, {
		name:  "interval",
		value: field(durationFrom(100*time.Millisecond), 5*time.Second, func(c *Check) *time.Duration { return &c.Interval }),
		help:  `The time between two checks of a server, "100ms" or longer. It varies by a tenth.`,
	}, {
		name:  "timeout",
		value: field(duration, 5*time.Second, func(c *Check) *time.Duration { return &c.Timeout }),
		help:  `The time for a check. A check that takes longer has failed.`,
	}, {
		name:  "rise",
		value: field(whole(1), 2, func(c *Check) *int { return &c.Rise }),
		help:  `How many checks in a row must succeed before a server gets clients again.`,
	}, {
		name:  "fall",
		value: field(whole(1), 3, func(c *Check) *int { return &c.Fall }),
		help: `How many checks, or connections for clients, must fail in a row before a server gets no clients. It counts
			with kind = "off", too.`,
	}, {
		name:  "user",
		value: field(userName, "", func(c *Check) *string { return &c.User }),
		help:  `The user that kind = "login" logs in as.`,
	}, {
		name:  "password_file",
		value: field(passwordFile, "", func(c *Check) *string { return &c.PasswordFile }),
		help: `The absolute path of a file that holds the password for kind = "login", and nothing else. Only the user of the
			service should be able to read it.`,
	}, {
		name:  "agent_port",
		value: field(between(0, maxPort), 0, func(c *Check) *int { return &c.AgentPort }),
		help: `The port at which an agent on each server says how the server is, in HAProxy's words: up, down, drain,
			maint, or a share of its weight like 75%. ftproxy asks it every interval. 0 is none. An agent may be
			used beside a check.`,
	}},
}

// The kinds of single keys of a check.
var (
	userName     = kind[string]{"the name of a user", readUserName, quote}
	passwordFile = kind[string]{"an absolute path", readPasswordFile, quote}
)

// address reads a server's address, and notes it, because it may not be ftproxy itself.
func (c cell) address(s *Server) {
	var at Server
	one := func(values []string) string {
		return fmt.Sprintf("a table for each, and address = %q in the first", values[0])
	}
	parsed(c, &at, "10.0.0.7:21", func(text string) (Server, *wrong) { return looked(text, one, parseServer) })
	if at.Host == "" {
		return
	}
	s.Host, s.Port, s.SRV = at.Host, at.Port, at.SRV
	c.in.checks.servers = append(c.in.checks.servers, serverUse{server: at, key: c.entry.path, line: c.entry.line})
}

func readUserName(c cell, name *string) {
	parsed(c, name, "ftproxy", func(s string) (string, *wrong) {
		for _, r := range s {
			if unicode.IsControl(r) {
				return "", wrongf("write the name alone", "the name holds the control character %U", r)
			}
		}
		if bare := strings.TrimSpace(s); bare != s {
			return "", wrongf(fmt.Sprintf("write %q", bare), "%q has spaces around it", s)
		}
		return s, nil
	})
}

// readPasswordFile reads a path. What is no path may be the password, so it is not repeated.
func readPasswordFile(c cell, path *string) {
	const example = `write the whole path of a file that holds the password, for example "/etc/ftproxy/check.password"`
	if _, ok := c.entry.value.(string); !ok {
		c.fault(c.entry.line, wrongf(example, "must be a string"))
		return
	}
	parsed(c, path, "/etc/ftproxy/check.password", func(s string) (string, *wrong) {
		switch {
		case s == "":
			return "", nil
		case !strings.HasPrefix(s, "/"):
			return "", wrongf(example, "is not an absolute path")
		}
		return s, checkPath(s, strings.TrimSpace(s), example)
	})
}

// checkRules reports keys that are missing beside others, or have no effect.
func checkRules(s *section[Check], t table, c *Check) {
	if !t.sound("kind") {
		return
	}
	for _, key := range []string{"user", "password_file"} {
		switch given := t.given(key); {
		case given && c.Kind != CheckLogin:
			t.faultAt(t.line(key), key, wrongf(`write kind = "login", or remove this key`, "has no effect with kind = %q", c.Kind))
		case !given && c.Kind == CheckLogin && key == "user":
			t.faultAt(t.line("kind"), key, wrongf(`write user = "NAME" with a user that all servers know`, `is missing, and kind = "login" needs it`))
		case !given && c.Kind == CheckLogin:
			t.faultAt(t.line("kind"), key, wrongf(`write password_file = "/etc/ftproxy/check.password" with the path of yours`, `is missing, and kind = "login" needs it`))
		}
	}
	if c.Kind.On() || c.AgentPort != 0 || !t.sound("agent_port") {
		return
	}
	defaults := s.defaults()
	preset := s.settings(&defaults)
	for i, got := range s.settings(c) {
		if got != preset[i] && slices.Contains([]string{"interval", "timeout", "rise"}, got.key) {
			t.faultAt(t.line(got.key), got.key, wrongf(`write kind = "ftp", too, or remove this key`, `has no effect with kind = "off" and no agent_port`))
		}
	}
}
