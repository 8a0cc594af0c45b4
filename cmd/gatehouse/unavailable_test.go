package main

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// unwritableDirectory returns the path of a directory in which this user cannot create a file.
func unwritableDirectory(t *testing.T) string {
	t.Helper()
	if os.Geteuid() == 0 { // root can create files everywhere except in a file system of the kernel
		return "/sys"
	}
	dir := filepath.Join(t.TempDir(), "unwritable")
	storagetest.Must(t, os.Mkdir(dir, 0o500))
	return dir
}

// databaseError is a database URL that does not work, and a part of the error message.
type databaseError struct{ url, want string }

// sqliteErrors returns the errors of paths.
func sqliteErrors(t *testing.T) map[string]databaseError {
	t.Helper()
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.db")
	content := strings.Repeat("these are notes, not a database\n", 200)
	storagetest.Must(t, os.WriteFile(text, []byte(content), 0o600))
	return map[string]databaseError{
		"unwritable directory":       {"sqlite:" + unwritableDirectory(t) + "/gatehouse.db", "can write"},
		"directory below unwritable": {"sqlite:" + unwritableDirectory(t) + "/data/gatehouse.db", "can write"},
		"a directory":                {"sqlite:" + dir, "names a directory"},
		"below a file":               {"sqlite:" + text + "/gatehouse.db", "is a file, not a directory"},
		"not a database":             {"sqlite:" + text, "not a SQLite database"},
	}
}

// postgresErrors returns the errors of URLs of PostgreSQL and PgBouncer.
func postgresErrors(t *testing.T) map[string]databaseError {
	t.Helper()
	change := func(db string, fn func(u *url.URL)) string {
		u, err := url.Parse(db)
		storagetest.Must(t, err)
		fn(u)
		return u.String()
	}
	unknownDatabase := func(u *url.URL) { u.Path = "/nowhere" }
	unknownUser := func(u *url.URL) { u.User = url.User("nobody_here") }
	set := func(name, value string) func(u *url.URL) {
		return func(u *url.URL) {
			q := u.Query()
			q.Set(name, value)
			u.RawQuery = q.Encode()
		}
	}
	direct, bouncer := storagetest.URL(t, storage.Postgres), storagetest.StartPgBouncer(t, "transaction").URL
	untrusted := "postgres://gatehouse@" + startUntrustedTLS(t) + "/gatehouse?sslmode=verify-full"
	return map[string]databaseError{
		"PgBouncer, unknown database":  {change(bouncer, unknownDatabase), "name of the database"},
		"PgBouncer, unknown user":      {change(bouncer, unknownUser), "check the user"},
		"PgBouncer, refused parameter": {change(bouncer, set("search_path", "x")), "ignore_startup_parameters"},
		"unknown database":             {change(direct, unknownDatabase), "createdb"},
		"unknown role":                 {change(direct, unknownUser), "check the user"},
		"unknown parameter":            {change(direct, set("no_such_parameter", "1")), "unknown parameter"},
		"TLS switched off":             {change(direct, set("sslmode", "require")), "sslmode"},
		"untrusted certificate":        {untrusted, "sslrootcert"},
	}
}

// TestPermanentDatabaseErrorsEndEveryCommand covers the errors that do not end on their own: serve must not retry them.
func TestPermanentDatabaseErrorsEndEveryCommand(t *testing.T) {
	t.Parallel()
	cases := sqliteErrors(t)
	if slices.Contains(storagetest.Engines(t), storage.Postgres) {
		maps.Copy(cases, postgresErrors(t))
	}
	for name, c := range cases {
		for _, args := range [][]string{
			{"serve"}, {"dev", "--sample-listen", "127.0.0.1:0"}, {"migrate", "up"},
			{"user", "create", "--username", "u", "--email", "u@example.com", "--password-stdin"},
		} {
			t.Run(name+"/"+args[0], func(t *testing.T) {
				t.Parallel()
				_, stderr, code := command(t, map[string]string{
					"GATEHOUSE_DATABASE_URL": c.url, "GATEHOUSE_SECRET_KEY": keyText, "GATEHOUSE_LISTEN": "127.0.0.1:0",
				}, "a password of a user\n", args...)
				if code != exitFailed || !strings.Contains(stderr, c.want) {
					t.Errorf("%v on %s: exit %d, want %d and %q in:\n%s", args, c.url, code, exitFailed, c.want, stderr)
				}
				if strings.Contains(stderr, "retrying") {
					t.Errorf("%v on %s retried a permanent error:\n%s", args, c.url, stderr)
				}
			})
		}
	}
}

// TestUnreachableDatabaseEndsCommandWithFix runs a command on a host that does not respond, which serve waits for.
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

// startUntrustedTLS listens like a PostgreSQL with a self-signed certificate, and returns its address.
func startUntrustedTLS(t *testing.T) string {
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
			go refuseTLS(t.Context(), conn, pair)
		}
	}()
	return listener.Addr().String()
}

// refuseTLS starts TLS on a connection of a PostgreSQL client, which refuses the certificate.
func refuseTLS(ctx context.Context, conn net.Conn, pair tls.Certificate) {
	defer func() { _ = conn.Close() }()
	if _, err := conn.Read(make([]byte, 8)); err != nil { // SSLRequest
		return
	}
	if _, err := conn.Write([]byte("S")); err != nil {
		return
	}
	_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}}).HandshakeContext(ctx)
}
