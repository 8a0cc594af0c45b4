package main

import (
	"errors"
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

// rounds is how often a fault is made: a few times in `make test`, often in `make torture`.
func rounds(few, many int) int {
	if os.Getenv("TORTURE") != "" {
		return many
	}
	return few
}

// journal is what one worker received, and what it sent without a response.
type journal struct {
	live, revoked []string // access tokens
	refresh       string   // the last refresh token it was given
	sent          string   // a refresh token it sent, without a response
	ended         []string // refresh tokens whose grant it revoked
	codes         []string // it has not used
	unsure        string   // a code it sent, without a response
	step          int
}

// work does the next kind of request. It reports whether there was a response; any response but success is an error.
func (j *journal) work(t *testing.T, c *caller) bool {
	j.step++
	succeeded := func(a response, what string) bool {
		if a.err == nil && a.status != http.StatusOK {
			t.Errorf("%s: %s", what, a)
		}
		return a.err == nil && a.status == http.StatusOK
	}
	switch {
	case j.refresh == "" || j.step%7 == 1: // a new grant
		code, err := c.code()
		if errors.Is(err, errNoCode) {
			t.Error(err)
		}
		if err != nil {
			return false
		}
		if j.step%14 == 1 && len(j.codes) < 5 {
			j.codes = append(j.codes, code)
			return true
		}
		j.unsure = code
		a := c.exchange(code)
		if !succeeded(a, "exchange") {
			return false
		}
		j.unsure, j.refresh = "", a.text("refresh_token")
		j.live = append(j.live, a.text("access_token"))
	case j.step%7 == 2:
		a := c.serviceToken()
		if !succeeded(a, "service") {
			return false
		}
		j.live = append(j.live, a.text("access_token"))
	case j.step%7 == 3: // revoke a client credentials token
		a := c.serviceToken()
		if !succeeded(a, "service") {
			return false
		}
		if !succeeded(c.revoke(c.serviceID, c.serviceKey, a.text("access_token")), "revoke") {
			return false
		}
		j.revoked = append(j.revoked, a.text("access_token"))
	case j.step%21 == 4: // end the grant, with every access token under it
		token := j.refresh
		j.refresh = ""
		j.live = nil
		if !succeeded(c.revoke(c.appID, c.appKey, token), "revoke the grant") {
			return false
		}
		j.ended = append(j.ended, token)
	case j.step%7 == 5:
		if len(j.live) == 0 {
			return true
		}
		a := c.introspect(j.live[len(j.live)-1])
		if succeeded(a, "introspect") && a.body["active"] != true {
			t.Errorf("a live token is not active: %s", a)
		}
		return a.err == nil
	default:
		j.sent = j.refresh
		a := c.refresh(j.refresh)
		if !succeeded(a, "refresh") {
			return false
		}
		j.sent, j.refresh = "", a.text("refresh_token")
		j.live = append(j.live, a.text("access_token"))
	}
	return true
}

// check verifies that a restarted server has everything that the worker received.
func (j *journal) check(t *testing.T, c *caller) {
	t.Helper()
	for _, token := range j.live {
		if a := c.introspect(token); a.body["active"] != true {
			t.Errorf("an acknowledged token is lost: %s", a)
		}
	}
	for _, token := range j.revoked {
		if a := c.introspect(token); a.status != http.StatusOK || a.body["active"] != false {
			t.Errorf("a revoked token is back: %s", a)
		}
	}
	for _, token := range j.ended {
		if a := c.refresh(token); a.text("error") != "invalid_grant" {
			t.Errorf("a revoked grant is back: %s", a)
		}
	}
	for _, code := range j.codes {
		if a := c.exchange(code); a.status != http.StatusOK {
			t.Errorf("an acknowledged code is lost: %s", a)
		}
	}
	if j.unsure != "" {
		if a := c.exchange(j.unsure); a.status != http.StatusOK && a.text("error") != "invalid_grant" {
			t.Errorf("a code whose response was lost: %s", a)
		}
	}
	// With or without the response, this token, sent again, continues the family.
	if token := j.refresh; token != "" {
		a := c.refresh(token)
		if a.status != http.StatusOK {
			t.Errorf("a refresh token (response lost: %t) is not accepted: %s", j.sent != "", a)
		}
		j.refresh = a.text("refresh_token")
	}
	j.codes, j.unsure, j.sent = nil, "", ""
	j.live = j.live[max(0, len(j.live)-20):]
}

// TestKillUnderLoadLosesNothing: nothing acknowledged is lost, nothing revoked comes back, no grant is half made.
func TestKillUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		w := newWorld(t, db, map[string]string{"GATEHOUSE_REFRESH_GRACE": "60s", "GATEHOUSE_SHUTDOWN_TIMEOUT": "5s"})
		const workers = 6
		journals, callers := make([]journal, workers), make([]*caller, workers)
		first := serveChild(t, w.env)
		for i := range callers {
			callers[i] = w.caller(t)
			callers[i].exchange(callers[i].signIn(t))
		}
		server := first
		for round := range rounds(2, 12) {
			stop := make(chan struct{})
			var responses atomic.Int64
			var kill sync.Once
			done := load(workers, stop, func(i int) {
				if !journals[i].work(t, callers[i]) {
					kill.Do(func() { close(stop) }) // the process ended: send no more
					return
				}
				if responses.Add(1) == int64(150+97*round) {
					go server.signal(syscall.SIGKILL)
				}
			})
			done()
			if n := responses.Load(); n < 150 {
				t.Fatalf("it ended after %d responses:\n%s", n, server.stderr.tail())
			}
			<-server.ended
			server = serveChild(t, w.env)
			for i := range journals {
				journals[i].check(t, callers[i])
			}
			if t.Failed() {
				break
			}
		}
		server.signal(syscall.SIGTERM)
		if code := server.wait(t); code != exitOK {
			t.Errorf("it ended with %d:\n%s", code, server.stderr.tail())
		}
		s := storagetest.Open(t, db, storagetest.NewClock())
		for what, query := range map[string]string{
			"used codes without a grant":        "SELECT count(*) FROM authorization_codes WHERE consumed_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.id = authorization_codes.grant_id)",
			"grants without a code":             "SELECT count(*) FROM grants WHERE NOT EXISTS (SELECT 1 FROM authorization_codes WHERE authorization_codes.grant_id = grants.id)",
			"used codes without an audit row":   "SELECT count(*) FROM authorization_codes WHERE consumed_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM audit_events WHERE event = 'code.redeemed' AND audit_events.grant_id = authorization_codes.grant_id)",
			"revocations without an audit row":  "SELECT (SELECT count(*) FROM revoked_tokens) - (SELECT count(*) FROM audit_events WHERE event = '" + audit.TokenRevoked + "')",
			"audit rows of grants that are not": "SELECT count(*) FROM audit_events WHERE event = 'code.redeemed' AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.id = audit_events.grant_id)",
		} {
			if n := storagetest.Count(t, s, db, query); n != 0 {
				t.Errorf("%d %s", n, what)
			}
		}
		if stdout, stderr, code := command(t, w.env, "", "audit", "verify"); code != exitOK {
			t.Errorf("%s%s", stdout, stderr)
		}
	})
}

