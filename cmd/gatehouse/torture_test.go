package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/storage/storagetest"
)

// built returns the path of a gatehouse without the race detector, whose memory can be measured. It is this program,
// unless it has the race detector: then the binary is built, which takes a minute with a cold cache.
func built(t *testing.T) string {
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
		t.Fatalf("%v\n%s", err, out)
	}
	return name
}

// hasRaceDetector reports whether this program was built with -race.
func hasRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return !ok || slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func startBuilt(t *testing.T, env map[string]string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(built(t), "serve"), stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = c.stdout, c.stderr
	for k, v := range env {
		c.cmd.Env = append(c.cmd.Env, k+"="+v)
	}
	storagetest.Must(t, c.cmd.Start())
	go func() {
		_ = c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() { c.signal(syscall.SIGKILL) })
	c.stderr.waitFor(t, `"msg":"listening"`, c.ended)
	return c
}

// memory is what the process holds, in MiB.
func (c *child) memory(t *testing.T) int {
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
	t.Fatal("no VmRSS")
	return 0
}

// TestManyIdleConnectionsAndSlowSenders holds connections that send nothing, or one byte of a body that never comes,
// and expects others to be served, in bounded memory. The slow ones are dropped.
func TestManyIdleConnectionsAndSlowSenders(t *testing.T) {
	t.Parallel()
	const idle, slow, most = 9000, 1000, 250 // of 10,000; MiB
	w := newWorld(t, "sqlite:"+t.TempDir()+"/gatehouse.db", map[string]string{"GATEHOUSE_MAX_REQUESTS": "32"})
	built := startBuilt(t, w.env)
	c := w.caller(t)
	if a := c.serviceToken(); a.status != 200 {
		t.Fatal(a)
	}
	before := built.memory(t)
	conns := make([]net.Conn, idle+slow)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	var refused atomic.Int64
	storagetest.Concurrently(50, func(i int) {
		for n := i; n < len(conns); n += 50 {
			conn, err := (&net.Dialer{Timeout: 20 * time.Second}).DialContext(t.Context(), "tcp", w.env["GATEHOUSE_LISTEN"])
			if err != nil {
				refused.Add(1)
				continue
			}
			conns[n] = conn
			if n >= idle {
				_, err = fmt.Fprintf(conn, "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\ng")
			} else if n%2 == 0 {
				if _, err = fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil {
					_, err = bufio.NewReaderSize(conn, 512).ReadString('\n')
				}
			}
			if err != nil {
				refused.Add(1)
			}
		}
	})
	if refused.Load() > 0 {
		t.Errorf("%d connections were refused", refused.Load())
	}
	for range 50 {
		if a := c.serviceToken(); a.status != 200 {
			t.Fatalf("a request among them: %s", a)
		}
	}
	if after := built.memory(t); after > most {
		t.Errorf("it holds %d MiB with 10,000 connections, %d before, %d at most", after, before, most)
	} else {
		t.Logf("%d MiB before, %d MiB with 10,000 connections", before, after)
	}
	if os.Getenv("TORTURE") == "" {
		return
	}
	for _, conn := range conns[idle:] { // in the time that a request has to arrive
		storagetest.Must(t, conn.SetReadDeadline(time.Now().Add(server.ReadTimeout+20*time.Second)))
		if _, err := bufio.NewReader(conn).ReadString('\n'); os.IsTimeout(err) {
			t.Fatal("a slow sender is still there")
		}
	}
}
