package importer_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/admin/importer"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestUserWhoseFactorIsLostHasNoPassword imports users whose second factor cannot be imported: an attacker who has the
// password alone cannot sign in, unless a flag allows it. Another second factor, or only a lost passkey, changes
// nothing (PE53, PE55).
func TestUserWhoseFactorIsLostHasNoPassword(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		password := exportedPassword(t, "test123")
		hotp := exportedOTP("DJmQfC73VGFhw7D4QJ8A", strings.Replace(defaultOTP, "totp", "hotp", 1))
		totp := exportedOTP("DJmQfC73VGFhw7D4QJ8A", defaultOTP)
		key, passkey := exported{Type: "webauthn"}, exported{Type: "webauthn-passwordless"}
		users := map[string][]exported{
			"11111111-1111-4111-8111-111111111111": {password, hotp},
			"22222222-2222-4222-8222-222222222222": {password, key},
			"33333333-3333-4333-8333-333333333333": {password, hotp, totp},
			"44444444-4444-4444-8444-444444444444": {password, passkey},
		}
		path := writeUsers(t, map[string]any{}, users)
		o := importer.Options{DryRun: true, AllowLostFactors: true}
		allowed := f.run(t, "keycloak", o, path)
		var all bytes.Buffer
		report := f.run(t, "keycloak", importer.Options{All: &all}, path)
		if report.Users.Created != 4 || report.FixCount != 2 || len(report.Fix) != 2 || report.Passwords["none"] != 2 ||
			strings.Count(all.String(), "fix: user ") != 2 || !strings.Contains(report.Fix[0], "resets it by email") {
			t.Errorf("import = %+v, want two users without a password", report)
		}
		if allowed.Passwords["none"] != 0 || allowed.FixCount != 2 || !strings.HasSuffix(allowed.Fix[0], "alone signs in") {
			t.Errorf("import that allows it = %+v, want two users listed, with passwords", allowed)
		}
		for id := range users {
			_, err := f.Password(t.Context(), id)
			if lost := id[0] == '1' || id[0] == '2'; lost != (err != nil) {
				t.Errorf("password of %s: %v, want none only for the users whose factor is lost", id, err)
			}
		}
	})
}

// TestGroupsOfDifferentKindsAreNotMerged imports groups and roles that would be one group: those of different kinds are
// refused, others are listed, and so is a group that existed (PE53).
func TestGroupsOfDifferentKindsAreNotMerged(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		storagetest.Must(t, f.CreateGroup(t.Context(), storage.Group{Name: "Admins", CreatedAt: f.clock.Now()}))
		path := filepath.Join(t.TempDir(), "realm.json")
		storagetest.Must(t, os.WriteFile(path, []byte(`{"realm":"corp","groups":[{"name":"admins","path":"/admins"},
			{"name":"role:admin","path":"/role:admin"},{"name":"a b","path":"/a b"},{"name":"A-B","path":"/A-B"}],
			"users":[{"id":"2a117809-8285-4718-a131-bd61fb57cd1f","username":"alice","email":"alice@example.com",
			"groups":["/admins","/a b","/A-B"],"realmRoles":["admin"],"clientRoles":{"a:b":["c"],"a":["b:c"]}}]}`), 0o600))
		report := f.run(t, "keycloak", importer.Options{RolePrefix: "role:"}, path)
		if diff := cmp.Diff([]string{
			`the group "a b" is now "a-b": a name has no spaces, commas and asterisks`,
			`the group "a b" and the group "A-B" have become one group: check what it grants`,
			`groups that existed before, of which users are members now; check what they grant: Admins`,
		}, report.Fix); diff != "" {
			t.Errorf("what to fix (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]importer.Problem{
			{`the role of the realm that becomes the group "role:admin"`, `it has the name of the group "role:admin"; ` +
				"no user gets it"},
			{`the role of the client a:b that becomes the group "a:b:c"`, `it has the name of the role of the client a that ` +
				`becomes the group "a:b:c"; no user gets it`},
		}, report.Problems); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
		f.want(t, "alice", []string{"Admins", "a-b", "a:b:c"}, nil, nil)
		again := f.run(t, "keycloak", importer.Options{RolePrefix: "role:"}, path)
		if slices.ContainsFunc(again.Fix, func(s string) bool { return strings.Contains(s, "existed") }) {
			t.Errorf("what to fix after a repeated import = %q, want no groups that existed", again.Fix)
		}
	})
}

