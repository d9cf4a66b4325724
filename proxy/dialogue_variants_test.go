package proxy

import (
	"context"
	"strings"
	"testing"

	"ftproxy/internal/ftptest"
)

// variant is dialogueConfig with old, which it has once, replaced.
func variant(t *testing.T, old, replacement string) string {
	t.Helper()
	if strings.Count(dialogueConfig, old) != 1 {
		t.Fatalf("the dialogues' configuration does not have %q once", old)
	}
	return strings.Replace(dialogueConfig, old, replacement, 1)
}

// TestDialoguesTwoServers is about the choice of a server. A third, between
// the two, has a name that nobody knows.
func TestDialoguesTwoServers(t *testing.T) {
	base := variant(t, `servers = "10.0.0.5"`, `servers = ["10.0.0.5", "nowhere.internal", "ftp2.internal"]`)
	ftptest.RunDialogues(t, "testdata/dialogues/two-servers/*.txt", startDialogue(base))
}

// TestDialoguesBanner is about a frontend that greets in its own words.
func TestDialoguesBanner(t *testing.T) {
	base := variant(t, "[frontend.public]", "[frontend.public]\nbanner = \"Welcome to the files.\"")
	ftptest.RunDialogues(t, "testdata/dialogues/banner/*.txt", startDialogue(base))
}

// TestDialoguesByUser is about a server that depends on the user.
func TestDialoguesByUser(t *testing.T) {
	base := variant(t, `servers = "10.0.0.5"`, "servers = \"10.0.0.5\"\nbalance = \"user\"")
	ftptest.RunDialogues(t, "testdata/dialogues/by-user/*.txt", startDialogue(base))
}

// TestDialoguesServer6 is about a server that is reached by IPv6.
func TestDialoguesServer6(t *testing.T) {
	base := variant(t, `servers = "10.0.0.5"`, `servers = "fd00::5"`)
	ftptest.RunDialogues(t, "testdata/dialogues/server6/*.txt", startDialogue(base))
}

// TestDialoguesCut is about sessions that do not end within a drain.
func TestDialoguesCut(t *testing.T) {
	ftptest.RunDialogues(t, "testdata/dialogues/cut/*.txt", startUntil(dialogueConfig, context.DeadlineExceeded))
}
