package proxy

import (
	"testing"

	"ftproxy/internal/ftptest"
)

// TestDialoguesNAT is about clients that reach ftproxy by address translation.
func TestDialoguesNAT(t *testing.T) {
	base := variant(t, `public_address = "203.0.113.9"`, `public_address = "192.0.2.1"`)
	ftptest.RunDialogues(t, "testdata/dialogues/nat/*.txt", startDialogue(base))
}
