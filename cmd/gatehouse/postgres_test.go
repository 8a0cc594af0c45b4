package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/storage/storagetest"
)

// postgresServer is a separate PostgreSQL that a test may stop.
type postgresServer struct{ url, dir string }

// startPostgres starts a PostgreSQL and stops it when the test ends.
func startPostgres(t *testing.T) *postgresServer {
	t.Helper()
	// Not below t.TempDir: the server runs under another account, which may not read that directory.
	dir, err := os.MkdirTemp("", "gatehouse-pg-")
	storagetest.Must(t, err)
	p := &postgresServer{dir: filepath.Join(dir, "server")}
	storagetest.Must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		p.run(t, "stop")
		storagetest.Must(t, os.RemoveAll(dir))
	})
	p.url = strings.TrimSpace(p.run(t, "start"))
	return p
}

// run runs a command of scripts/postgres.sh: start, down, up or stop.
func (p *postgresServer) run(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "../../scripts/postgres.sh", command, p.dir)
	cmd.Env = append(os.Environ(), "OWN=1")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("postgres.sh %s: %v\n%s", command, err, errs.String())
	}
	return string(out)
}
