package proxy

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"ftproxy/config"
	"ftproxy/internal/ftptest"
	"ftproxy/internal/metrics"
)

// dialogueConfig is what every dialogue begins with. One port per range makes
// the replies predictable.
const dialogueConfig = `
[frontend.public]
listen = ["203.0.113.9:21", "[2001:db8::9]:21"]
public_address = "203.0.113.9"
passive_ports = "40000"
backend = "inside"

[backend.inside]
servers = "10.0.0.5"
data_ports = "31000-31001"
`

func TestDialogues(t *testing.T) {
	ftptest.RunDialogues(t, "testdata/dialogues/*.txt", startDialogue(dialogueConfig))
}

// Here config> lines belong to the frontend.
func TestAddressDialogues(t *testing.T) {
	ftptest.RunDialogues(t, "testdata/dialogues/addresses/*.txt", startDialogue(`
[backend.inside]
servers = "10.0.0.5"
data_ports = "31000-31001"

[frontend.public]
listen = ["203.0.113.9:21", "[2001:db8::9]:21"]
passive_ports = "40000"
backend = "inside"
`))
}

// startDialogue starts a proxy with the configuration of a dialogue.
func startDialogue(base string) ftptest.Start { return startUntil(base, nil) }

// startUntil starts one whose drain, of 10 minutes, ends with the error want.
func startUntil(base string, want error) ftptest.Start {
	return func(t testing.TB, host *ftptest.Host, extra string, logs io.Writer) ftptest.Proxy {
		p := New(Options{
			Network: fakeNetwork{host},
			Log:     zerolog.New(logs).Level(zerolog.DebugLevel),
			Metrics: metrics.New("test"),
		})
		inForce := base + extra
		if err := applyText(p, inForce); err != nil {
			t.Fatal(err)
		}
		return ftptest.Proxy{
			Stop: func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
				defer cancel()
				if err := p.Shutdown(ctx); !errors.Is(err, want) {
					t.Errorf("shutdown: %v, want %v", err, want)
				}
			},
			Reload: func(changes string) error {
				changed, err := ftptest.Changed(inForce, changes)
				if err != nil {
					return err
				}
				if err := applyText(p, changed); err != nil {
					return err
				}
				inForce = changed
				return nil
			},
		}
	}
}

// applyText puts the text of a configuration in force.
func applyText(p *Process, text string) error {
	c, err := config.Parse("dialogue.toml", []byte(text))
	if err != nil {
		return err
	}
	return p.Apply(c)
}
