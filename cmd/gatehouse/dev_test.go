package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/config"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

var fileExists = server.FileExists

func TestDevRefusesForeignDatabase(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		dir := t.TempDir()
		if path, embedded := strings.CutPrefix(url, "sqlite:"); embedded {
			dir = filepath.Dir(path)
		}
		env := map[string]string{
			"GATEHOUSE_DATABASE_URL": url, "GATEHOUSE_SECRET_KEY": keyText, "GATEHOUSE_LISTEN": "127.0.0.1:0",
		}
		if strings.HasPrefix(url, "postgres") {
			mustRun(t, env, "", "migrate", "up")
		}
		mustRun(t, env, "the password of a real user\n", "user", "create", "--username", "demo",
			"--email", "real@example.com", "--password-stdin")
		store := storagetest.Open(t, url, storagetest.NewClock())
		// The row with the time when a process last used the database is written by the store of this test too.
		dump := func() []string {
			rows := strings.Split(storagetest.Dump(t, store, url), "\n")
			return slices.DeleteFunc(rows, func(row string) bool { return strings.HasPrefix(row, "liveness: ") })
		}
		before := dump()
		stdout, stderr, code := command(t, env, "", "dev", "--sample-listen", "127.0.0.1:0")
		for _, want := range []string{"was not created by `gatehouse dev`", "--database-url sqlite:"} {
			if code != exitFailed || stdout != "" || !strings.Contains(stderr, want) {
				t.Errorf("gatehouse dev: exit %d, want %d with %q:\n%s%s", code, exitFailed, want, stdout, stderr)
			}
		}
		if diff := cmp.Diff(before, dump()); diff != "" {
			t.Errorf("gatehouse dev changed a database that it did not create (-before +after):\n%s", diff)
		}
		if fileExists(filepath.Join(dir, devFile)) {
			t.Errorf("gatehouse dev created %s", devFile)
		}
	})
}

// TestDevRestartsOnItsDatabase is not parallel: with PostgreSQL dev.json is below the working directory.
func TestDevRestartsOnItsDatabase(t *testing.T) {
	for _, engine := range storagetest.Engines(t) {
		url := storagetest.URL(t, engine)
		dir := t.TempDir()
		t.Chdir(dir)
		data := filepath.Join(dir, "gatehouse-data", devFile)
		if path, embedded := strings.CutPrefix(url, "sqlite:"); embedded {
			data = filepath.Join(filepath.Dir(path), devFile)
		}
		settings := map[string]string{"GATEHOUSE_SECRET_KEY": keyText, "GATEHOUSE_DATABASE_URL": url}
		first := startDev(t, dir, settings)
		first.stop(t)
		second := startDev(t, dir, settings)
		second.stop(t)
		if second.password != first.password {
			t.Errorf("password after a restart = %q, want that of the first start, %q", second.password, first.password)
		}
		// Without dev.json the demo user gets a new password.
		storagetest.Must(t, os.Remove(data))
		third := startDev(t, dir, settings)
		third.stop(t)
		if third.password == first.password {
			t.Errorf("password after a restart without dev.json = %q, want a new one", third.password)
		}
	}
}

func TestDevShowsWhatToDoNext(t *testing.T) {
	t.Parallel()
	d := startDev(t, t.TempDir(), nil)
	page := d.stdout.String()
	for _, document := range regexp.MustCompile(`docs/[a-z-]+(\.md)?`).FindAllString(page, -1) {
		if !fileExists("../../" + document) {
			t.Errorf("the printed page names %s, which does not exist", document)
		}
	}
	// Every command on the page runs as it is printed, on the database that the page names.
	database := regexp.MustCompile(`export GATEHOUSE_DATABASE_URL='(.*)'`).FindStringSubmatch(page)
	if database == nil {
		t.Fatalf("the page does not show the path of the database:\n%s", page)
	}
	env := map[string]string{"GATEHOUSE_DATABASE_URL": database[1]}
	commands := regexp.MustCompile(`(?m)  gatehouse ((?:client|resource) create .*)$`).FindAllStringSubmatch(page, -1)
	for _, m := range commands {
		var args []string
		for _, quoted := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(m[1], -1) {
			args = append(args, quoted[1]+quoted[2])
		}
		mustRun(t, env, "", args...)
	}
	if len(commands) != 3 {
		t.Errorf("the page has %d commands, want 3: for a client, a service and an API\n%s", len(commands), page)
	}
	for _, want := range []string{
		"gatehouse client list", "gatehouse user list", "gatehouse audit list", "gatehouse serve",
		"docs/apis.md", "docs/operate.md", "docs/relying-parties",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not contain %q:\n%s", want, page)
		}
	}
	// Without a mail server, emails are printed too.
	b := (&servertest.Server{T: t, URL: d.issuer, HTTP: http.DefaultClient}).Browser()
	form := b.Open("/forgot").Fields()
	form.Set("username", "demo")
	b.Submit("/forgot", form)
	d.stdout.waitFor(t, "--- email to demo@example.com: Reset your password", d.ended)
	d.stdout.waitFor(t, d.issuer+"/reset?token=", d.ended)
}

