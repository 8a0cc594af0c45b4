package importer_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/admin/importer"
	"gatehouse/identity"
	"gatehouse/identity/passwordhash"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// fixture is a store with an attribute and a resource, and its users.
type fixture struct {
	*storage.Store

	users *identity.Users
	clock *storagetest.Clock
}

func newFixture(t *testing.T, url string) fixture {
	t.Helper()
	clock := storagetest.NewClock()
	s := storagetest.Open(t, url, clock)
	storagetest.Must(t, s.CreateAttribute(t.Context(), storage.Attribute{
		Name: "department", Type: storage.AttributeString, Claim: "department", Scope: "profile",
	}))
	storagetest.Must(t, s.CreateResource(t.Context(), storage.Resource{Identifier: "https://orders.example.com"}))
	return fixture{s, identity.New(s, identity.Options{
		SessionIdleTTL: time.Hour, SessionMaxTTL: time.Hour, PasswordMinLength: 10, Concurrency: 2,
	}), clock}
}

func (f fixture) run(t *testing.T, format string, o importer.Options, files ...string) *importer.Report {
	t.Helper()
	report, err := f.tryRun(t, format, o, files...)
	if err != nil {
		t.Fatalf("import %s = %v", format, err)
	}
	return report
}

func (f fixture) tryRun(t *testing.T, format string, o importer.Options, files ...string) (*importer.Report, error) {
	t.Helper()
	var paths []string
	for _, name := range files {
		if !filepath.IsAbs(name) {
			name = filepath.Join("testdata", name)
		}
		paths = append(paths, name)
	}
	report, err := importer.New(f.Store, o).Run(t.Context(), format, paths...)
	report.Finish()
	return report, err
}

// signIn checks that a user has a sub and a password.
func (f fixture) signIn(t *testing.T, name, password, sub string) {
	t.Helper()
	u, err := f.users.SignIn(t.Context(), name, password, identity.Device{})
	if err != nil {
		t.Errorf("sign-in as %s = %v, want it to succeed", name, err)
	} else if sub != "" && u.ID != sub {
		t.Errorf("sub of %s = %s, want %s", name, u.ID, sub)
	}
}

// want checks the groups, roles and attributes of a user.
func (f fixture) want(t *testing.T, name string, groups, roles []string, attributes map[string]string) storage.User {
	t.Helper()
	u, err := f.users.User(t.Context(), name)
	storagetest.Must(t, err)
	gotGroups, err := f.UserGroups(t.Context(), u.ID)
	storagetest.Must(t, err)
	slices.Sort(gotGroups)
	gotRoles, err := f.UserRoles(t.Context(), "https://orders.example.com", u.ID)
	storagetest.Must(t, err)
	slices.Sort(gotRoles)
	gotAttributes, err := f.UserAttributes(t.Context(), u.ID)
	storagetest.Must(t, err)
	got := fmt.Sprint(gotGroups, gotRoles, gotAttributes)
	if want := fmt.Sprint(groups, roles, attributes); got != want {
		t.Errorf("groups, roles and attributes of %s = %s, want %s", name, got, want)
	}
	return u
}

func wantLosses(t *testing.T, r *importer.Report, want ...importer.Loss) {
	t.Helper()
	if diff := cmp.Diff(want, r.Losses); diff != "" {
		t.Errorf("losses (-want +got):\n%s", diff)
	}
}

func wantCounts(t *testing.T, what string, got, want importer.Counts) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %+v, want %+v", what, got, want)
	}
}

var keycloakOptions = importer.Options{
	RolePrefix: "role:", Resources: map[string]string{"orders-api": "https://orders.example.com"},
}

