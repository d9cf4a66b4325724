package proxy

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/metrics"
)

// The server has no IPv4 address.
func TestDialoguesServer6(t *testing.T) {
	base := strings.Replace(dialogueConfig, `"10.0.0.5"`, `"ftp6.internal"`, 1)
	ftptest.RunDialogues(t, "testdata/dialogues/server6/*.txt", startDialogue(base))
}

// The clients reach ftproxy through address translation.
func TestDialoguesNAT(t *testing.T) {
	base := strings.Replace(dialogueConfig, `public_address = "203.0.113.9"`, `public_address = "192.0.2.1"`, 1)
	ftptest.RunDialogues(t, "testdata/dialogues/nat/*.txt", startDialogue(base))
}

// Draining ends after a minute, and what is left then is cut.
func TestDialoguesCut(t *testing.T) {
	ftptest.RunDialogues(t, "testdata/dialogues/cut/*.txt", startCutDialogue)
}

func startCutDialogue(t testing.TB, host *ftptest.Host, extra string, logs io.Writer) (stop func()) {
	c, err := config.Parse("dialogue.toml", []byte(dialogueConfig+extra))
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{Network: host, Log: zerolog.New(logs), Metrics: metrics.New("test")})
	if err := p.Apply(c); err != nil {
		t.Fatal(err)
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shutdown: %v, want it to say that it had to cut", err)
		}
	}
}
