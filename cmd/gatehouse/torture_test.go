package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/storage/storagetest"
)

// uninstrumentedProgram returns the path of a gatehouse without the race detector, whose memory can be measured and
// which starts fast. It is this program, unless it has the race detector: then the binary is built.
func uninstrumentedProgram(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "gatehouse")
	if !hasRaceDetector() {
		self, err := os.Executable()
		storagetest.Must(t, err)
		storagetest.Must(t, os.Symlink(self, name))
		return name
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", name, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return name
}

// hasRaceDetector reports whether this program was built with -race.
func hasRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return !ok || slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// residentMemory returns the resident set of the process in MiB.
func (c *child) residentMemory(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	storagetest.Must(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			storagetest.Must(t, err)
			return kb >> 10
		}
	}
	t.Fatalf("/proc/%d/status has no VmRSS", c.cmd.Process.Pid)
	return 0
}

// TestManyIdleAndSlowConnectionsDoNotBlockOthers opens connections that send nothing, or one byte of a body, and
// expects that other requests are served, in bounded memory. The server closes the slow ones.
func TestManyIdleAndSlowConnectionsDoNotBlockOthers(t *testing.T) {
	t.Parallel()
	const idle, slow, maxMemory = 9000, 1000, 250 // connections; MiB
	f := newFixture(t, "sqlite:"+t.TempDir()+"/gatehouse.db", map[string]string{"GATEHOUSE_MAX_REQUESTS": "32"})
	process := runChild(t, f.env, exec.Command(uninstrumentedProgram(t), "serve"), false)
	process.stderr.waitFor(t, `"msg":"listening"`, process.ended)
	c := f.caller(t)
	if a := c.serviceToken(); a.status != http.StatusOK {
		t.Fatalf("token request before the connections: %s, want 200", a)
	}
	before := process.residentMemory(t)
	conns := openConnections(t, f.env["GATEHOUSE_LISTEN"], idle, slow)
	for range 50 {
		if a := c.serviceToken(); a.status != http.StatusOK {
			t.Fatalf("token request with %d other connections: %s, want 200", idle+slow, a)
		}
	}
	after := process.residentMemory(t)
	t.Logf("resident memory is %d MiB before, %d MiB with %d connections", before, after, idle+slow)
	if after > maxMemory {
		t.Errorf("resident memory with %d connections = %d MiB, want at most %d", idle+slow, after, maxMemory)
	}
	if os.Getenv("TORTURE") == "" {
		return
	}
	for _, conn := range conns[idle:] { // a complete request must arrive within server.ReadTimeout
		storagetest.Must(t, conn.SetReadDeadline(time.Now().Add(server.ReadTimeout+20*time.Second)))
		if _, err := bufio.NewReader(conn).ReadString('\n'); os.IsTimeout(err) {
			t.Fatal("the server did not close the connection of a slow sender")
		}
	}
}

// openConnections opens connections until the test ends. Half of the idle ones send nothing, the others one complete
// request; the slow ones send one byte of a body. All must be accepted.
func openConnections(t *testing.T, address string, idle, slow int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, idle+slow)
	t.Cleanup(func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	})
	var failed atomic.Int64
	const workers = 50
	storagetest.Concurrently(workers, func(i int) {
		for n := i; n < len(conns); n += workers {
			conn, err := (&net.Dialer{Timeout: waitTimeout}).DialContext(t.Context(), "tcp", address)
			if err != nil {
				failed.Add(1)
				continue
			}
			conns[n] = conn
			if n >= idle {
				_, err = io.WriteString(conn, "POST /oauth2/token HTTP/1.1\r\nHost: x\r\n"+
					"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\ng")
			} else if n%2 == 0 {
				if _, err = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil {
					_, err = bufio.NewReaderSize(conn, 512).ReadString('\n')
				}
			}
			if err != nil {
				failed.Add(1)
			}
		}
	})
	if failed.Load() > 0 {
		t.Errorf("%d of %d connections failed, want none", failed.Load(), len(conns))
	}
	return conns
}
