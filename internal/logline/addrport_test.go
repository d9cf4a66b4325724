package logline

import (
	"bytes"
	"io"
	"net/netip"
	"testing"

	"github.com/rs/zerolog"
)

// An address looks as its String does, and costs no memory.
func TestAddrPort(t *testing.T) {
	for _, addr := range []netip.AddrPort{{}, netip.MustParseAddrPort("192.0.2.1:21"), netip.MustParseAddrPort("[2001:db8::1%eth0]:21")} {
		var got, want bytes.Buffer
		Log{Logger: zerolog.New(&got)}.Info().AddrPort("at", addr).Msg("m")
		Log{Logger: zerolog.New(&want)}.Info().Stringer("at", addr).Msg("m")
		if got.String() != want.String() {
			t.Errorf("%s; want %s", got.String(), want.String())
		}
		log := Log{Logger: zerolog.New(io.Discard)}
		if n := testing.AllocsPerRun(100, func() { log.Info().AddrPort("at", addr).Msg("m") }); n > 0 && addr.IsValid() {
			t.Errorf("%v allocations for %v", n, addr)
		}
	}
}
