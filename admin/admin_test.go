package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"gatehouse/admin"
	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/oauth/keyring"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// fixture has the operations on the store of a running server.
type fixture struct {
	*admin.Admin

	server *servertest.Server
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	s := servertest.Start(t, storagetest.URL(t, storage.SQLite), servertest.Options{})
	return &fixture{admin.New(s.Store, s.Users, s.OAuth.Clients, s.OAuth.Keyring), s}
}

// wantEvent fails the test unless the change records one audit row of the type and returns no error. Rows of requests
// are written later, also during the change.
func (f *fixture) wantEvent(t *testing.T, event string, change func(ctx context.Context) error) {
	t.Helper()
	rows := func() int64 {
		n, err := f.server.Store.Audit.CountRows(t.Context(), audit.Filter{Event: event})
		storagetest.Must(t, err)
		return n
	}
	before := rows()
	if err := change(t.Context()); err != nil {
		t.Fatalf("the change that records %s = %v, want no error", event, err)
	}
	if n := rows() - before; n != 1 {
		t.Errorf("the change recorded %d audit rows of type %s, want 1", n, event)
	}
}

// clientMetadata returns the metadata of a client for client credentials.
func clientMetadata(t *testing.T, name string) client.Metadata {
	t.Helper()
	m, err := client.ParseMetadata([]byte(
		`{"client_name":"` + name + `","grant_types":["client_credentials"],"scope":"jobs"}`))
	storagetest.Must(t, err)
	return m
}

func TestClientChangesTakeEffectAndAreAudited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c, newScopes, err := f.CreateClient(t.Context(), clientMetadata(t, "Jobs"))
	if err != nil || !slices.Equal(newScopes, []string{"jobs"}) {
		t.Fatalf("CreateClient returned the new scopes %v, %v, want jobs", newScopes, err)
	}
	token := f.server.ServiceToken(c)
	f.wantEvent(t, audit.ClientUpdated, func(ctx context.Context) error {
		_, _, err := f.UpdateClient(ctx, c.ClientID, []byte(`{"client_name":"Renamed"}`))
		return err
	})
	if found, err := f.Client(t.Context(), "Renamed"); err != nil || found.ID != c.ClientID {
		t.Errorf("Client by the new name = %+v, %v, want %s", found, err, c.ClientID)
	}
	rotated := c
	f.wantEvent(t, audit.ClientSecretAdded, func(ctx context.Context) (err error) {
		rotated, err = f.RotateClientSecret(ctx, c.ClientID, time.Hour)
		return err
	})
	if rotated.ClientSecret == c.ClientSecret || !f.server.Active(rotated, token) || !f.server.Active(c, token) {
		t.Error("with an overlap the new and the old secret do not both authenticate the client, with a valid token")
	}
	f.wantEvent(t, audit.ClientDisabled, func(ctx context.Context) error { return f.DisableClient(ctx, c.ClientID) })
	form := url.Values{"grant_type": {"client_credentials"}}
	if r := f.server.Token(rotated, form); r.Status != http.StatusUnauthorized {
		t.Errorf("token request of a disabled client: status %d, want 401", r.Status)
	}
	f.wantEvent(t, audit.ClientEnabled, func(ctx context.Context) error { return f.EnableClient(ctx, c.ClientID) })
	if f.server.Active(rotated, token) {
		t.Error("a token from before the client was disabled is active")
	}
	token = f.server.ServiceToken(rotated)
	f.wantEvent(t, audit.ClientTokensRevoked, func(ctx context.Context) error {
		return f.RevokeClientTokens(ctx, c.ClientID)
	})
	if f.server.Active(rotated, token) {
		t.Error("a token is active after RevokeClientTokens")
	}
	f.wantEvent(t, audit.ClientDeleted, func(ctx context.Context) error { return f.DeleteClient(ctx, c.ClientID) })
	if _, err := f.Client(t.Context(), c.ClientID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Client after DeleteClient = %v, want ErrNotFound", err)
	}
}

func TestClientIsFoundByUniqueNameOfOperator(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first, _, err := f.CreateClient(t.Context(), clientMetadata(t, "Twice"))
	storagetest.Must(t, err)
	if c, err := f.Client(t.Context(), "Twice"); err != nil || c.ID != first.ClientID {
		t.Errorf("Client(Twice) = %+v, %v, want %s", c, err, first.ClientID)
	}
	_, _, err = f.CreateClient(t.Context(), clientMetadata(t, "Twice"))
	storagetest.Must(t, err)
	if c, err := f.Client(t.Context(), "Twice"); err == nil || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Client(Twice) with two such clients = %+v, %v, want an error with their client_ids", c, err)
	}
	now := f.server.Store.Now()
	hash := []byte("the hash of its registration access token")
	storagetest.Must(t, f.server.Store.CreateClient(t.Context(), &storage.Client{
		ID: "gcSelfRegistered", Name: "Self", RegistrationHash: hash, CreatedAt: now, UpdatedAt: now,
	}, nil))
	if c, err := f.Client(t.Context(), "Self"); err == nil || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Client(Self) of a self-registered client = %+v, %v, want an error with its client_id", c, err)
	}
	if _, err := f.Client(t.Context(), "Unknown"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Client(Unknown) = %v, want ErrNotFound", err)
	}
}

