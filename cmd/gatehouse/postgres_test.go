package main

import (
	"context"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/storage/storagetest"
)

// postgresServer is a PostgreSQL of a test's own, which it may stop.
type postgresServer struct{ url, dir string }

func ownPostgres(t *testing.T) *postgresServer {
	t.Helper()
	// Not below t.TempDir: the server runs under another account, which may not look into that.
	dir, err := os.MkdirTemp("", "gatehouse-pg-")
	storagetest.Must(t, err)
	p := &postgresServer{dir: filepath.Join(dir, "server")}
	storagetest.Must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		p.run(t, "stop")
		storagetest.Must(t, os.RemoveAll(dir))
	})
	out := p.run(t, "start")
	p.url = strings.TrimSpace(out)
	return p
}

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

// slowLine forwards connections to a database and holds back what comes from it.
type slowLine struct {
	url   string
	delay atomic.Int64 // milliseconds

	silenced atomic.Int64 // how often silence was called
}

func newSlowLine(t *testing.T, db string) *slowLine {
	t.Helper()
	u, err := url.Parse(db)
	storagetest.Must(t, err)
	behind := u.Host
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	storagetest.Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	l := &slowLine{}
	u.Host = listener.Addr().String()
	l.url = u.String()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.forward(conn, behind, l.silenced.Load())
		}
	}()
	return l
}

// silence makes every connection that is open now stay open, without a response.
func (l *slowLine) silence() { l.silenced.Add(1) }

func (l *slowLine) forward(conn net.Conn, behind string, silenced int64) {
	defer func() { _ = conn.Close() }()
	to, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", behind)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	go func() {
		_, _ = io.Copy(to, conn)
		_ = to.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := to.Read(b)
		if d := l.delay.Load(); d > 0 {
			<-time.After(time.Duration(d) * time.Millisecond) // this is what the line is for
		}
		if n > 0 && l.silenced.Load() == silenced {
			if _, werr := conn.Write(b[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