// TestClientWithoutSupportedGrantIsSkipped imports clients of grant types that Gatehouse does not have: they must not
// get that of authorization codes, which is the default (PE53, PE54).
func TestClientWithoutSupportedGrantIsSkipped(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storagetest.URL(t, storage.SQLite))
	for format, content := range map[string]string{
		"hydra": `{"client_id":"spa","grant_types":["implicit"],"redirect_uris":["https://app.example.com/cb"]}`,
		"keycloak": `{"realm":"corp","clients":[{"clientId":"spa","publicClient":true,"standardFlowEnabled":false,
			"implicitFlowEnabled":true,"redirectUris":["https://app.example.com/cb"]}]}`,
	} {
		path := filepath.Join(t.TempDir(), "file")
		storagetest.Must(t, os.WriteFile(path, []byte(content), 0o600))
		report := f.run(t, format, importer.Options{AllowNoUsers: true, Clients: f.registry()}, path)
		if report.Clients != (importer.Counts{Read: 1, Skipped: 1}) || len(report.Fix) != 1 ||
			report.Fix[0] != "client spa was not imported: none of its grant types is supported" {
			t.Errorf("%s: clients %+v, to fix %q, want the client skipped and listed", format, report.Clients, report.Fix)
		}
	}
}

// TestValuesAndReportsAreBounded imports files whose values and losses have no end, and cells that a spreadsheet would
// run (PE57).
func TestValuesAndReportsAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storagetest.URL(t, storage.SQLite))
	large := strings.Repeat("x", 5<<20)
	write := func(content ...string) string {
		path := filepath.Join(t.TempDir(), "file")
		file, err := os.Create(path)
		storagetest.Must(t, err)
		for _, c := range content {
			_, err := io.WriteString(file, c)
			storagetest.Must(t, err)
		}
		storagetest.Must(t, file.Close())
		return path
	}
	for format, path := range map[string]string{
		"csv":      write("username,email,name\na,a@example.com,\"", large, "\"\n"),
		"jsonl":    write("{\"username\":\"a\",\"email\":\"a@example.com\"}\n", `{"username":"`, large, `"}`),
		"keycloak": write(`{"realm":"corp","users":[{"username":"`, large, `"}]}`),
		"hydra":    write(`[{"client_id":"`, large, `"}]`),
	} {
		_, err := f.tryRun(t, format, importer.Options{DryRun: true}, path)
		if err == nil || !strings.Contains(err.Error(), "a value is larger than 4 MiB") ||
			format == "jsonl" && !strings.HasPrefix(err.Error(), "file:2: ") {
			t.Errorf("import %s of a large value = %.100v, want it refused", format, err)
		}
	}
	skipped := write(`{"realm":"corp","federatedUsers":["`, large[:3<<20], `","`, large[:3<<20], `"],"users":[]}`)
	f.run(t, "keycloak", importer.Options{AllowNoUsers: true}, skipped)

	var attributes []string
	for i := range 600 {
		attributes = append(attributes, fmt.Sprintf(`"a%d":"v"`, i))
	}
	attributes = append(attributes, `"`+large[:1000]+`":"v"`)
	report := f.run(t, "jsonl", importer.Options{}, write(
		`{"username":"a","email":"a@example.com","attributes":{`, strings.Join(attributes, ","), "}}"))
	if n := len(report.Losses); n != 501 || report.Losses[0].What != "other data" {
		t.Errorf("%d losses, the first %+v, want 500 and the count of others", n, report.Losses[0])
	}
	f.run(t, "csv", importer.Options{}, write("username,email,name\n=b,b@example.com,\"=HYPERLINK(\"\"x\"\")\"\n"))
	if u := f.want(t, "=b", nil, nil, nil); u.Name != `=HYPERLINK("x")` {
		t.Errorf("name = %q, want the text of the cell", u.Name)
	}
}
