package main

import (
	"errors"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// rounds returns how often a test repeats its fault: a few times in `make test`, often in `make torture`.
func rounds(few, many int) int {
	if os.Getenv("TORTURE") != "" {
		return many
	}
	return few
}

// TestKillUnderLoadLosesNothing checks that nothing acknowledged is lost, nothing revoked is active again, and no grant
// is partial.
func TestKillUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db, map[string]string{"GATEHOUSE_SHUTDOWN_TIMEOUT": "5s"})
		const workers = 6
		journals, callers := make([]journal, workers), make([]*caller, workers)
		server := serveChild(t, f.env)
		for i := range callers {
			callers[i] = f.caller(t)
			callers[i].exchange(callers[i].signIn(t))
		}
		for round := range rounds(2, 12) {
			killUnderLoad(t, server, int64(150+97*round), journals, callers)
			server = serveChild(t, f.env)
			for i := range journals {
				journals[i].check(t, callers[i])
			}
			if t.Failed() {
				break
			}
		}
		server.terminate(t)
		checkConsistency(t, db)
		mustRun(t, f.env, "", "audit", "verify")
	})
}

// killUnderLoad starts the load, kills the server after a number of responses, and returns when it has ended.
func killUnderLoad(t *testing.T, server *child, after int64, journals []journal, callers []*caller) {
	t.Helper()
	stop := make(chan struct{})
	var responses atomic.Int64
	var stopOnce sync.Once
	wait := runLoad(len(callers), stop, func(i int) {
		if !journals[i].work(t, callers[i]) {
			stopOnce.Do(func() { close(stop) }) // the process ended: send no more
			return
		}
		if responses.Add(1) == after {
			go server.signal(syscall.SIGKILL)
		}
	})
	wait()
	if n := responses.Load(); n < 150 {
		t.Fatalf("the server ended after %d responses, want at least 150:\n%s", n, server.stderr.tail())
	}
	<-server.ended
}

// checkConsistency checks that every change is complete, with its audit row.
func checkConsistency(t *testing.T, db string) {
	t.Helper()
	const (
		consumedCodes = "SELECT count(*) FROM authorization_codes WHERE consumed_at IS NOT NULL AND NOT EXISTS "
		redeemed      = "event = 'code.redeemed'"
	)
	s := storagetest.Open(t, db, storagetest.NewClock())
	for what, query := range map[string]string{
		"consumed codes without a grant": consumedCodes +
			"(SELECT 1 FROM grants WHERE grants.id = authorization_codes.grant_id)",
		"grants without a code": "SELECT count(*) FROM grants WHERE NOT EXISTS " +
			"(SELECT 1 FROM authorization_codes WHERE authorization_codes.grant_id = grants.id)",
		"consumed codes without an audit row": consumedCodes +
			"(SELECT 1 FROM audit_events WHERE " + redeemed + " AND audit_events.grant_id = authorization_codes.grant_id)",
		"revocations without an audit row": "SELECT (SELECT count(*) FROM revoked_tokens) - " +
			"(SELECT count(*) FROM audit_events WHERE event = '" + audit.TokenRevoked + "')",
		"audit rows of grants that do not exist": "SELECT count(*) FROM audit_events WHERE " + redeemed +
			" AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.id = audit_events.grant_id)",
	} {
		if n := storagetest.Count(t, s, db, query); n != 0 {
			t.Errorf("%d %s, want none", n, what)
		}
	}
}

// TestShutdownUnderLoadLosesNothing checks that every accepted request gets its complete response, and that no audit
// row of an issued token is lost.
func TestShutdownUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db, map[string]string{"GATEHOUSE_SHUTDOWN_DELAY": "300ms"})
		server := serveChild(t, f.env)
		var issued atomic.Int64
		storagetest.Concurrently(8, func(int) {
			c := f.caller(t)
			for { // until the server closes the connection
				a := c.serviceToken()
				if a.err != nil || a.status != http.StatusOK {
					t.Errorf("token request until the server closes its connection: %s, want 200", a)
					return
				}
				if issued.Add(1) == 300 {
					server.signal(syscall.SIGTERM)
				}
				if a.last {
					return
				}
			}
		})
		if code := server.wait(t); code != exitOK {
			t.Errorf("exit code after SIGTERM = %d, want 0:\n%s", code, server.stderr.tail())
		}
		s := storagetest.Open(t, db, storagetest.NewClock())
		rows := "SELECT count(*) FROM audit_events WHERE event = '" + audit.TokenIssued + "'"
		if n := storagetest.Count(t, s, db, rows); n != issued.Load() {
			t.Errorf("the audit log has %d issued tokens, want the %d that were acknowledged", n, issued.Load())
		}
	})
}