// keycloakLosses are those of testdata/keycloak-realm.json.
var keycloakLosses = []importer.Loss{
	{What: "SAML client", Count: 1},
	{What: "attribute shoe_size, which is not defined (`gatehouse attribute create`)", Count: 1},
	{What: "attributes of a group", Count: 1},
	{
		What:  "direct access grants of a client (passwords are entered at Gatehouse only)",
		Count: 1,
	},
	{What: "password in a user federation such as LDAP", Count: 1},
	{
		What:  "password: the password hash is too expensive: it has 3000000 iterations, and 2000000 is the limit",
		Count: 1,
	},
	{What: "profile claim phone_number with a value that is not accepted", Count: 1},
	{What: "required action UPDATE_PROFILE", Count: 1},
	{What: "role manage-users of realm-management: administration of Keycloak", Count: 1},
	{What: "sign-in with google", Count: 1},
}

// TestKeycloakImportKeepsPasswordsIDsAndRoles imports a realm: passwords, ids, groups, roles and what is lost (PE53,
// PE57).
func TestKeycloakImportKeepsPasswordsIDsAndRoles(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		const alice, bob = "2a117809-8285-4718-a131-bd61fb57cd1f", "9d0c4a3e-6a4b-4a39-9d8d-0e7f2a6d5c11"
		dry := keycloakOptions
		dry.DryRun = true
		planned := f.run(t, "keycloak", dry, "keycloak-realm.json", "corp-users-0.json")
		if all, _, err := f.UserPage(t.Context(), "", storage.Position{}, 10); err != nil || len(all) > 0 {
			t.Fatalf("users after a dry run = %v, %v, want none", all, err)
		}
		report := f.run(t, "keycloak", keycloakOptions, "keycloak-realm.json", "corp-users-0.json")
		planned.DryRun = false
		if diff := cmp.Diff(report, planned, cmp.AllowUnexported(importer.Report{})); diff != "" {
			t.Errorf("report of the dry run (-import +dry run):\n%s", diff)
		}
		wantCounts(t, "users", report.Users, importer.Counts{Read: 7, Created: 4, Conflicts: 1, Invalid: 1, Skipped: 1})
		wantCounts(t, "groups", report.Groups, importer.Counts{Read: 4, Created: 4})
		wantCounts(t, "roles", report.Roles, importer.Counts{Read: 2, Created: 2})
		if diff := cmp.Diff(map[string]int64{"pbkdf2-sha256": 1, "argon2id": 1, "none": 2}, report.Passwords); diff != "" {
			t.Errorf("password hashes (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]importer.Problem{
			{"keycloak-realm.json: user 4 (dave)", "the user has no email address; --missing-email-domain sets a placeholder"},
			{"keycloak-realm.json: user 5 (alice2)", "the email address is taken"},
		}, report.Problems); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
		wantLosses(t, report, keycloakLosses...)
		f.signIn(t, "alice", "password", alice)
		u := f.want(t, alice, []string{"role:editor", "role:reader", "staff/Domain-Admins"}, []string{"cancel", "view"},
			map[string]string{"department": `"Sales"`})
		if u.EmailVerifiedAt == nil || u.Name != "Alice Example" || u.Profile.Locale != "de" || u.Profile.PhoneNumber != "" {
			t.Errorf("alice = %+v, want her name, verified address and locale", u)
		}
		if u = f.want(t, bob, nil, nil, nil); u.Username != "bob" || u.DisabledAt == nil {
			t.Errorf("bob = %+v, want him disabled, with the username bob", u)
		}
		storagetest.Must(t, f.EnableUser(t.Context(), bob))
		f.signIn(t, "bob@example.com", "bob's password", bob)
		f.wantImportedOnce(t, alice)

		again := f.run(t, "keycloak", keycloakOptions, "keycloak-realm.json", "corp-users-0.json")
		wantCounts(t, "users of the second import", again.Users,
			importer.Counts{Read: 7, Unchanged: 4, Conflicts: 1, Invalid: 1, Skipped: 1})
		f.signIn(t, "alice", "password", alice)
	})
}

