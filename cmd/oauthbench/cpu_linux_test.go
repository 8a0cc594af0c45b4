package main

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"gatehouse/cmd/oauthbench/bench"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestProcessorTimeIsReportedPerOperation measures this test process, in which the server runs.
func TestProcessorTimeIsReportedPerOperation(t *testing.T) {
	t.Parallel()
	s := startTarget(t, storagetest.URL(t, storage.SQLite), "off")
	pid := strconv.Itoa(os.Getpid())
	args := []string{
		"--profile", "-", "--workload", "client_credentials", "--connections", "2", "--count", "500", "--warm-up", "0s",
		"--rounds", "1", "--server-pid", pid, "--database-pid", pid,
	}
	profile := s.profile(t)
	stdout, stderr, code := s.oauthbench(t, profile, args...)
	if code != exitOK || !strings.Contains(stdout, "server µs  database µs") {
		t.Errorf("%q: exit %d, want 0 and a table with processor times: %s %s", args, code, stdout, stderr)
	}
	stdout, _, _ = s.oauthbench(t, profile, append(args, "--json")...)
	var results []bench.Result
	if err := json.Unmarshal([]byte(stdout), &results); err != nil || results[0].Target.ServerCPU < 10 {
		t.Errorf("%q: %v, server_cpu_us of %s, want at least 10", args, err, stdout)
	}
	args = []string{"--profile", "-", "--workload", "metadata", "--connections", "1", "--server-pid", "1073741824"}
	_, stderr, code = s.oauthbench(t, profile, args...)
	if code != exitFailed || !strings.Contains(stderr, "process 1073741824") {
		t.Errorf("%q: exit %d, want %d and the process named: %s", args, code, exitFailed, stderr)
	}
}
