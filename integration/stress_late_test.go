package integration

import "testing"

func testStressLate(t *testing.T) { t.Skip() }