// wantImportedOnce checks the audit rows of an imported user.
func (f fixture) wantImportedOnce(t *testing.T, sub string) {
	t.Helper()
	rows, err := f.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserImported, UserID: sub, Limit: 5})
	storagetest.Must(t, err)
	want := `{"groups":["staff/Domain-Admins","role:editor","role:reader"],` +
		`"roles":["https://orders.example.com#cancel","https://orders.example.com#view"],"source":"keycloak:corp"}`
	if len(rows) != 1 || rows[0].Detail != want {
		t.Errorf("audit rows of the import = %+v, want one with %s", rows, want)
	}
}

// TestRealmWithoutUsersIsRefused refuses the realm file that Keycloak writes by default (PE53).
func TestRealmWithoutUsersIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storagetest.URL(t, storage.SQLite))
	path := filepath.Join(t.TempDir(), "realm.json")
	storagetest.Must(t, os.WriteFile(path, []byte(`{"realm":"corp","groups":[{"name":"staff","path":"/staff"}]}`), 0o600))
	_, err := f.tryRun(t, "keycloak", keycloakOptions, path)
	if err == nil || !strings.Contains(err.Error(), "realm_file") {
		t.Errorf("import of a realm without users = %v, want a refusal that names --users realm_file", err)
	}
	o := keycloakOptions
	o.AllowNoUsers = true
	wantCounts(t, "groups", f.run(t, "keycloak", o, path).Groups, importer.Counts{Read: 1, Created: 1})
}

// TestImportedUsersSignInWithTheirPasswords imports a file of each other format (PE55).
func TestImportedUsersSignInWithTheirPasswords(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		for _, c := range slices.Concat(f.ownFormats(t), f.formatsOfServers(t)) {
			report := f.run(t, c.format, c.options, c.file)
			wantCounts(t, c.format, report.Users, c.want)
			c.check(report)
			again := f.run(t, c.format, c.options, c.file)
			if again.Users.Created != 0 || again.Users.Unchanged != c.want.Created {
				t.Errorf("second import of %s = %+v, want %d unchanged", c.format, again.Users, c.want.Created)
			}
			f.deleteUsers(t)
		}
	})
}

// formatCase is a file to import.
type formatCase struct {
	format  string
	options importer.Options
	file    string
	want    importer.Counts
	check   func(r *importer.Report)
}

func (f fixture) ownFormats(t *testing.T) []formatCase {
	t.Helper()
	const alice = "2a117809-8285-4718-a131-bd61fb57cd1f"
	return []formatCase{
		{"csv", importer.Options{}, "users.csv", importer.Counts{Read: 4, Created: 3, Invalid: 1}, func(r *importer.Report) {
			f.signIn(t, "alice", "testpassword", alice)
			f.want(t, "alice", []string{"admins", "staff"}, nil, map[string]string{"department": `"Sales"`})
			f.signIn(t, "carol", "a very much longer text to encrypt.  This one even stretches over morethan one line.", "")
			wantLosses(t, r,
				importer.Loss{What: "sub (the id is not a UUID; the user gets a new sub)", Count: 2},
				importer.Loss{
					What:  "password: a weak hash of the kind ssha; --allow-weak-hashes ssha imports it for 90 days",
					Count: 1,
				})
			if len(r.Problems) != 1 || r.Problems[0].Location != "users.csv:5 (dave)" {
				t.Errorf("problems = %+v, want that of line 5", r.Problems)
			}
		}},
		{"jsonl", importer.Options{}, "users.jsonl", importer.Counts{Read: 2, Created: 2}, func(*importer.Report) {
			f.signIn(t, "alice", "password", alice)
			f.signIn(t, "bob", "lètmein", "")
			u := f.want(t, "alice", []string{"staff"}, []string{"view"}, map[string]string{"department": `"Sales"`})
			if u.Profile.GivenName != "Alice" || u.Profile.Address.Locality != "Paris" {
				t.Errorf("profile = %+v, want the claims of the file", u.Profile)
			}
		}},
	}
}

