package importer_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/admin/importer"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func (f fixture) registry() *client.Registry {
	return client.New(f.Store, client.Options{
		Issuer: "https://login.example.com", Environment: "live", RecordFailure: func(context.Context, audit.Event) {},
	})
}

// authenticate returns the error of a client that authenticates with a secret.
func authenticate(t *testing.T, g *client.Registry, method, id, secret string) error {
	t.Helper()
	form := url.Values{}
	if method == storage.AuthPost {
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/oauth2/token", strings.NewReader(form.Encode()))
	if method == storage.AuthBasic {
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	_, err := g.Authenticate(t.Context(), r, form)
	return err
}

// wantSecret checks that a client authenticates with a secret, in a process that has not seen it and in one that has,
// and with no other.
func (f fixture) wantSecret(t *testing.T, method, id, secret string) {
	t.Helper()
	for range 2 {
		g := f.registry()
		for range 2 {
			if err := authenticate(t, g, method, id, secret); err != nil {
				t.Errorf("client %s with its secret = %v, want it authenticated", id, err)
			}
			for _, wrong := range []string{"", "x" + secret, strings.Repeat("x", 900)} {
				if authenticate(t, g, method, id, wrong) == nil {
					t.Errorf("client %s with %.20q is authenticated, want it refused", id, wrong)
				}
			}
		}
	}
	c, err := f.Client(t.Context(), id)
	storagetest.Must(t, err)
	if len(c.Secrets) != 1 || !strings.HasPrefix(c.Secrets[0].SlowHash, "$argon2id$") || len(c.Secrets[0].Hash) > 0 {
		t.Errorf("secrets of %s = %+v, want one Argon2id hash", id, c.Secrets)
	}
}

// TestKeycloakClientsKeepIDsAndSecrets imports the clients of a realm with their ids and secrets (PE53).
func TestKeycloakClientsKeepIDsAndSecrets(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		o := keycloakOptions
		o.Clients = f.registry()
		report := f.run(t, "keycloak", o, "keycloak-realm.json")
		wantCounts(t, "clients", report.Clients, importer.Counts{Read: 5, Created: 2, Skipped: 2, Invalid: 1})
		if diff := cmp.Diff([]string{
			`the group "staff/Domain Admins" is now "staff/Domain-Admins": a name has no spaces, commas and asterisks`,
			"client orders-api is an API: create it with `gatehouse resource create`",
			"client shop: the redirect URI https://old.example.com/* has a wildcard: register each URI " +
				"(`gatehouse client update shop`)",
			"client shop: the post-logout redirect URI https://old.example.com/* has a wildcard: register each URI " +
				"(`gatehouse client update shop`)",
		}, report.Fix); diff != "" {
			t.Errorf("what to fix (-want +got):\n%s", diff)
		}
		if want := "it has no redirect URI without a wildcard (*)"; !strings.HasPrefix(report.Problems[0].Reason, want) {
			t.Errorf("problems = %+v, want that of the client spa with %q", report.Problems, want)
		}
		f.wantSecret(t, storage.AuthBasic, "shop", "R0pkSbXDp3v7mFMLRhOr0FpbzSdcJxbG")
		c, err := f.Client(t.Context(), "shop")
		storagetest.Must(t, err)
		got := []string{
			c.Name, c.RedirectURIs.String(), c.PostLogoutRedirectURIs.String(), c.Scopes.String(), c.GrantTypes.String(),
			c.BackchannelLogoutURI,
		}
		if diff := cmp.Diff([]string{
			"Shop", "https://shop.example.com/callback", "https://shop.example.com/callback",
			"profile email offline_access orders openid", "authorization_code refresh_token client_credentials",
			"https://shop.example.com/logout",
		}, got); diff != "" || !c.SkipConsent {
			t.Errorf("client shop (-want +got):\n%s", diff)
		}
		// The client has the id of a user of the file, who is then refused.
		if c, err = f.Client(t.Context(), "2a117809-8285-4718-a131-bd61fb57cd1f"); err != nil || c.DisabledAt == nil {
			t.Errorf("client with a UUID = %+v, %v, want it disabled", c, err)
		}
		if report.Problems[2].Reason != string(storage.ImportIDOfClient) {
			t.Errorf("problems = %+v, want the user with the id of a client", report.Problems)
		}
		again := f.run(t, "keycloak", o, "keycloak-realm.json")
		wantCounts(t, "clients of the second import", again.Clients,
			importer.Counts{Read: 5, Unchanged: 2, Skipped: 2, Invalid: 1})
	})
}

