package main

import (
	"encoding/json"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/config"
	"gatehouse/display"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
)

// TestTerminalOutputIsPrintable fills every table with names that act on a terminal, which the store does not check,
// and runs every command that prints records.
func TestTerminalOutputIsPrintable(t *testing.T) {
	t.Parallel()
	env := map[string]string{"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db"}
	must := func(stdin string, args ...string) string {
		t.Helper()
		stdout, stderr, code := command(t, env, stdin, args...)
		if code != exitOK {
			t.Fatalf("%v: %d %s", args, code, stderr)
		}
		return stdout
	}
	id, _ := (&cluster{env: env}).client(t, `{"client_name":"App","redirect_uris":["https://app.example/cb"],"scope":"notes.read"}`)
	must("correct horse battery\n", "user", "create", "--username", "alice", "--email", "alice@example.com", "--password-stdin")
	must("", "resource", "create", "https://api.example.com", "--scope", "notes.read")
	must("", "registration-token", "create")
	const evil = "\x1b]0;owned\x07\u202e\u009b2J\u200b\u0085\n\tback"
	cfg, _, err := config.Load(func(name string) string { return env[name] }, nil)
	storagetest.Must(t, err)
	s, err := server.Open(t.Context(), server.Options{Config: cfg})
	storagetest.Must(t, err)
	store := s.Store
	ctx := reqevent.NewContext(t.Context(), &reqevent.Event{Actor: evil, UserAgent: evil, Address: evil, RequestID: evil})
	storagetest.Must(t, store.UpdateClient(ctx, id, func(c *storage.Client) (update storage.ClientUpdate, err error) {
		c.Name, c.Owner, c.SoftwareID, c.Contacts = evil, evil, evil, storage.Strings{"x\u202e"}
		return storage.ClientUpdate{Detail: map[string]any{"note": evil}}, nil
	}))
	alice, err := store.UserByKey(ctx, "alice")
	storagetest.Must(t, err)
	_, err = store.UpdateUser(ctx, alice.ID, func(u *storage.User) error {
		u.Name, u.Profile.Nickname, u.Username = evil, evil, evil
		return nil
	})
	storagetest.Must(t, err)
	storagetest.Must(t, store.UpdateScope(ctx, "notes.read", evil))
	storagetest.Must(t, store.UpdateResource(ctx, "https://api.example.com", func(r *storage.Resource) error { r.Name = evil; return nil }))
	storagetest.Must(t, store.CreateRegistrationToken(ctx, &storage.RegistrationToken{
		ID: "t", Hash: []byte("h"), Note: evil, UsesLeft: 1, CreatedAt: store.Now(), ExpiresAt: store.Now().AddDate(0, 0, 1),
	}))
	storagetest.Must(t, s.Close(ctx))

	for _, args := range [][]string{
		{"client", "list"}, {"client", "show", id}, {"client", "show", evil}, {"client", "update", id, "--scope", "notes.read"}, {"user", "list"}, {"user", "show", "alice"},
		{"scope", "list"}, {"scope", "delete", "notes.read"}, {"resource", "list"}, {"registration-token", "list"}, {"audit", "list"}, {"audit", "export"}, {"audit", "export", "--format", "csv"},
		{"audit", "list", "--client", evil}, {"audit", "verify"}, {"user", "show", evil}, {"client", "create", "--name", evil, "--grant-type", "client_credentials"}, {"user", "disable", "alice"}, {evil},
	} {
		for _, asJSON := range []bool{false, true} {
			if asJSON {
				if args[0] == "scope" && args[1] == "delete" || len(args) < 2 || args[1] != "list" {
					continue
				}
				args = append(args, "--json")
			}
			stdout, stderr, _ := command(t, env, "", args...)
			for line := range strings.Lines(stdout + stderr) {
				if line = strings.TrimSuffix(line, "\n"); display.Escape(line) != line {
					t.Errorf("%q prints %q", args, line)
				}
			}
			if asJSON && !json.Valid([]byte(stdout)) {
				t.Errorf("%q prints no JSON: %s", args, stdout)
			}
			if stdout+stderr == "" {
				t.Errorf("%q prints nothing", args)
			}
		}
	}
	if !strings.Contains(must("", "client", "list"), `\u001b]0;owned`) {
		t.Error("the client with the odd name is not listed")
	}
	var info struct {
		Name string `json:"client_name"`
	}
	storagetest.Must(t, json.Unmarshal([]byte(must("", "client", "show", id)), &info))
	if info.Name != evil {
		t.Errorf("the JSON means %q, want %q", info.Name, evil)
	}
}

func TestCommandsRefuseUnprintableNames(t *testing.T) {
	t.Parallel()
	env := map[string]string{"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db"}
	for _, args := range [][]string{
		{"scope", "create", "notes.read", "--description", "\u202eRead"}, {"resource", "create", "https://api.example.com", "--name", "\u200b"},
		{"registration-token", "create", "--note", "a\x1b[2J"}, {"client", "create", "--name", "\u3164", "--grant-type", "client_credentials"},
	} {
		if stdout, stderr, code := command(t, env, "", args...); code == exitOK || stdout != "" {
			t.Errorf("%q: %d %s%s", args, code, stdout, stderr)
		}
	}
}