func TestScopeInUseIsDeletedOnlyByForce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c, _, err := f.CreateClient(t.Context(), clientMetadata(t, "Jobs"))
	storagetest.Must(t, err)
	scopes := []string{"jobs"}
	_, _, err = f.CreateResource(t.Context(), "https://api.example", admin.ResourceChanges{Scopes: &scopes})
	storagetest.Must(t, err)
	var inUse *admin.InUseError
	want := []string{"resource https://api.example", "client " + c.ClientID + " (Jobs)"}
	if err := f.DeleteScope(t.Context(), "jobs", false); !errors.As(err, &inUse) || !slices.Equal(inUse.UsedBy, want) {
		t.Errorf("DeleteScope of a scope in use = %v, want an InUseError with %v", err, want)
	}
	f.wantEvent(t, audit.ScopeDeleted, func(ctx context.Context) error { return f.DeleteScope(ctx, "jobs", true) })
	f.wantEvent(t, audit.ScopeCreated, func(ctx context.Context) error {
		_, err := f.CreateScope(ctx, "unused", "Unused")
		return err
	})
	f.wantEvent(t, audit.ScopeUpdated, func(ctx context.Context) error { return f.UpdateScope(ctx, "unused", "Other") })
	f.wantEvent(t, audit.ScopeDeleted, func(ctx context.Context) error { return f.DeleteScope(ctx, "unused", false) })
	if err := f.DeleteScope(t.Context(), "openid", true); !errors.Is(err, admin.ErrStandardScope) {
		t.Errorf("DeleteScope(openid) = %v, want ErrStandardScope", err)
	}
	if err := f.DeleteScope(t.Context(), "unknown", false); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("DeleteScope(unknown) = %v, want ErrNotFound", err)
	}
}

func TestInvalidScopesAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, description := range map[string]string{
		"two words": "", "": "", `quo"te`: "", "valid": "not display\u200bable",
	} {
		if _, err := f.CreateScope(t.Context(), name, description); err == nil {
			t.Errorf("CreateScope(%q, %q) = nil, want an error", name, description)
		}
	}
	_, err := f.CreateScope(t.Context(), "valid", "Valid")
	storagetest.Must(t, err)
	if _, err := f.CreateScope(t.Context(), "valid", "Valid"); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("CreateScope of an existing scope = %v, want ErrConflict", err)
	}
	if err := f.UpdateScope(t.Context(), "valid", "\u202eesrever"); err == nil {
		t.Error("UpdateScope accepted a description that cannot be displayed")
	}
}

func TestResourceChangesTakeEffectAndAreAudited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.server.Service("jobs")
	name, scopes, introspectors := "API", []string{"jobs", "reports"}, []string{"Service"}
	all := admin.ResourceChanges{Name: &name, Scopes: &scopes, Introspectors: &introspectors}
	r, newScopes, err := f.CreateResource(t.Context(), "https://api.example", all)
	storagetest.Must(t, err)
	if r.Name != name || !slices.Equal(r.Introspectors, []string{c.ClientID}) || !slices.Equal(newScopes, scopes[1:]) {
		t.Errorf("CreateResource = %+v with the new scopes %v, want the client as introspector and only reports as new",
			r, newScopes)
	}
	if _, _, err := f.CreateResource(t.Context(), "https://api.example", all); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("CreateResource of an existing resource = %v, want ErrConflict", err)
	}
	if _, _, err := f.CreateResource(t.Context(), "no URI", admin.ResourceChanges{}); err == nil {
		t.Error("CreateResource accepted an identifier that is not a URI")
	}
	_, _, err = f.CreateResource(t.Context(), "https://other.example", admin.ResourceChanges{Scopes: &scopes})
	storagetest.Must(t, err)
	shared, err := f.SharedScopes(t.Context(), r)
	if err != nil || len(shared) != 2 || !slices.Equal(shared[0].Others, []string{"https://other.example"}) {
		t.Errorf("SharedScopes = %v, %v, want both scopes with https://other.example", shared, err)
	}
	unknown, empty := []string{"Unknown"}, ""
	var unknownClient *admin.UnknownClientError
	_, _, err = f.UpdateResource(t.Context(), r.Identifier, admin.ResourceChanges{Introspectors: &unknown})
	if !errors.As(err, &unknownClient) || unknownClient.Client != "Unknown" {
		t.Errorf("UpdateResource with an unknown introspector = %v, want an UnknownClientError", err)
	}
	f.wantEvent(t, audit.ResourceUpdated, func(ctx context.Context) error {
		r, _, err = f.UpdateResource(ctx, r.Identifier, admin.ResourceChanges{Name: &empty})
		return err
	})
	if r.Name != "" || !slices.Equal(r.Scopes, scopes) {
		t.Errorf("UpdateResource of the name = %+v, want no name and the same scopes", r)
	}
	f.wantEvent(t, audit.ResourceDeleted, func(ctx context.Context) error { return f.DeleteResource(ctx, r.Identifier) })
	if rest, err := f.Resources(t.Context()); err != nil || len(rest) != 1 {
		t.Errorf("Resources after DeleteResource = %v, %v, want one", rest, err)
	}
}