func (f fixture) formatsOfServers(t *testing.T) []formatCase {
	t.Helper()
	return []formatCase{
		{"authelia", importer.Options{Identifiers: "testdata/identifiers.yml"}, "users_database.yml",
			importer.Counts{Read: 2, Created: 2}, func(*importer.Report) {
				f.signIn(t, "john", "test", "56b4b3a5-1b3b-4b0c-a0c5-2f1d6e8f9a10")
				u := f.want(t, "john", []string{"admins", "dev"}, nil, nil)
				if u.Name != "John Doe" || u.Profile.PhoneNumber != "+1 604 555 1234;ext=55" {
					t.Errorf("john = %+v, want the name and phone number of the file", u)
				}
				if u = f.want(t, "harry", nil, nil, nil); u.DisabledAt == nil {
					t.Error("harry is enabled, want him disabled")
				}
			}},
		{"authentik", importer.Options{}, "authentik.json", importer.Counts{Read: 3, Created: 2, Skipped: 1},
			func(*importer.Report) {
				f.signIn(t, "akadmin", "lètmein", "6f1e8b0a-7a3b-4bb0-8f3e-6a5d1f0c9b21")
				f.want(t, "akadmin", []string{"authentik-Admins"}, nil, map[string]string{"department": `"Sales"`})
				if u := f.want(t, "ldap@example.com", nil, nil, nil); u.Username != "ldap.bind" || u.DisabledAt == nil {
					t.Errorf("ldap bind = %+v, want the username ldap.bind, disabled", u)
				}
			}},
		{"auth0", importer.Options{}, "auth0.ndjson", importer.Counts{Read: 2, Created: 2}, func(*importer.Report) {
			f.signIn(t, "test2@example.com", "testpassword", "")
			u := f.want(t, "jane@example.com", nil, nil, map[string]string{"department": `"Sales"`})
			if u.DisabledAt == nil || u.Profile.Nickname != "jane" || u.Name != "" {
				t.Errorf("jane = %+v, want her disabled, with a nickname and no name", u)
			}
		}},
		{"firebase", importer.Options{Firebase: firebaseParameters(t), MissingEmailDomain: "users.invalid"}, "firebase.json",
			importer.Counts{Read: 2, Created: 2}, func(*importer.Report) {
				f.signIn(t, "user1@example.com", "user1password", "")
				u := f.want(t, "user1", nil, nil, nil)
				if u.Profile.PhoneNumber != "+16045551234" || u.PhoneVerifiedAt == nil {
					t.Errorf("user1 = %+v, want the verified phone number", u)
				}
				f.want(t, "aZ1bY2cX3dW4eV5fU6gT7hS8iR92@users.invalid", nil, nil, nil)
			}},
	}
}

// firebaseParameters returns those of testdata/hash_config.txt.
func firebaseParameters(t *testing.T) passwordhash.FirebaseParameters {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(
		"jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==")
	storagetest.Must(t, err)
	return passwordhash.FirebaseParameters{SignerKey: key, SaltSeparator: []byte{7}, Rounds: 8, MemCost: 14}
}

func (f fixture) deleteUsers(t *testing.T) {
	t.Helper()
	all, _, err := f.UserPage(t.Context(), "", storage.Position{}, 100)
	storagetest.Must(t, err)
	for _, u := range all {
		storagetest.Must(t, f.DeleteUser(t.Context(), u.ID, 0))
	}
}

