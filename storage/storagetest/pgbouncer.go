package storagetest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

// PoolModes are the modes of PgBouncer that Gatehouse supports.
var PoolModes = []string{"transaction", "session"}

// ThroughPgBouncer runs fn as a subtest in each pool mode, in parallel, with a PgBouncer in front of an empty database.
func ThroughPgBouncer(t *testing.T, fn func(t *testing.T, b *PgBouncer)) {
	t.Helper()
	for _, mode := range PoolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			fn(t, StartPgBouncer(t, mode))
		})
	}
}

// PgBouncer is a running PgBouncer in front of a separate empty database.
type PgBouncer struct {
	URL    string // through PgBouncer
	Direct string // to PostgreSQL
	Log    string // the name of its log file
}

// StartPgBouncer runs a PgBouncer in the pool mode until the test ends, in front of the PostgreSQL of
// TEST_POSTGRES_DSN. Without pgbouncer the test is skipped, and fails when CI is set.
func StartPgBouncer(t testing.TB, mode string) *PgBouncer {
	t.Helper()
	dsn := os.Getenv("TEST_POSTGRES_DSN")
	if dsn == "" {
		Missing(t, "TEST_POSTGRES_DSN is not set; `make test` sets it")
	}
	pgBouncerBinary(t) // before a database is created
	// A database, not a schema: PgBouncer refuses search_path as a parameter of a connection.
	db, err := sql.Open("pgx", dsn)
	Must(t, err)
	name := "t_" + strings.ReplaceAll(uuid.NewString()[:13], "-", "_")
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	Must(t, err)
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
		Must(t, db.Close())
	})
	u, err := url.Parse(dsn)
	Must(t, err)
	u.Path = "/" + name
	return PgBouncerFor(t, mode, u.String())
}

func pgBouncerBinary(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} { // not in the PATH of every user
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(t, "pgbouncer is not installed; `make setup` installs it")
	return ""
}

// PgBouncerFor runs a PgBouncer in front of the database of a URL, which may be down. settings are additional lines of
// its configuration.
func PgBouncerFor(t testing.TB, mode, direct string, settings ...string) *PgBouncer {
	t.Helper()
	u, err := url.Parse(direct)
	Must(t, err)
	_, port, _ := net.SplitHostPort(FreeAddress(t))

	// Not below t.TempDir: the other account under which it may run cannot read that.
	dir, err := os.MkdirTemp("", "gatehouse-pgbouncer-")
	Must(t, err)
	t.Cleanup(func() { Must(t, os.RemoveAll(dir)) })
	password, _ := u.User.Password()
	p := &PgBouncer{Direct: direct, Log: filepath.Join(dir, "log")}
	config := filepath.Join(dir, "pgbouncer.ini")
	Must(t, os.WriteFile(filepath.Join(dir, "users"), fmt.Appendf(nil, "%q %q\n", u.User.Username(), password), 0o600))
	Must(t, os.WriteFile(config, fmt.Appendf(nil, `[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = %s
default_pool_size = 30
max_client_conn = 500
server_login_retry = 1
logfile = %s
%s
`, u.Hostname(), u.Port(), port, filepath.Join(dir, "users"), mode, p.Log, strings.Join(settings, "\n")), 0o600))
	cmd := exec.Command(pgBouncerBinary(t), "-q", config)
	if os.Geteuid() == 0 { // as root it refuses to run
		account, err := user.Lookup("nobody")
		Must(t, err)
		uid, _ := strconv.ParseUint(account.Uid, 10, 32)
		gid, _ := strconv.ParseUint(account.Gid, 10, 32)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		for _, path := range []string{dir, config, filepath.Join(dir, "users")} {
			Must(t, os.Chown(path, int(uid), int(gid)))
		}
	}
	p.start(t, cmd, "127.0.0.1:"+port)
	through := *u
	through.Host = "127.0.0.1:" + port
	p.URL = through.String()
	return p
}

// start starts PgBouncer and waits until it accepts connections.
func (p *PgBouncer) start(t testing.TB, cmd *exec.Cmd, address string) {
	t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	Must(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			Must(t, conn.Close())
			return
		}
		select {
		case <-ended:
			log, _ := os.ReadFile(p.Log)
			t.Fatalf("pgbouncer does not start:\n%s%s", output.String(), log)
		case <-tick.C:
		}
	}
}
