package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestEventWriter(t *testing.T) {
	tests := []struct {
		name string
		log  func(zerolog.Logger)
		want string
	}{
		{"session started", func(l zerolog.Logger) {
			l.Info().Str("session", "a1-1").Str("client", "127.0.0.1:4000").Str("frontend", "demo").Msg("session started")
		}, "a1-1         connected from 127.0.0.1:4000"},
		{"session ended", func(l zerolog.Logger) {
			l.Info().Str("session", "a1-1").Str("reason", "quit").Dur("duration", 1234567*time.Nanosecond).Msg("session ended")
		}, "a1-1         ended (quit) after 1.2 ms"},
		{"session failed", func(l zerolog.Logger) {
			l.Info().Str("session", "a1-1").Str("reason", "no_server").AnErr("cause", errors.New("refused")).Msg("session ended")
		}, "a1-1         ended (no_server) after 0.0 ms, refused"},
		{"download", func(l zerolog.Logger) {
			l.Info().Str("session", "a1-1").Str("direction", "download").Str("verb", "RETR").Str("path", "hello.txt").
				Int64("bytes", 5_000_000_000).Dur("duration", 2*time.Second).Str("client_mode", "EPSV").Str("server_mode", "PASV").
				Int("code", 226).Str("result", "ok").Msg("transfer")
		}, "a1-1         download: RETR hello.txt, 5000000000 bytes in 2000.0 ms; client said EPSV, server was told PASV; 226 ok"},
		{"client protected", func(l zerolog.Logger) {
			l.Info().Str("session", "a1-1").Str("tls", "TLS 1.3").Str("cipher", "x").Msg("client protected")
		}, "a1-1         protected by TLS 1.3"},
		{"protected download", func(l zerolog.Logger) {
			l.Info().Str("session", "a1-1").Str("direction", "download").Str("verb", "NLST").
				Int64("bytes", 5).Dur("duration", 0).Str("client_mode", "EPSV").Str("server_mode", "PASV").
				Str("client_data_tls", "TLS 1.3").Int("code", 226).Str("result", "ok").Msg("transfer")
		}, "a1-1         download: NLST, 5 bytes in 0.0 ms; client said EPSV with TLS 1.3, server was told PASV; 226 ok"},
		{"failed upload without a path", func(l zerolog.Logger) {
			l.Info().Str("session", "a1-1").Str("direction", "upload").Str("verb", "STOU").Str("path", "").
				Int64("bytes", 0).Dur("duration", 0).Str("client_mode", "PORT").Str("server_mode", "PORT").
				Int("code", 425).Str("result", "client").AnErr("cause", errors.New("client leg: refused")).Msg("transfer")
		}, "a1-1         upload: STOU, 0 bytes in 0.0 ms; client said PORT, server was told PORT; 425 client: client leg: refused"},
		{"a path that would move the cursor", func(l zerolog.Logger) {
			l.Info().Str("session", "a1-1").Str("path", "\x1b[2J\u009b1m\n").Msg("transfer")
		}, `a1-1         -: - "\x1b[2J\u009b1m\n", - bytes in 0.0 ms; client said -, server was told -; - -`},
		{"stopping", func(l zerolog.Logger) {
			l.Info().Str("cause", "interrupt").Stringer("shutdown_delay", time.Duration(0)).Stringer("drain", 3*time.Second).Msg("stopping")
		}, "stopping (interrupt); running transfers have 3s to end"},
		{"another event", func(l zerolog.Logger) {
			l.Warn().Str("text", "").Bool("dropped", true).Int("code", 200).Msg("reply dropped")
		}, `reply dropped code=200 dropped=true text=""`},
	}
	for _, tt := range tests {
		var out strings.Builder
		tt.log(zerolog.New(&eventWriter{out: &out, now: func() time.Time { return time.Time{} }}))
		if got, want := out.String(), "00:00:00.000  "+tt.want+"\n"; got != want {
			t.Errorf("%s:\n%swant:\n%s", tt.name, got, want)
		}
	}
}
