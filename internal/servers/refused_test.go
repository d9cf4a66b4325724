package servers

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// What a server refused is believed for an hour, and then forgotten with the next one.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Refusals
		one, two := netip.MustParseAddrPort("10.0.0.5:21"), netip.MustParseAddrPort("10.0.0.6:21")
		r.Remember(one, "EPSV")
		if !r.Has(one, "EPSV") || r.Has(one, "EPRT") || r.Has(two, "EPSV") {
			t.Error("it is not what was remembered")
		}
		time.Sleep(RefusalMemory)
		if r.Has(one, "EPSV") {
			t.Error("it is believed for more than an hour")
		}
		r.Remember(two, "EPSV")
		if len(r.until) != 1 {
			t.Errorf("%d are kept, want one", len(r.until))
		}
	})
}