// TestShutdownUnderLoadLosesNothing: every accepted request gets its complete response, and no audit row of an issued
// token is lost.
func TestShutdownUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		w := newWorld(t, db, map[string]string{"GATEHOUSE_SHUTDOWN_DELAY": "300ms"})
		server := serveChild(t, w.env)
		var issued atomic.Int64
		storagetest.Concurrently(8, func(int) {
			c := w.caller(t)
			for { // until the server closes the connection
				a := c.serviceToken()
				if a.err != nil || a.status != http.StatusOK {
					t.Errorf("a request was not finished: %s", a)
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
			t.Errorf("it ended with %d:\n%s", code, server.stderr.tail())
		}
		s := storagetest.Open(t, db, storagetest.NewClock())
		if n := storagetest.Count(t, s, db, "SELECT count(*) FROM audit_events WHERE event = '"+audit.TokenIssued+"'"); n != issued.Load() {
			t.Errorf("%d issues are recorded, %d were acknowledged", n, issued.Load())
		}
	})
}

// TestRemovedDatabaseIsReportedAndNotRecreated removes the files of a database that is being served. The log has the
// cause, and the restart does not begin with an empty database in its place.
func TestRemovedDatabaseIsReportedAndNotRecreated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "gatehouse.db")
	w := newWorld(t, "sqlite:"+path, nil)
	delete(w.env, "GATEHOUSE_SECRET_KEY")
	storagetest.Must(t, os.WriteFile(filepath.Join(dir, "secret.key"), []byte(keyText+"\n"), 0o600))
	server := serveChild(t, w.env)
	backup := filepath.Join(t.TempDir(), "backup.db")
	if _, stderr, code := command(t, w.env, "", "backup", backup); code != exitOK {
		t.Fatal(stderr)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		storagetest.Must(t, os.Remove(name))
	}
	if a := w.caller(t).serviceToken(); a.status != http.StatusServiceUnavailable {
		t.Errorf("a token request without the database file: %s, want 503", a)
	}
	ready(t, w.issuer, http.StatusServiceUnavailable)
	server.stderr.waitFor(t, "the database file was removed or replaced while it is open", server.ended)
	server.signal(syscall.SIGKILL)
	for _, args := range [][]string{{"serve"}, {"migrate", "up"}, {"migrate", "status"}, {"client", "create", "--name", "x", "--grant-type", "client_credentials"}, {"client", "list"}} {
		_, stderr, code := command(t, w.env, "", args...)
		if code != exitFailed || !strings.Contains(stderr, "no database at "+path) || args[0] != "client" && !strings.Contains(stderr, "there is a root key, "+dir+"/secret.key; put a backup of the database there to restore it") {
			t.Errorf("gatehouse %s without the database: %d %s", strings.Join(args, " "), code, stderr)
		}
		if exists(path) {
			t.Fatalf("gatehouse %s created a database", strings.Join(args, " "))
		}
	}
	storagetest.Must(t, os.Rename(backup, path))
	again := serveChild(t, w.env)
	if a := w.caller(t).serviceToken(); a.status != http.StatusOK {
		t.Errorf("a token request after the backup was restored: %s", a)
	}
	again.signal(syscall.SIGTERM)
	again.wait(t)
}

