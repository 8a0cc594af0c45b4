package bench

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// waitFor reads the processor times until the condition is met, and returns them.
func (m cpuMeter) waitFor(t *testing.T, what string, condition func(cpuTimes) bool) cpuTimes {
	t.Helper()
	deadline, poll := time.After(time.Minute), time.NewTicker(5*time.Millisecond)
	defer poll.Stop()
	for {
		times, err := m.read()
		if err != nil {
			t.Fatal(err)
		}
		if condition(times) {
			return times
		}
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("timed out waiting until %s; the processor times are %+v", what, times)
		}
	}
}

// startBusyShell starts a shell with a child that uses processor time. A line on stdin ends the child.
func startBusyShell(t *testing.T) (pid int, stdin io.Writer) {
	t.Helper()
	// The shell ends when its standard input is closed. Before that it ends its child.
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
	return cmd.Process.Pid, in
}

// TestCPUMeterCountsChildrenOfDatabase uses processor time in a child process, and reads it while the child runs and
// after its end.
func TestCPUMeterCountsChildrenOfDatabase(t *testing.T) {
	t.Parallel()
	pid, stdin := startBusyShell(t)
	meter := cpuMeter{server: os.Getpid(), database: pid}
	running := meter.waitFor(t, "a running child is counted", func(c cpuTimes) bool {
		return c.database >= 200*time.Millisecond
	})
	if _, err := io.WriteString(stdin, "\n"); err != nil {
		t.Fatal(err)
	}
	ended := meter.waitFor(t, "the child has ended", func(cpuTimes) bool { return len(children(pid)) == 0 })
	if ended.database < running.database {
		t.Errorf("database time after the child ended = %s, want at least %s", ended.database, running.database)
	}
}

func TestCPUMeterOfUnknownProcessFails(t *testing.T) {
	t.Parallel()
	_, err := cpuMeter{server: 1 << 30}.read()
	if err == nil || !strings.Contains(err.Error(), "1073741824") {
		t.Errorf("read of an unknown process = %v, want an error with its ID", err)
	}
}