// TestDevNamesItsDatabaseForOtherCommands checks that the commands on the page use the database of gatehouse dev, and
// not the default one in the same directory.
func TestDevNamesItsDatabaseForOtherCommands(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		config.DefaultDatabaseURL:  " in this directory",
		"sqlite:other/gate.db":     " in this directory after: export GATEHOUSE_DATABASE_URL='sqlite:other/gate.db'",
		"sqlite:/srv/gate's/it.db": ` after: export GATEHOUSE_DATABASE_URL='sqlite:/srv/gate'\''s/it.db'`,
		"postgres://db/gatehouse":  " with the same GATEHOUSE_DATABASE_URL and GATEHOUSE_SECRET_KEY",
	} {
		if got := devDatabase(config.Config{DatabaseURL: url}); got != want {
			t.Errorf("devDatabase(%q) = %q, want %q", url, got, want)
		}
	}
}

// TestDevActorIsSystemForTheServer checks the audit rows of a start: the operator created the demo records, and the
// server its signing keys.
func TestDevActorIsSystemForTheServer(t *testing.T) {
	t.Parallel()
	d := startDev(t, t.TempDir(), nil)
	d.stop(t)
	for event, want := range map[string]string{
		audit.KeyCreated: "system", audit.ClientCreated: operator(), audit.UserCreated: operator(),
	} {
		rows := mustRun(t, d.env, "", "audit", "list", "--event", event, "--json")
		actors := regexp.MustCompile(`"actor": ?"([^"]*)"`).FindAllStringSubmatch(rows, -1)
		if len(actors) == 0 {
			t.Errorf("no audit row of %s:\n%s", event, rows)
		}
		for _, actor := range actors {
			if actor[1] != want {
				t.Errorf("actor of %s = %q, want %q", event, actor[1], want)
			}
		}
	}
}

func TestHelpShowsDefaultsAndMeaningOfZero(t *testing.T) {
	t.Parallel()
	dev, serve := mustRun(t, nil, "", "dev", "--help"), mustRun(t, nil, "", "serve", "--help")
	for _, x := range []struct{ help, flag, want string }{
		{dev, "--log-level", `(default "warn")`},
		{serve, "--log-level", `(default "info")`},
		{serve, "--audit-retention", "0 retains the rows indefinitely"},
		{serve, "--database-pool", "0 means four per core"},
		{serve, "--password-concurrency", "0 means half the cores"},
	} {
		_, line, _ := strings.Cut(x.help, x.flag+" ")
		if line, _, _ = strings.Cut(line, "\n"); !strings.Contains(line, x.want) {
			t.Errorf("help of %s = %q, want %q in it", x.flag, line, x.want)
		}
	}
}

func TestDevShowsHowToFindCommand(t *testing.T) {
	t.Parallel()
	missing := func(string) (string, error) { return "", exec.ErrNotFound }
	for executable, want := range map[string]string{
		"/root/.cache/go-build/1a/2b-d/gatehouse": `make build && export PATH="$PWD/bin:$PATH"`,
		"/opt/my tools/gatehouse":                 `export PATH='/opt/my tools':"$PATH"`,
	} {
		if got := pathCommand(executable, missing); got != want {
			t.Errorf("pathCommand(%q) = %q, want %q", executable, got, want)
		}
		page := devPage(config.Config{DatabaseURL: config.DefaultDatabaseURL}, devData{}, "", want)
		if at := strings.Index(page, want); at < 0 || at > strings.Index(page, "gatehouse client create") {
			t.Errorf("the page does not contain %q before the first command:\n%s", want, page)
		}
	}
	installed := func(string) (string, error) { return "/usr/bin/gatehouse", nil }
	if got := pathCommand("/opt/gatehouse", installed); got != "" {
		t.Errorf("with gatehouse on the PATH pathCommand = %q, want no command", got)
	}
}