// TestCommandsReadReadOnlyDatabase runs commands as a user who may only read, as on a disk that became read-only.
func TestCommandsReadReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	program := publicProgram(t)
	for _, running := range []bool{false, true} {
		dir := readableDir(t)
		path := filepath.Join(dir, "gatehouse.db")
		w := newWorld(t, "sqlite:"+path, nil)
		server := serveChild(t, w.env)
		if a := w.caller(t).serviceToken(); a.status != http.StatusOK {
			t.Fatal(a)
		}
		server.signal(map[bool]syscall.Signal{false: syscall.SIGTERM, true: syscall.SIGKILL}[running]) // killed, it leaves a log of changes
		<-server.ended
		if exists(path+"-wal") != running {
			t.Fatalf("killed: %t, but there is a log of changes: %t", running, !running)
		}
		storagetest.Must(t, filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
			mode := os.FileMode(0o444)
			if err == nil && entry.IsDir() {
				mode = 0o555
			}
			return errors.Join(err, os.Chmod(name, mode))
		}))
		t.Cleanup(func() { _ = os.Chmod(dir, 0o755) }) // so that it can be removed
		out := readableDir(t)
		storagetest.Must(t, os.Chmod(out, 0o777))
		backup := filepath.Join(out, "backup.db")
		as := func(args ...string) (string, int) {
			t.Helper()
			c := runChild(t, w.env, exec.Command(program, args...), os.Getuid() == 0) // modes of files do not bind root
			code := c.wait(t)
			return c.stdout.String() + c.stderr.String(), code
		}
		for want, args := range map[string][]string{
			w.serviceID: {"client", "list", "--json"}, "alice@example.com": {"user", "list"}, "client.created": {"audit", "list", "--limit", "1000"},
			"ES256": {"key", "list"}, "no problems found": {"audit", "verify"}, "applied": {"migrate", "status"},
			"wrote " + backup: {"backup", backup}, "the audit log has no record of this export": {"audit", "export", "--output", filepath.Join(out, "audit.jsonl")},
		} {
			if text, code := as(args...); code != exitOK || !strings.Contains(text, want) {
				t.Errorf("killed: %t, gatehouse %s: %d, want %q in\n%s", running, strings.Join(args, " "), code, want, text)
			}
		}
		for _, args := range [][]string{{"client", "create", "--grant-type", "client_credentials"}, {"client", "disable", w.serviceID}, {"serve"}} {
			if text, code := as(args...); code != exitFailed || !strings.Contains(text, "let the user that runs gatehouse write the database") {
				t.Errorf("killed: %t, gatehouse %s: %d, want a remedy in\n%s", running, strings.Join(args, " "), code, text)
			}
		}
		env := map[string]string{}
		for k, v := range w.env {
			env[k] = v
		}
		storagetest.Must(t, os.Chmod(backup, 0o600))
		env["GATEHOUSE_DATABASE_URL"] = "sqlite:" + backup
		if stdout, stderr, code := command(t, env, "", "audit", "verify"); code != exitOK {
			t.Errorf("the backup: %s%s", stdout, stderr)
		}
	}
}