// TestWeakHashesNeedAFlag imports a weak hash only if its kind is named, and until it expires (PE55, PE56).
func TestWeakHashesNeedAFlag(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storagetest.URL(t, storage.SQLite))
	f.run(t, "csv", importer.Options{AllowWeak: []passwordhash.Kind{passwordhash.SSHA}}, "users.csv")
	bob, err := f.users.User(t.Context(), "bob")
	storagetest.Must(t, err)
	p, err := f.Password(t.Context(), bob.ID)
	storagetest.Must(t, err)
	if want := f.clock.Now().Add(90 * 24 * time.Hour); p.Kind != "ssha" || p.ExpiresAt == nil || !p.ExpiresAt.Equal(want) {
		t.Errorf("the weak hash = %+v, want the kind ssha until %v", p, want)
	}
	storagetest.Must(t, f.EnableUser(t.Context(), bob.ID))
	f.signIn(t, "bob", "test123", "")
	low := filepath.Join(t.TempDir(), "users.csv") // one iteration
	const hash = "$pbkdf2-sha256$i=1$c2FsdHNhbHQ$QJxzfvdbHYBpydCbHoFg3GJEqMFULwskiuqiJctoYpI"
	storagetest.Must(t, os.WriteFile(low, []byte("sub,username,email,password_hash\n1,dora,dora@example.com,"+hash+"\n"),
		0o600))
	f.run(t, "csv", importer.Options{Source: "low", AllowWeak: []passwordhash.Kind{passwordhash.PBKDF2SHA256}}, low)
	dora, err := f.users.User(t.Context(), "dora")
	storagetest.Must(t, err)
	if p, err := f.Password(t.Context(), dora.ID); err != nil || p.ExpiresAt == nil {
		t.Errorf("the hash with one iteration = %+v, %v, want it to expire", p, err)
	}
}

// TestTakenIDsAndNamesAreReported imports users whose ids and names others have.
func TestTakenIDsAndNamesAreReported(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		existing, err := f.users.Create(t.Context(), identity.NewUser{
			Username: "alice", Email: "alice@example.com", Password: "correct horse",
		})
		storagetest.Must(t, err)
		deleted, err := f.users.Create(t.Context(), identity.NewUser{
			Username: "deleted", Email: "deleted@example.com", Password: "correct horse",
		})
		storagetest.Must(t, errors.Join(err, f.DeleteUser(t.Context(), deleted.ID, time.Hour)))
		const client = "6f1e8b0a-7a3b-4bb0-8f3e-6a5d1f0c9b21"
		storagetest.Must(t, f.CreateClient(t.Context(), &storage.Client{ID: client, Name: "app"}, nil))
		path := filepath.Join(t.TempDir(), "users.csv")
		storagetest.Must(t, os.WriteFile(path, []byte(strings.Join([]string{
			"sub,username,email", "1,ALICE,a@example.com", "2,b,Alice@Example.com", existing.ID + ",c,c@example.com",
			client + ",d,d@example.com", "5,e@old.example,e@old.example", "6,e@new.example,e@new.example",
			"7,f,f@example.com", "7,g,g@example.com", "8,f,h@example.com", "9,deleted,i@example.com",
		}, "\n")), 0o600))
		for _, dryRun := range []bool{true, false} {
			report := f.run(t, "csv", importer.Options{DryRun: dryRun}, path)
			var got []string
			for _, p := range report.Problems {
				got = append(got, p.Location+": "+p.Reason)
			}
			if diff := cmp.Diff([]string{
				"users.csv:2 (ALICE): the username is taken", "users.csv:3 (b): the email address is taken",
				"users.csv:4 (c): the sub is that of another user",
				"users.csv:5 (d): the sub is the client_id of a client", "users.csv:10 (f): the username is taken",
				"users.csv:11 (deleted): the username is taken",
			}, got); diff != "" {
				t.Errorf("problems, dry run %t (-want +got):\n%s", dryRun, diff)
			}
			wantCounts(t, "users", report.Users, importer.Counts{Read: 10, Created: 3, Unchanged: 1, Conflicts: 6})
		}
		for _, name := range []string{"e@old.example", "e@new.example"} {
			if u, err := f.users.User(t.Context(), name); err != nil || !strings.HasPrefix(u.Username, "e") {
				t.Errorf("user %s = %+v, %v, want a username like e", name, u, err)
			}
		}
	})
}