// TestLongClientIDStays imports a client with an id as long as Keycloak allows, which authenticates (PE53, PE57).
func TestLongClientIDStays(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storagetest.URL(t, storage.SQLite))
	id := strings.Repeat("a.", 127) + "z"
	client := `{"clientId":%q,"secret":"R0pkSbXDp3v7mFMLRhOr0FpbzSdcJxbG","redirectUris":["https://app.example.com/cb"]}`
	path := filepath.Join(t.TempDir(), "realm.json")
	realm := fmt.Sprintf(`{"realm":"corp","clients":[`+client+`,`+client+`]}`, id, id+"z")
	storagetest.Must(t, os.WriteFile(path, []byte(realm), 0o600))
	report := f.run(t, "keycloak", importer.Options{AllowNoUsers: true, Clients: f.registry()}, path)
	wantCounts(t, "clients", report.Clients, importer.Counts{Read: 2, Created: 1, Invalid: 1})
	if len(report.Problems) != 1 || !strings.Contains(report.Problems[0].Reason, "1 to 255") {
		t.Errorf("problems = %+v, want the client whose id has 256 characters", report.Problems)
	}
	if err := authenticate(t, f.registry(), storage.AuthBasic, id, "R0pkSbXDp3v7mFMLRhOr0FpbzSdcJxbG"); err != nil {
		t.Errorf("client with an id of 255 characters = %v, want it authenticated", err)
	}
}

// TestSecretOfClientWithKeysIsNotImported covers PE53: an export keeps the secret of a client that now uses a key.
func TestSecretOfClientWithKeysIsNotImported(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storagetest.URL(t, storage.SQLite))
	path := filepath.Join(t.TempDir(), "realm.json")
	storagetest.Must(t, os.WriteFile(path, []byte(`{"realm":"corp","clients":[{"clientId":"signer",
		"clientAuthenticatorType":"client-jwt","secret":"R0pkSbXDp3v7mFMLRhOr0FpbzSdcJxbG",
		"redirectUris":["https://signer.example.com/callback"]}]}`), 0o600))
	report := f.run(t, "keycloak", importer.Options{AllowNoUsers: true, Clients: f.registry()}, path)
	wantCounts(t, "clients", report.Clients, importer.Counts{Read: 1, Created: 1})
	wantLosses(t, report, importer.Loss{What: "authentication of a client by client-jwt", Count: 1})
	if err := authenticate(t, f.registry(), storage.AuthBasic, "signer", "R0pkSbXDp3v7mFMLRhOr0FpbzSdcJxbG"); err == nil {
		t.Error("the secret that the client no longer used authenticates it")
	}
}

// TestHydraSecretsAreHashedAgainAtFirstUse imports clients of Hydra, whose secrets are verified at their first use and
// then hashed again (PE54).
func TestHydraSecretsAreHashedAgainAtFirstUse(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		report := f.run(t, "hydra", importer.Options{Clients: f.registry()}, "hydra.jsonl")
		wantCounts(t, "clients", report.Clients, importer.Counts{Read: 3, Created: 2, Invalid: 1})
		wantLosses(t, report, importer.Loss{What: "grant type implicit of a client", Count: 1})
		const service = "9692d3f9-fcdc-4526-80c4-fc667d959a5f"
		c, err := f.Client(t.Context(), service)
		storagetest.Must(t, err)
		if !strings.HasPrefix(c.Secrets[0].SlowHash, "$pbkdf2-sha256$i=25000$") ||
			c.Scopes.String() != "orders.read offline_access" {
			t.Errorf("client %s = %+v, want the hash of Hydra until its first use", service, c)
		}
		f.wantSecret(t, storage.AuthPost, service, "secret-1")
		f.wantSecret(t, storage.AuthBasic, "web", "testpassword")
		n, err := f.Audit.CountRows(t.Context(), audit.Filter{Event: audit.ClientSecretUpgraded})
		storagetest.Must(t, err)
		if n != 2 {
			t.Errorf("%d rows %s, want one for each client", n, audit.ClientSecretUpgraded)
		}
	})
}
