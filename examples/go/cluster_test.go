// SPDX-License-Identifier: MIT

// drover run -n 2 -- go test ./examples/go
package cluster

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// members of the cluster that drover run started; without one the test is skipped.
func members(t *testing.T) []string {
	t.Helper()
	names := strings.Fields(os.Getenv("DROVER_MEMBERS"))
	if len(names) < 2 {
		t.Skip("needs a cluster: drover run -n 2 -- go test")
	}
	return names
}

// run is what a command prints in a member; its failure is the test's.
func run(t *testing.T, member string, command ...string) string {
	t.Helper()
	out, err := exec.Command("drover", append([]string{"exec", member, "--"}, command...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %v\n%s", member, command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestMembersKnowTheirNames(t *testing.T) {
	for _, member := range members(t) {
		if got := run(t, member, "hostname"); got != member {
			t.Errorf("%s says that it is %q", member, got)
		}
	}
}

func TestMembersReachEachOther(t *testing.T) {
	names := members(t)
	run(t, names[0], "ping", "-c", "1", names[1])
}
