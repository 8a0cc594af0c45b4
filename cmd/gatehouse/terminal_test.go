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

// unprintable is a name with control sequences of terminals, and with invisible and direction characters.
const unprintable = "\x1b]0;owned\x07\u202e\u009b2J\u200b\u0085\n\tback"

// createUnprintableRecords fills every table of a database with unprintable names, which the store does not refuse. It
// returns the settings of commands, and the id of a client.
func createUnprintableRecords(t *testing.T) (env map[string]string, clientID string) {
	t.Helper()
	env = map[string]string{"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db"}
	id, _ := createClient(t, env, `{"client_name":"App","redirect_uris":["https://app.example/cb"],"scope":"notes.read"}`)
	createUser(t, env, "alice", "correct horse battery")
	mustRun(t, env, "", "resource", "create", "https://api.example.com", "--scope", "notes.read")
	mustRun(t, env, "", "registration-token", "create")
	cfg, _, err := config.Load(func(name string) string { return env[name] }, nil)
	storagetest.Must(t, err)
	s, err := server.Open(t.Context(), server.Options{Config: cfg})
	storagetest.Must(t, err)
	ctx := reqevent.NewContext(t.Context(), &reqevent.Event{
		Actor: unprintable, UserAgent: unprintable, Address: unprintable, RequestID: unprintable,
	})
	storagetest.Must(t, s.Store.UpdateClient(ctx, id, func(c *storage.Client) (storage.ClientUpdate, error) {
		c.Name, c.Owner, c.SoftwareID, c.Contacts = unprintable, unprintable, unprintable, storage.Strings{"x\u202e"}
		return storage.ClientUpdate{Detail: map[string]any{"note": unprintable}}, nil
	}))
	alice, err := s.Store.UserByKey(ctx, "alice")
	storagetest.Must(t, err)
	_, err = s.Store.UpdateUser(ctx, alice.ID, func(u *storage.User) error {
		u.Name, u.Profile.Nickname, u.Username = unprintable, unprintable, unprintable
		return nil
	})
	storagetest.Must(t, err)
	storagetest.Must(t, s.Store.UpdateScope(ctx, "notes.read", unprintable))
	storagetest.Must(t, s.Store.UpdateResource(ctx, "https://api.example.com", func(r *storage.Resource) error {
		r.Name = unprintable
		return nil
	}))
	now := s.Store.Now()
	storagetest.Must(t, s.Store.CreateRegistrationToken(ctx, &storage.RegistrationToken{
		ID: "t", Hash: []byte("h"), Note: unprintable, UsesLeft: 1, CreatedAt: now, ExpiresAt: now.AddDate(0, 0, 1),
	}))
	storagetest.Must(t, s.Close(ctx))
	return env, id
}

// TestTerminalOutputIsPrintable runs every command that prints records on a database with unprintable names.
func TestTerminalOutputIsPrintable(t *testing.T) {
	t.Parallel()
	env, id := createUnprintableRecords(t)
	for _, args := range [][]string{
		{"client", "list"}, {"client", "list", "--json"}, {"client", "show", id}, {"client", "show", unprintable},
		{"client", "update", id, "--scope", "notes.read"}, {"user", "list"}, {"user", "list", "--json"},
		{"user", "show", "alice"}, {"scope", "list"}, {"scope", "list", "--json"}, {"scope", "delete", "notes.read"},
		{"resource", "list"}, {"resource", "list", "--json"}, {"registration-token", "list"},
		{"registration-token", "list", "--json"}, {"audit", "list"}, {"audit", "list", "--json"}, {"audit", "export"},
		{"audit", "export", "--format", "csv"}, {"audit", "list", "--client", unprintable},
		{"audit", "list", "--client", unprintable, "--json"}, {"audit", "verify"}, {"user", "show", unprintable},
		{"client", "create", "--name", unprintable, "--grant-type", "client_credentials"}, {"user", "disable", "alice"},
		{unprintable},
	} {
		stdout, stderr, _ := command(t, env, "", args...)
		for line := range strings.Lines(stdout + stderr) {
			if line = strings.TrimSuffix(line, "\n"); display.Escape(line) != line {
				t.Errorf("%q prints the line %q, want %q", args, line, display.Escape(line))
			}
		}
		if args[len(args)-1] == "--json" && !json.Valid([]byte(stdout)) {
			t.Errorf("%q prints invalid JSON: %s", args, stdout)
		}
		if stdout+stderr == "" {
			t.Errorf("%q prints nothing", args)
		}
	}
	if list := mustRun(t, env, "", "client", "list"); !strings.Contains(list, `\u001b]0;owned`) {
		t.Errorf("client list = %q, want the escaped name", list)
	}
	var info struct {
		Name string `json:"client_name"`
	}
	storagetest.Must(t, json.Unmarshal([]byte(mustRun(t, env, "", "client", "show", id)), &info))
	if info.Name != unprintable {
		t.Errorf("client_name in the JSON of client show = %q, want %q", info.Name, unprintable)
	}
}

func TestCommandsRefuseUnprintableNames(t *testing.T) {
	t.Parallel()
	env := map[string]string{"GATEHOUSE_DATABASE_URL": "sqlite:" + t.TempDir() + "/gatehouse.db"}
	for _, args := range [][]string{
		{"scope", "create", "notes.read", "--description", "\u202eRead"},
		{"resource", "create", "https://api.example.com", "--name", "\u200b"},
		{"registration-token", "create", "--note", "a\x1b[2J"},
		{"client", "create", "--name", "\u3164", "--grant-type", "client_credentials"},
	} {
		if stdout, stderr, code := command(t, env, "", args...); code == exitOK || stdout != "" {
			t.Errorf("%q: exit %d, want an error and no output: %s%s", args, code, stdout, stderr)
		}
	}
}
