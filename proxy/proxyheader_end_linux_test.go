package proxy

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestShutdownWhileHeadersAreAwaited: a proxy that says nothing holds up no end, and
// its connection is reset and counted as what it is.
func TestShutdownWhileHeadersAreAwaited(t *testing.T) {
	fc := openForecourt(t, nil)
	silent := dialLoopback(t, fc.at.String())
	if _, err := silent.Write([]byte("PROXY TCP4 ")); err != nil {
		t.Fatal(err)
	}
	awaited := func() bool { return fc.sockets.open() == 2 } // the listener and this one
	for deadline := time.Now().Add(socketTimeout); !awaited(); {
		if time.Now().After(deadline) {
			t.Fatal("the connection does not arrive")
		}
		<-time.After(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), socketTimeout)
	defer cancel()
	if err := fc.process.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	wantReset(t, "the proxy", silent)
	if !strings.Contains(fc.logs.String(), `"reason":"shutdown"`) {
		t.Errorf("the log:\n%s", fc.logs)
	}
}
