package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"gatehouse/oauth/client"
	"gatehouse/storage/storagetest"
)

func TestDynamicClientIsNotFoundByName(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		address := storagetest.FreeAddress(t)
		env := map[string]string{
			"GATEHOUSE_DATABASE_URL": url, "GATEHOUSE_SECRET_KEY": keyText,
			"GATEHOUSE_ISSUER": "http://" + address, "GATEHOUSE_LISTEN": address, "GATEHOUSE_REGISTRATION": "open",
		}
		startServe(t, env, "--migrate")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/oauth2/register",
			strings.NewReader(`{"client_name":"Notes","redirect_uris":["https://attacker.example/cb"]}`))
		storagetest.Must(t, err)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		storagetest.Must(t, err)
		defer func() { _ = res.Body.Close() }()
		var registered client.Information
		if err := json.NewDecoder(res.Body).Decode(&registered); err != nil || res.StatusCode != http.StatusCreated {
			t.Fatalf("registration: %s, %v, want 201 with JSON", res.Status, err)
		}
		want := "pass its client_id: " + registered.ClientID
		_, stderr, code := command(t, env, "", "client", "update", "Notes", "--skip-consent")
		if code != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("client update by the name of a self-registered client: exit %d, want %d with %q: %s",
				code, exitFailed, want, stderr)
		}
		var created client.Information
		stdout := mustRun(t, env, "", "client", "create", "--name", "Notes", "--grant-type", "client_credentials",
			"--scope", "jobs")
		storagetest.Must(t, json.Unmarshal([]byte(stdout), &created))
		want = "client " + created.ClientID + " is deleted"
		if stdout := mustRun(t, env, "", "client", "delete", "Notes"); !strings.Contains(stdout, want) {
			t.Errorf("client delete Notes = %q, want %q", stdout, want)
		}
		mustRun(t, env, "", "client", "show", registered.ClientID)
	})
}

func TestMissingRootKeyOfUsedDatabaseAdvisesNoNewKey(t *testing.T) {
	t.Parallel()
	requireEnv(t, "TEST_POSTGRES_DSN")
	env := map[string]string{"GATEHOUSE_DATABASE_URL": storagetest.URL(t, "postgres")}
	for _, args := range [][]string{{"client", "list"}, {"migrate", "up"}, {"serve"}, {"rekey"}} {
		_, stderr, code := command(t, env, "", args...)
		for _, want := range []string{"GATEHOUSE_SECRET_KEY is required with PostgreSQL", "Only for a new database"} {
			if code != exitFailed || !strings.Contains(stderr, want) {
				t.Errorf("%v on a new database: exit %d, want %d with %q: %s", args, code, exitFailed, want, stderr)
			}
		}
	}
	withKey := map[string]string{
		"GATEHOUSE_DATABASE_URL": env["GATEHOUSE_DATABASE_URL"], "GATEHOUSE_SECRET_KEY": keyText,
	}
	mustRun(t, withKey, "", "migrate", "up")
	mustRun(t, withKey, "", "scope", "create", "jobs", "--description", "Jobs")
	const want = "GATEHOUSE_SECRET_KEY_FILE to the key that its server uses"
	for _, args := range [][]string{{"client", "list"}, {"migrate", "up"}, {"migrate", "status"}, {"serve"}, {"rekey"}} {
		_, stderr, code := command(t, env, "", args...)
		if code != exitFailed || strings.Contains(stderr, "openssl") || !strings.Contains(stderr, want) {
			t.Errorf("%v on a database with a key: exit %d, want %d with %q and without openssl: %s",
				args, code, exitFailed, want, stderr)
		}
	}
}
