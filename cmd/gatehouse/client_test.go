package main

import (
	"encoding/base64"
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
			"GATEHOUSE_DATABASE_URL": url, "GATEHOUSE_SECRET_KEY": base64.StdEncoding.EncodeToString(storagetest.Key[:]),
			"GATEHOUSE_ISSUER": "http://" + address, "GATEHOUSE_LISTEN": address, "GATEHOUSE_REGISTRATION": "open",
		}
		p := start(t, env, "serve", "--migrate")
		p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/oauth2/register",
			strings.NewReader(`{"client_name":"Notes","redirect_uris":["https://attacker.example/cb"]}`))
		storagetest.Must(t, err)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		storagetest.Must(t, err)
		defer func() { _ = res.Body.Close() }()
		var registered client.Information
		if err := json.NewDecoder(res.Body).Decode(&registered); err != nil || res.StatusCode != http.StatusCreated {
			t.Fatal(err, res.Status)
		}
		_, stderr, code := command(t, env, "", "client", "update", "Notes", "--skip-consent")
		if code != exitFailed || !strings.Contains(stderr, "pass its client_id: "+registered.ClientID) {
			t.Errorf("update by the name of a self-registered client: %d %s", code, stderr)
		}
		stdout, stderr, code := command(t, env, "", "client", "create", "--name", "Notes", "--grant-type", "client_credentials", "--scope", "jobs")
		var own client.Information
		if err := json.Unmarshal([]byte(stdout), &own); err != nil || code != exitOK {
			t.Fatal(err, stderr)
		}
		if stdout, stderr, code := command(t, env, "", "client", "delete", "Notes"); code != exitOK || !strings.Contains(stdout, "client "+own.ClientID+" is deleted") {
			t.Errorf("delete by name: %d %s %s", code, stdout, stderr)
		}
		if _, stderr, code := command(t, env, "", "client", "show", registered.ClientID); code != exitOK {
			t.Errorf("the other client is gone: %s", stderr)
		}
	})
}

func TestMissingRootKeyOfUsedDatabaseAdvisesNoNewKey(t *testing.T) {
	t.Parallel()
	needs(t, "TEST_POSTGRES_DSN")
	env := map[string]string{"GATEHOUSE_DATABASE_URL": storagetest.URL(t, "postgres")}
	for _, args := range [][]string{{"client", "list"}, {"migrate", "up"}, {"serve"}, {"rekey"}} {
		_, stderr, code := command(t, env, "", args...)
		if code != exitFailed || !strings.Contains(stderr, "GATEHOUSE_SECRET_KEY is required with PostgreSQL") || !strings.Contains(stderr, "Only for a new database") {
			t.Errorf("%v on a new database: %d %s", args, code, stderr)
		}
	}
	withKey := map[string]string{"GATEHOUSE_DATABASE_URL": env["GATEHOUSE_DATABASE_URL"], "GATEHOUSE_SECRET_KEY": base64.StdEncoding.EncodeToString(storagetest.Key[:])}
	for _, args := range [][]string{{"migrate", "up"}, {"scope", "create", "jobs", "--description", "Jobs"}} {
		if _, stderr, code := command(t, withKey, "", args...); code != exitOK {
			t.Fatalf("%v: %s", args, stderr)
		}
	}
	for _, args := range [][]string{{"client", "list"}, {"migrate", "up"}, {"migrate", "status"}, {"serve"}, {"rekey"}} {
		_, stderr, code := command(t, env, "", args...)
		if code != exitFailed || strings.Contains(stderr, "openssl") || !strings.Contains(stderr, "GATEHOUSE_SECRET_KEY_FILE to the key that its server uses") {
			t.Errorf("%v on a database with a key: %d %s", args, code, stderr)
		}
	}
}