func TestClientWarningsNameUnusualMetadata(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for metadata, want := range map[string]admin.ClientWarning{
		`{"grant_types":["client_credentials"],"scope":"jobs"}`:                      admin.ClientWithoutName,
		`{"client_name":"A","grant_types":["client_credentials"]}`:                   admin.ClientWithoutScope,
		`{"client_name":"A","redirect_uris":["https://a.example/"]}`:                 admin.SignInWithoutScope,
		`{"client_name":"A","redirect_uris":["https://a.example/"],"scope":"email"}`: admin.ClaimScopesWithoutOpenID,
		`{"client_name":"A","grant_types":["authorization_code"],"redirect_uris":["https://a.example/"],` +
			`"scope":"offline_access"}`: admin.OfflineAccessWithoutRefresh,
	} {
		got, unknown, err := f.ClientWarnings(t.Context(), f.server.Client(metadata))
		if err != nil || !slices.Equal(got, []admin.ClientWarning{want}) || len(unknown) > 0 {
			t.Errorf("ClientWarnings of %s = %v, %v, %v, want only %v", metadata, got, unknown, err, want)
		}
	}
	c := f.server.Client(`{"client_name":"A","grant_types":["client_credentials"],"scope":"jobs",
		"gatehouse_resources":["https://unknown.example"]}`)
	got, unknown, err := f.ClientWarnings(t.Context(), c)
	if err != nil || len(got) > 0 || !slices.Equal(unknown, []string{"https://unknown.example"}) {
		t.Errorf("ClientWarnings with an unregistered resource = %v, %v, %v, want that resource", got, unknown, err)
	}
}

func TestUserChangesTakeEffectAndAreAudited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.server
	var u storage.User
	f.wantEvent(t, audit.UserCreated, func(ctx context.Context) (err error) {
		u, err = f.CreateUser(ctx, identity.NewUser{
			Username: "alice", Email: "alice@example.com", Password: servertest.Password,
		})
		return err
	})
	app, b := s.App(), s.Browser()
	token := s.Token(app, servertest.CodeForm(b.Code(app, "alice"), app)).OK(t).Text("access_token")
	name := "Alice"
	f.wantEvent(t, audit.UserUpdated, func(ctx context.Context) (err error) {
		u, err = f.UpdateUser(ctx, u, identity.Changes{Name: &name})
		return err
	})
	if found, err := f.User(t.Context(), "ALICE@example.com"); err != nil || found.ID != u.ID || found.Name != name {
		t.Errorf("User by email address = %+v, %v, want %s with the name %s", found, err, u.ID, name)
	}
	f.wantEvent(t, audit.UserTokensRevoked, func(ctx context.Context) error { return f.RevokeUserTokens(ctx, u.ID) })
	if s.Active(app, token) || b.Open("/account").Status != http.StatusSeeOther {
		t.Error("a token or session of the user is active after RevokeUserTokens")
	}
	f.wantEvent(t, audit.UserFactorsReset, func(ctx context.Context) error {
		return f.ResetFactors(ctx, u.ID, "lost phone")
	})
	if err := f.ResetFactors(t.Context(), u.ID, " "); err == nil {
		t.Error("ResetFactors without a reason = nil, want an error")
	}
	f.wantEvent(t, audit.UserDisabled, func(ctx context.Context) error { return f.DisableUser(ctx, u.ID) })
	signIn := func() error {
		_, err := s.Users.SignIn(t.Context(), "alice", servertest.Password, identity.Device{})
		return err
	}
	if err := signIn(); !errors.Is(err, identity.ErrInvalidCredentials) {
		t.Errorf("SignIn of a disabled user = %v, want ErrInvalidCredentials", err)
	}
	f.wantEvent(t, audit.UserEnabled, func(ctx context.Context) error { return f.EnableUser(ctx, u.ID) })
	if err := signIn(); err != nil {
		t.Errorf("SignIn of an enabled user = %v, want no error", err)
	}
	f.wantEvent(t, audit.UserPasswordSet, func(ctx context.Context) error {
		return f.SetPassword(ctx, u, "another good password")
	})
	if err := signIn(); !errors.Is(err, identity.ErrInvalidCredentials) {
		t.Errorf("SignIn with the replaced password = %v, want ErrInvalidCredentials", err)
	}
	f.wantEvent(t, audit.UserDeleted, func(ctx context.Context) error { return f.DeleteUser(ctx, u.ID) })
	if _, err := f.User(t.Context(), "alice"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("User after DeleteUser = %v, want ErrNotFound", err)
	}
}

