package main

import (
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"gatehouse/storage/storagetest"
)

// TestAdminListenerRespondsAtOpenFileLimit opens more connections to the public listener than the process may have
// files, and sends nothing.
func TestAdminListenerRespondsAtOpenFileLimit(t *testing.T) {
	t.Parallel()
	admin := storagetest.FreeAddress(t)
	f := newFixture(t, "sqlite:"+t.TempDir()+"/gatehouse.db", map[string]string{
		"GATEHOUSE_ADMIN_LISTEN": admin, "GATEHOUSE_DATABASE_POOL": "4",
	})
	limited := exec.Command("sh", "-c", `ulimit -n 96 && exec "$0" serve`, publicProgram(t))
	server := runChild(t, f.env, limited, false)
	server.stderr.waitFor(t, `"msg":"listening"`, server.ended)
	public := strings.TrimPrefix(f.issuer, "http://")
	var open []net.Conn
	for range 300 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", public)
		storagetest.Must(t, err)
		open = append(open, conn)
	}
	server.stderr.waitFor(t, "connection limit reached", server.ended)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if status, body := get(t, "http://"+admin+path); status != http.StatusOK {
			t.Errorf("GET %s of the admin listener: %d %s, want 200", path, status, body)
		}
	}
	for _, conn := range open {
		storagetest.Must(t, conn.Close())
	}
	if a := f.caller(t).serviceToken(); a.status != http.StatusOK {
		t.Errorf("token request after the connections were closed: %s, want 200", a)
	}
	if server.stderr.contains("too many open files") || server.stderr.contains("cannot accept connections") {
		t.Errorf("the process reached its limit of open files:\n%s", server.stderr.tail())
	}
	server.terminate(t)
}