// TestRemovedDatabaseIsReportedAndNotRecreated removes the files of a database that is in use. The log has the cause,
// and the restart does not create an empty database.
func TestRemovedDatabaseIsReportedAndNotRecreated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "gatehouse.db")
	f := newFixture(t, "sqlite:"+path, nil)
	delete(f.env, "GATEHOUSE_SECRET_KEY")
	storagetest.Must(t, os.WriteFile(filepath.Join(dir, "secret.key"), []byte(keyText+"\n"), 0o600))
	server := serveChild(t, f.env)
	backup := filepath.Join(t.TempDir(), "backup.db")
	mustRun(t, f.env, "", "backup", backup)
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		storagetest.Must(t, os.Remove(name))
	}
	if a := f.caller(t).serviceToken(); a.status != http.StatusServiceUnavailable {
		t.Errorf("token request without the database file: %s, want 503", a)
	}
	waitForReadyz(t, f.issuer, http.StatusServiceUnavailable)
	server.stderr.waitFor(t, "the database file was removed or replaced while it is open", server.ended)
	server.signal(syscall.SIGKILL)
	for _, args := range [][]string{
		{"serve"}, {"migrate", "up"}, {"migrate", "status"}, {"client", "list"},
		{"client", "create", "--name", "x", "--grant-type", "client_credentials"},
	} {
		want := []string{"no database at " + path}
		if args[0] != "client" {
			want = append(want, "there is a root key, "+dir+"/secret.key; put a backup of the database there to restore it")
		}
		_, stderr, code := command(t, f.env, "", args...)
		for _, message := range want {
			if code != exitFailed || !strings.Contains(stderr, message) {
				t.Errorf("gatehouse %s without the database: exit %d, want %d with %q: %s",
					strings.Join(args, " "), code, exitFailed, message, stderr)
			}
		}
		if fileExists(path) {
			t.Fatalf("gatehouse %s created a database", strings.Join(args, " "))
		}
	}
	storagetest.Must(t, os.Rename(backup, path))
	restored := serveChild(t, f.env)
	if a := f.caller(t).serviceToken(); a.status != http.StatusOK {
		t.Errorf("token request after the backup was restored: %s, want 200", a)
	}
	restored.terminate(t)
}

// TestCommandsReadReadOnlyDatabase runs commands as a user who may only read, as on a disk that became read-only.
func TestCommandsReadReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	program := publicProgram(t)
	for name, end := range map[string]syscall.Signal{"stopped": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) { testReadOnlyDatabase(t, program, end) })
	}
}

// testReadOnlyDatabase runs commands on a read-only database whose server was ended by the signal.
func testReadOnlyDatabase(t *testing.T, program string, end syscall.Signal) {
	t.Helper()
	dir := readableDir(t)
	path := filepath.Join(dir, "gatehouse.db")
	f := newFixture(t, "sqlite:"+path, nil)
	server := serveChild(t, f.env)
	if a := f.caller(t).serviceToken(); a.status != http.StatusOK {
		t.Fatalf("token request: %s, want 200", a)
	}
	server.signal(end)
	<-server.ended
	hasLog, want := fileExists(path+"-wal"), end == syscall.SIGKILL
	if hasLog != want {
		t.Fatalf("the server left a write-ahead log: %t, want %t", hasLog, want)
	}
	makeReadOnly(t, dir)
	out := readableDir(t)
	storagetest.Must(t, os.Chmod(out, 0o777))
	backup, export := filepath.Join(out, "backup.db"), filepath.Join(out, "audit.jsonl")
	runUnprivileged := func(args ...string) (string, int) {
		t.Helper()
		c := runChild(t, f.env, exec.Command(program, args...), os.Getuid() == 0) // root may write any file
		code := c.wait(t)
		return c.stdout.String() + c.stderr.String(), code
	}
	for want, args := range map[string][]string{
		f.serviceID: {"client", "list", "--json"}, "alice@example.com": {"user", "list"},
		"client.created": {"audit", "list", "--limit", "1000"}, "ES256": {"key", "list"},
		"no problems found": {"audit", "verify"}, "applied": {"migrate", "status"}, "wrote " + backup: {"backup", backup},
		"the audit log has no record of this export": {"audit", "export", "--output", export},
	} {
		if text, code := runUnprivileged(args...); code != exitOK || !strings.Contains(text, want) {
			t.Errorf("gatehouse %s: exit %d, want 0 and %q in:\n%s", strings.Join(args, " "), code, want, text)
		}
	}
	const remedy = "let the user that runs gatehouse write the database"
	for _, args := range [][]string{
		{"client", "create", "--grant-type", "client_credentials"}, {"client", "disable", f.serviceID}, {"serve"},
	} {
		if text, code := runUnprivileged(args...); code != exitFailed || !strings.Contains(text, remedy) {
			t.Errorf("gatehouse %s: exit %d, want %d and %q in:\n%s",
				strings.Join(args, " "), code, exitFailed, remedy, text)
		}
	}
	storagetest.Must(t, os.Chmod(backup, 0o600))
	env := maps.Clone(f.env)
	env["GATEHOUSE_DATABASE_URL"] = "sqlite:" + backup
	mustRun(t, env, "", "audit", "verify")
}

// makeReadOnly makes a directory and its files read-only until the test ends.
func makeReadOnly(t *testing.T, dir string) {
	t.Helper()
	storagetest.Must(t, filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		mode := os.FileMode(0o444)
		if err == nil && entry.IsDir() {
			mode = 0o555
		}
		return errors.Join(err, os.Chmod(name, mode))
	}))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) }) // so that it can be removed
}
