package repocheck

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var calculation = regexp.MustCompile("(?s)```sh\n(awk .*?)```\n\n```\n(.*?)```")

// The calculation in docs/scaling.md prints what stands below it.
func TestScalingCalculation(t *testing.T) {
	block := calculation.FindStringSubmatch(document(t, "docs/scaling.md"))
	if block == nil {
		t.Fatal("no calculation")
	}
	out, err := exec.Command("sh", "-c", block[1]).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(block[2]) {
		t.Errorf("it prints (%v)\n%swant\n%s", err, out, block[2])
	}
}