func TestListsAreSortedByName(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, name := range []string{"bob", "Alice", "carol"} {
		f.server.User(name)
		_, _, err := f.CreateClient(t.Context(), clientMetadata(t, name))
		storagetest.Must(t, err)
	}
	want := []string{"Alice", "bob", "carol"}
	users, err := f.Users(t.Context(), admin.List{})
	storagetest.Must(t, err)
	clients, err := f.Clients(t.Context(), admin.List{})
	storagetest.Must(t, err)
	var usernames, clientNames []string
	for _, u := range users.Items {
		usernames = append(usernames, u.Username)
	}
	for _, c := range clients.Items {
		clientNames = append(clientNames, c.Name)
	}
	if !slices.Equal(usernames, want) || !slices.Equal(clientNames, want) {
		t.Errorf("Users = %v and Clients = %v, want %v", usernames, clientNames, want)
	}
}

func TestAuditFiltersNameDeletedRecords(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u, c := f.server.User("alice"), f.server.Service("jobs")
	for in, want := range map[string]string{
		"": "", "Service": c.ClientID, c.ClientID: c.ClientID, "gcDeleted": "gcDeleted",
	} {
		if got, err := f.AuditClientID(t.Context(), in); err != nil || got != want {
			t.Errorf("AuditClientID(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	const deleted = "0198C7A2-0000-7000-8000-00000000ABCD"
	for in, want := range map[string]string{
		"": "", "alice": u.ID, u.ID: u.ID, deleted: "0198c7a2-0000-7000-8000-00000000abcd",
	} {
		if got, err := f.AuditUserID(t.Context(), in); err != nil || got != want {
			t.Errorf("AuditUserID(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	if _, err := f.AuditUserID(t.Context(), "unknown"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("AuditUserID(unknown) = %v, want ErrNotFound", err)
	}
}

func TestRegistrationTokensAreListedUntilDeleted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if _, _, err := f.CreateRegistrationToken(t.Context(), "\u202e", 1, time.Hour); err == nil {
		t.Error("CreateRegistrationToken accepted a note that cannot be displayed")
	}
	var record storage.RegistrationToken
	f.wantEvent(t, audit.RegistrationTokenCreated, func(ctx context.Context) (err error) {
		_, record, err = f.CreateRegistrationToken(ctx, "for a test", 1, time.Hour)
		return err
	})
	wantTokens := func(when string, want int) {
		t.Helper()
		if all, err := f.RegistrationTokens(t.Context()); err != nil || len(all) != want {
			t.Errorf("%s: RegistrationTokens = %v, %v, want %d", when, all, err, want)
		}
	}
	wantTokens("after the creation", 1)
	f.wantEvent(t, audit.RegistrationTokenDeleted, func(ctx context.Context) error {
		return f.DeleteRegistrationToken(ctx, record.ID)
	})
	wantTokens("after the deletion", 0)
	if err := f.DeleteRegistrationToken(t.Context(), record.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("DeleteRegistrationToken of a deleted token = %v, want ErrNotFound", err)
	}
}

func TestSigningKeysRotateOneAtATime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before, err := f.SigningKeys(t.Context())
	storagetest.Must(t, err)
	f.wantEvent(t, audit.KeyRotated, func(ctx context.Context) error { return f.RotateSigningKeys(ctx, false) })
	after, err := f.SigningKeys(t.Context())
	if err != nil || len(after) != 2*len(before) {
		t.Errorf("%d signing keys after a rotation, %v, want %d", len(after), err, 2*len(before))
	}
	if err := f.RotateSigningKeys(t.Context(), false); !errors.Is(err, keyring.ErrRotating) {
		t.Errorf("RotateSigningKeys during a rotation = %v, want ErrRotating", err)
	}
	f.wantEvent(t, audit.KeyRevoked, func(ctx context.Context) error { return f.RotateSigningKeys(ctx, true) })
}
