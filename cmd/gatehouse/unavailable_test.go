package main

import (
	"crypto/tls"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// unwritableDirectory returns the path of a directory in which this user cannot create a file.
func unwritableDirectory(t *testing.T) string {
	t.Helper()
	if os.Geteuid() == 0 { // root writes everywhere but in a file system of the kernel
		return "/sys"
	}
	dir := filepath.Join(t.TempDir(), "unwritable")
	storagetest.Must(t, os.Mkdir(dir, 0o500))
	return dir
}

// TestPermanentDatabaseErrorsEndEveryCommand covers the errors that do not end on their own: serve must not wait for
// them.
func TestPermanentDatabaseErrorsEndEveryCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.db")
	storagetest.Must(t, os.WriteFile(text, []byte(strings.Repeat("these are notes, not a database\n", 200)), 0o600))
	cases := map[string]struct{ url, want string }{
		"unwritable directory":       {"sqlite:" + unwritableDirectory(t) + "/gatehouse.db", "can write"},
		"directory below unwritable": {"sqlite:" + unwritableDirectory(t) + "/data/gatehouse.db", "can write"},
		"a directory":                {"sqlite:" + dir, "names a directory"},
		"below a file":               {"sqlite:" + text + "/gatehouse.db", "is a file, not a directory"},
		"not a database":             {"sqlite:" + text, "not a SQLite database"},
	}
	for _, engine := range storagetest.Engines(t) {
		if engine != storage.Postgres {
			continue
		}
		direct, through := storagetest.URL(t, engine), storagetest.StartPgBouncer(t, "transaction").URL
		changed := func(db string, fn func(u *url.URL, q url.Values)) string {
			u, err := url.Parse(db)
			storagetest.Must(t, err)
			q := u.Query()
			fn(u, q)
			u.RawQuery = q.Encode()
			return u.String()
		}
		change := func(fn func(u *url.URL, q url.Values)) string { return changed(direct, fn) }
		cases["PgBouncer, unknown database"] = struct{ url, want string }{changed(through, func(u *url.URL, _ url.Values) { u.Path = "/nowhere" }), "name of the database"}
		cases["PgBouncer, unknown user"] = struct{ url, want string }{changed(through, func(u *url.URL, _ url.Values) { u.User = url.User("nobody_here") }), "check the user"}
		cases["PgBouncer, refused parameter"] = struct{ url, want string }{changed(through, func(_ *url.URL, q url.Values) { q.Set("search_path", "x") }), "ignore_startup_parameters"}
		cases["unknown database"] = struct{ url, want string }{change(func(u *url.URL, _ url.Values) { u.Path = "/nowhere" }), "createdb"}
		cases["unknown role"] = struct{ url, want string }{change(func(u *url.URL, _ url.Values) { u.User = url.User("nobody_here") }), "check the user"}
		cases["unknown parameter"] = struct{ url, want string }{change(func(_ *url.URL, q url.Values) { q.Set("no_such_parameter", "1") }), "unknown parameter"}
		cases["TLS switched off"] = struct{ url, want string }{change(func(_ *url.URL, q url.Values) { q.Set("sslmode", "require") }), "sslmode"}
		cases["untrusted certificate"] = struct{ url, want string }{"postgres://gatehouse@" + untrustedTLS(t) + "/gatehouse?sslmode=verify-full", "sslrootcert"}
	}
	for name, c := range cases {
		for _, args := range [][]string{{"serve"}, {"dev", "--sample-listen", "127.0.0.1:0"}, {"migrate", "up"}, {"user", "create", "--username", "u", "--email", "u@example.com", "--password-stdin"}} {
			t.Run(name+"/"+args[0], func(t *testing.T) {
				t.Parallel()
				_, stderr, code := command(t, map[string]string{
					"GATEHOUSE_DATABASE_URL": c.url, "GATEHOUSE_SECRET_KEY": keyText, "GATEHOUSE_LISTEN": "127.0.0.1:0",
				}, "a password of a user\n", args...)
				if code != exitFailed || !strings.Contains(stderr, c.want) {
					t.Errorf("%v on %s: exit %d, want %d and %q in:\n%s", args, c.url, code, exitFailed, c.want, stderr)
				}
				if strings.Contains(stderr, "retrying") {
					t.Errorf("%v on %s: retried an error that stays:\n%s", args, c.url, stderr)
				}
			})
		}
	}
}

// serve waits for such a database; a command ends.
func TestUnreachableDatabaseEndsCommandWithFix(t *testing.T) {
	t.Parallel()
	for _, host := range []string{storagetest.FreeAddress(t), "no-such-host.invalid"} {
		_, stderr, code := command(t, map[string]string{
			"GATEHOUSE_DATABASE_URL": "postgres://gatehouse@" + host + "/gatehouse", "GATEHOUSE_SECRET_KEY": keyText,
		}, "", "user", "list")
		want := "start PostgreSQL, or correct the host and port in GATEHOUSE_DATABASE_URL"
		if code != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("user list on %s: exit %d, want %d and %q in:\n%s", host, code, exitFailed, want, stderr)
		}
	}
}

// untrustedTLS listens like a PostgreSQL whose certificate no CA has signed.
func untrustedTLS(t *testing.T) string {
	t.Helper()
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	selfSigned(t, cert, key)
	pair, err := tls.LoadX509KeyPair(cert, key)
	storagetest.Must(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	storagetest.Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if _, err := conn.Read(make([]byte, 8)); err != nil { // SSLRequest
					return
				}
				if _, err := conn.Write([]byte("S")); err != nil {
					return
				}
				_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}}).HandshakeContext(t.Context()) // the client refuses it
			}()
		}
	}()
	return listener.Addr().String()
}
