package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"ftproxy/rewrite"
)

// A script is a row of events, two bytes each: which event of which session,
// and how. Every row of bytes is a script; an event that makes no sense at its
// moment is skipped.
const fuzzEvent = 2

// maxFuzzEvents bounds the time that a script takes.
const maxFuzzEvents = 120

// fuzzEvents is what may happen. An event stands as often as it shall be drawn.
var fuzzEvents = func() []func(*fuzzScene, int) bool {
	var events []func(*fuzzScene, int) bool
	for _, e := range []struct {
		times int
		do    func(*fuzzScene, int) bool
	}{
		{10, (*fuzzScene).doCommand},
		{4, (*fuzzScene).doPipeline},
		{6, (*fuzzScene).doTransferFlow},
		{2, (*fuzzScene).doRefused},
		{12, (*fuzzScene).doAnswer},
		{4, (*fuzzScene).doPreliminary},
		{3, (*fuzzScene).doServerOdd},
		{1, (*fuzzScene).doServerEnd},
		{1, (*fuzzScene).doClientEnd},
		{6, (*fuzzScene).doConnect},
		{3, (*fuzzScene).doConnectLate},
		{6, (*fuzzScene).doData},
		{4, (*fuzzScene).doDataEnd},
		{3, (*fuzzScene).doWait},
		{1, (*fuzzScene).doDrain},
	} {
		for range e.times {
			events = append(events, e.do)
		}
	}
	return events
}()

// play does the event that two bytes stand for, and reports whether it did
// anything.
func (w *fuzzWorld) play(which, how byte) bool {
	s := w.scenes[int(which)&1]
	return fuzzEvents[int(which>>1)%len(fuzzEvents)](s, int(how))
}

// Time, and the end of it.

func (s *fuzzScene) doWait(how int) bool {
	d := []time.Duration{50 * time.Millisecond, 1100 * time.Millisecond, 2100 * time.Millisecond, 3500 * time.Millisecond,
		6 * time.Second, 31 * time.Second, 61 * time.Second, 5 * time.Minute}[how%8]
	if d > 5*time.Second && how/8%2 == 0 {
		d = 500 * time.Millisecond
	}
	s.w.wait(d)
	return true
}

func (s *fuzzScene) doDrain(how int) bool {
	if how%8 != 0 || s.w.drained != nil {
		return false
	}
	for _, s := range s.w.scenes {
		s.mayEnd("drain")
	}
	s.w.drain()
	return true
}

func passiveTarget(text string) string {
	a, err := rewrite.ParsePASV(text)
	if err != nil {
		panic(fuzzFault{fmt.Sprintf("the client hears %q: %v", text, err)})
	}
	return a.String()
}

// activeTarget is the address that the server is told, which must be ours.
func activeTarget(verb, arg string) string {
	parse := rewrite.ParsePORT
	if verb == "EPRT" {
		parse = rewrite.ParseEPRT
	}
	a, err := parse(arg)
	if err != nil || a.Addr() != netip.MustParseAddr("10.0.0.2") || a.Port() != 31000 && a.Port() != 31001 {
		panic(fuzzFault{fmt.Sprintf("the server is told %s %s", verb, arg)})
	}
	return a.String()
}

// dial connects without waiting; nil where nobody listens.
func (w *fuzzWorld) dial(from fuzzHost, name, to string, lazy bool) *fuzzWire {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := from.Dial(ctx, netip.AddrPort{}, netip.MustParseAddrPort(to))
	if err != nil {
		w.say("%s: refused", name)
		return nil
	}
	w.say("%s: connect", name)
	if lazy {
		w.say("%s: stop-reading", name)
	}
	return w.wire(conn, lazy)
}
