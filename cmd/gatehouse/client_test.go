package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/oauth/client"
	"gatehouse/storage"
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

func TestClientIsCreatedFromItsDocument(t *testing.T) {
	t.Parallel()
	var documentURL string
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"client_id": documentURL, "client_name": "Editor", "redirect_uris": []string{"https://editor.example/cb"},
		})
	}))
	t.Cleanup(host.Close)
	documentURL = host.URL + "/client.json"
	env := map[string]string{
		"GATEHOUSE_ISSUER": "http://localhost:8080", "GATEHOUSE_SECRET_KEY": keyText,
		"GATEHOUSE_DATABASE_URL":      "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db"),
		"GATEHOUSE_FETCH_ALLOW_HOSTS": "127.0.0.1",
	}
	create := []string{"client", "create", "--id-url", documentURL, "--name", "Our editor", "--scope", "read"}
	stdout, stderr, code := command(t, env, "", create...)
	var created client.Information
	if err := json.Unmarshal([]byte(stdout), &created); err != nil || code != exitOK {
		t.Fatalf("client create --id-url: exit %d, want %d: %s", code, exitOK, stderr)
	}
	if created.ClientID != documentURL || created.ClientName != "Our editor" || !created.Preregistered {
		t.Errorf("created %s, want the client of the document with the name", stdout)
	}
	for _, want := range []string{"registered new scopes: read", "list the document in GATEHOUSE_CLIENT_DOCUMENT_HOSTS"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error %q, want %q in it", stderr, want)
		}
	}
	if list := mustRun(t, env, "", "client", "list"); !strings.Contains(list, "operator") {
		t.Errorf("client list:\n%s\nwant it registered by the operator", list)
	}
	want := "change it with `gatehouse client update`"
	if _, stderr, code = command(t, env, "", create...); code != exitFailed || !strings.Contains(stderr, want) {
		t.Errorf("second time: exit %d, want %d with %q: %s", code, exitFailed, want, stderr)
	}
	env["GATEHOUSE_CLIENT_DOCUMENT_HOSTS"] = "127.0.0.1"
	mustRun(t, env, "", "client", "update", documentURL, "--uri", "https://editor.example")
	_, stderr, _ = command(t, env, `{"client_name":null,"scope":"write"}`,
		"client", "update", "Our editor", "--metadata", "-")
	for _, want := range []string{"removed scopes: read; all tokens", "gatehouse client refresh-document " + documentURL} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error of the update %q, want %q in it", stderr, want)
		}
	}
	for _, want := range []string{"changed: client_name\n", "is unchanged\n"} {
		if got := mustRun(t, env, "", "client", "refresh-document", documentURL); !strings.Contains(got, want) {
			t.Errorf("client refresh-document: %q, want %q in it", got, want)
		}
	}
}

// TestVouchPrintsWhatIsVerified checks that the operator sees which client users are no longer warned of.
func TestVouchPrintsWhatIsVerified(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"GATEHOUSE_ISSUER": "http://localhost:8080", "GATEHOUSE_SECRET_KEY": keyText,
		"GATEHOUSE_DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db"),
	}
	mustRun(t, env, "", "migrate", "up")
	const id = "https://editor.example/client.json"
	storagetest.CreateDocumentClient(t, storagetest.Open(t, env["GATEHOUSE_DATABASE_URL"], storagetest.NewClock()),
		&storage.Client{ID: id, Name: "Editor", RedirectURIs: storage.Strings{"https://editor.example/cb"}})
	stdout, stderr, code := command(t, env, "", "client", "vouch", id)
	if want := "the client calls itself Editor and redirects users to https://editor.example/cb"; code != exitOK ||
		!strings.Contains(stderr, want) || !strings.Contains(stdout, "is marked as verified") {
		t.Errorf("client vouch: exit %d, %q, %q; want %q", code, stdout, stderr, want)
	}
}
