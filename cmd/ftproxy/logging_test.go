package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"ftproxy/config"
)

// What clients and servers send reaches the log as values. None of it may end a
// line or act on a terminal, in either format.
func TestLogInjection(t *testing.T) {
	const attack = "a\r\n{\"level\":\"info\"}\x1b[2J\x00\x7f\u0085\u009b31m\u2028\u2029\xff é"
	for _, format := range []string{"json", "console"} {
		var out bytes.Buffer
		log, _ := newLogger(config.Log{Level: "info", Format: format}, &out)
		log.Info().Str("path", attack).Err(errors.New(attack)).Bytes("raw", []byte(attack)).Msg("transfer ended")
		text := out.String()
		if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s: not one line: %q", format, text)
		}
		for _, r := range strings.TrimSuffix(text, "\n") {
			if r < ' ' || actedOn(r) {
				t.Errorf("%s: %U in %q", format, r, text)
			}
		}
	}
}

// What is escaped is still the same text to a JSON reader.
func TestEscapingKeepsText(t *testing.T) {
	const text = "\x7f\u0085\u009b31m\u2028\u2029\u202e\u200b\ufeff\U000e0041\U00100000 é"
	var out bytes.Buffer
	log, _ := newLogger(config.Log{Level: "info", Format: "json"}, &out)
	log.Info().Str("path", text).Msg("transfer ended")
	if strings.ContainsAny(out.String(), "\x7f\u0085\u009b\u2028\u2029\u202e\u200b\ufeff\U000e0041\U00100000") {
		t.Errorf("not escaped: %q", out.String())
	}
	var e map[string]string
	if err := json.Unmarshal(out.Bytes(), &e); err != nil {
		t.Fatal(err)
	}
	if e["path"] != text || e["message"] != "transfer ended" || e["level"] != "info" {
		t.Errorf("%q", e)
	}
	if _, err := time.Parse(time.RFC3339, e["time"]); err != nil {
		t.Error(err)
	}
}

func TestLogLevel(t *testing.T) {
	for level, want := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1} {
		var out bytes.Buffer
		log, _ := newLogger(config.Log{Level: level, Format: "json"}, &out)
		log.Debug().Msg("d")
		log.Info().Msg("i")
		log.Warn().Msg("w")
		log.Error().Msg("e")
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("%s logs %d of 4 levels, want %d", level, got, want)
		}
	}
}

// A reload may change both, and loggers that are in use follow.
func TestLogTargetChanges(t *testing.T) {
	var out bytes.Buffer
	log, target := newLogger(config.Log{Level: "warn", Format: "json"}, &out)
	session := log.With().Str("session", "1").Logger()
	session.Info().Msg("one")
	target.configure(config.Log{Level: "debug", Format: "console"})
	session.Debug().Msg("two")
	target.configure(config.Log{Level: "info", Format: "json"})
	session.Debug().Msg("three")
	session.Info().Msg("four")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "DBG two session=1") || !strings.HasPrefix(lines[1], `{"level":"info","session":"1"`) {
		t.Errorf("%q", lines)
	}
}
