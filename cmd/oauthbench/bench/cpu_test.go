package bench

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestCPUMeterCountsChildrenOfDatabase burns processor time in a child process, while it runs and after its end.
func TestCPUMeterCountsChildrenOfDatabase(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("processor times are read from /proc")
	}
	// The shell ends with its standard input, and its child with the shell's pipe to it.
	const script = "sh -c 'while :; do :; done' & echo started; read -r _; kill $!; wait; read -r _"
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	meter := cpuMeter{server: os.Getpid(), database: cmd.Process.Pid}
	waitFor := func(what string, done func(cpuTimes) bool) cpuTimes {
		t.Helper()
		deadline, poll := time.After(time.Minute), time.NewTicker(5*time.Millisecond)
		defer poll.Stop()
		for {
			times, err := meter.read()
			if err != nil {
				t.Fatal(err)
			}
			if done(times) {
				return times
			}
			select {
			case <-poll.C:
			case <-deadline:
				t.Fatalf("timed out waiting until %s; the times are %+v", what, times)
			}
		}
	}
	running := waitFor("a running child is counted", func(c cpuTimes) bool { return c.database >= 200*time.Millisecond })
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	ended := waitFor("the child ended", func(cpuTimes) bool { return len(children(cmd.Process.Pid)) == 0 })
	if ended.database < running.database {
		t.Errorf("database time after the child ended = %s, want at least %s", ended.database, running.database)
	}
	server, database, err := cpuMeter{}.perOperation(t.Context(), cpuTimes{}, 10)
	if server != 0 || database != 0 || err != nil {
		t.Errorf("without process IDs: %v, %v, %v, want zeros", server, database, err)
	}
	meter = cpuMeter{server: 1 << 30}
	if _, err := meter.read(); err == nil || !strings.Contains(err.Error(), "1073741824") {
		t.Errorf("read of an unknown process: %v, want an error with its ID", err)
	}
}
