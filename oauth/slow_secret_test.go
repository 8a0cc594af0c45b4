package oauth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// TestSlowSecretsAreBoundedBeforeAuthentication tests PE57: of incorrect secrets for a client with a slow hash, few of
// one network wait for their computation, and none is computed after too many have failed, also if it waited then.
func TestSlowSecretsAreBoundedBeforeAuthentication(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		imported := client.Imported{ID: "imported", Secret: "a word", Metadata: client.Metadata{
			GrantTypes: client.List{"client_credentials"}, TokenEndpointAuthMethod: storage.AuthBasic,
		}}
		storagetest.Must(t, s.OAuth.Clients.Import(t.Context(), imported, false))
		c := client.Information{ClientID: imported.ID, ClientSecret: "a guess"}
		c.TokenEndpointAuthMethod = storage.AuthBasic
		began, release, released := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			released <- s.Users.RunSecretHash(t.Context(), "another client", 0, func() error {
				close(began)
				<-release
				return nil
			})
		}()
		<-began
		statuses := make(chan int, 5)
		for range 5 {
			go func() { statuses <- s.Token(c, clientCredentialsForm).Status }()
		}
		if got := <-statuses; got != http.StatusServiceUnavailable {
			t.Errorf("the fifth incorrect secret while four wait: %d, want 503", got)
		}
		close(release)
		storagetest.Must(t, <-released)
		for range 4 {
			if got := <-statuses; got != http.StatusUnauthorized {
				t.Errorf("an incorrect secret that waited: %d, want 401", got)
			}
		}
		c.ClientSecret = imported.Secret
		s.Token(c, clientCredentialsForm).OK(t)
		wantNoHashAfterFailures(t, s, imported)
	})
}

// wantNoHashAfterFailures sends the correct secret of a client whose authentications from the network fail while the
// computation of its hash waits.
func wantNoHashAfterFailures(t *testing.T, s *servertest.Server, c client.Imported) {
	t.Helper()
	limiter, err := ratelimit.New(ratelimit.Options{Now: s.Clock.Now, Rates: map[string]ratelimit.Rate{
		ratelimit.ClientFailure: {Count: 1, Period: time.Minute}, ratelimit.AddressFailure: {Count: 100, Period: time.Minute},
	}})
	storagetest.Must(t, err)
	var registry *client.Registry
	ran := false
	registry = client.New(s.Store, client.Options{
		Issuer: s.Issuer, Environment: "live", Limiter: limiter, RecordFailure: func(context.Context, audit.Event) {},
		RunHash: func(ctx context.Context, _ string, memory int64, fn func() error) error {
			if ran = true; memory < 19<<20 {
				t.Errorf("the hash gets %d bytes, want 19 MiB", memory)
			}
			_ = registry.CountFailure(ctx, c.ID)
			_ = registry.CountFailure(ctx, c.ID)
			return fn()
		},
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/oauth2/token", strings.NewReader(""))
	r.SetBasicAuth(c.ID, url.QueryEscape(c.Secret))
	if _, err := registry.Authenticate(t.Context(), r, url.Values{}); err == nil || !ran ||
		!strings.Contains(err.Error(), "Too many failed client authentications") {
		t.Errorf("the secret whose hash waited while others failed = %v, want the limit on failures", err)
	}
}
