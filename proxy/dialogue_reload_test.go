package proxy

import (
	"testing"

	"ftproxy/internal/ftptest"
)

// TestDialoguesReload is about configurations that change under sessions: those
// that run keep the rules that they began with.
func TestDialoguesReload(t *testing.T) {
	ftptest.RunDialogues(t, "testdata/dialogues/reload/*.txt", startDialogue(dialogueConfig))
}
