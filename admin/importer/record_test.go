package importer_test

import (
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

// recordCase is a file with valid users a and z in the group good, and between them records that are not valid and
// would create the group bad.
type recordCase struct {
	format, content string
	users, clients  importer.Counts
	problems        []string
}

var recordCases = []recordCase{
	{"csv", "sub,username,email,email_verified,groups\n1,a,a@example.com,true,good\n2,b,b@example.com,maybe,bad\n" +
		"3,c,c@example.com\n4,d,d@example.com,true,bad,x\n5,e \"x\",e@example.com,,bad\n" +
		"x\xff,f,f@example.com,,bad\nx\x00,g,g@example.com,,bad\n" + strings.Repeat("i", 501) + ",h,h@example.com,,bad\n" +
		"9,z,z@example.com,,good\n",
		importer.Counts{Read: 9, Created: 2, Invalid: 7}, importer.Counts{}, []string{
			`file:3 (b): the column email_verified has the value "maybe", not true or false`,
			"file:4 (c): the number of columns is 3, and 5 in the first line",
			"file:5 (d): the number of columns is 6, and 5 in the first line",
			`file:6: a value has a quotation mark: write the value in quotation marks, with "" for each in it`,
			"file:7 (f): the id is not valid UTF-8", "file:8 (g): the id has a control character",
			"file:9 (h): the id has more than 500 bytes",
		}},
	{"jsonl", `{"username":"a","email":"a@example.com","groups":["good"],"password":null}
{"username":7,"email":"b@example.com","groups":["bad"]}
{"username":"c","email":"c@example.com","email_verified":"yes","groups":["bad"]}
{"username":"d","email":"d@example.com","groups":"bad"}
{"username":"e","email":"e@example.com","groups":["bad"],"address":{"locality":3},"given_name":true}
[]
{"username":"f","email":"f@example.com","groups":["bad"],"password":"secret word"}
{"username":"g","email":"g@example.com","groups":["bad"],"roles":{"https://other.example":["x"]}}
{"username":"h","email":"h@example.com","groups":["bad"],"roles":{"https://orders.example.com":["a b"]}}
{"username":"i","email":"i@example.com","groups":["bad"],"sub":"x\u0000"}
{"username":"j","email":"j@example.com","groups":["bad"],"attributes":{"n":1e999}}
{"username":"z","email":"z@example.com","groups":["good"]}`,
		importer.Counts{Read: 12, Created: 2, Invalid: 10}, importer.Counts{}, []string{
			"file: entry 2: username is a number, not a string",
			"file: entry 3 (c): email_verified is a string, not true or false",
			"file: entry 4 (d): groups is a string, not an array",
			"file: entry 5 (e): address.locality is a number, not a string",
			"file: entry 6: the value is an array, not an object",
			"file: entry 7 (f): passwords in clear are not imported; hash them first, for example with bcrypt, and name the " +
				"column or member password_hash",
			"file: entry 8 (g): there is no resource https://other.example; see `gatehouse resource list`, or create it with " +
				"`gatehouse resource create`",
			`file: entry 9 (h): the role "a b": a role has 1 to 60 printable ASCII characters, without spaces, commas, ` +
				"quotation marks and backslashes",
			"file: entry 10 (i): the id has a control character",
			"file: entry 11 (j): attributes is the number 1e999, not a number that is in range",
		}},
	{"keycloak", `{"realm":"r","groups":[{"name":"good","path":"/good"},{"name":"bad","path":7}],
"roles":{"realm":[{"name":"x","description":7}],"client":{"c":[{"name":"y","composites":7}]}},
"clients":[{"clientId":"web","redirectUris":"https://web.example.com"},
{"clientId":"uri","secret":"R0pkSbXDp3v7mFMLRhOr0FpbzSdcJxbG","redirectUris":["app"]},
{"clientId":"app","secret":"R0pkSbXDp3v7mFMLRhOr0FpbzSdcJxbG","redirectUris":["https://app.example.com/cb"]}],
"users":[{"username":"a","email":"a@example.com","groups":["/good"]},
{"username":"b","email":"b@example.com","enabled":"true","realmRoles":["bad"]},
{"username":"c","email":"c@example.com","credentials":[{"type":"password","createdDate":1.5}]},
{"username":"z","email":"z@example.com","groups":["/good"]}]}`,
		importer.Counts{Read: 4, Created: 2, Invalid: 2}, importer.Counts{Read: 3, Created: 1, Invalid: 2}, []string{
			"group 2 (bad): path is a number, not a string; users do not get the roles of this group and those below it",
			"role 1 (x) of the realm: description is a number, not a string; users do not get the roles that it includes",
			"role 1 (y) of the client c: composites is a number, not an object; users do not get the roles that it includes",
			"client 1 (web): redirectUris is a string, not an array",
			"client uri: The redirect URI app is not an absolute URI.",
			"file: user 2 (b): enabled is a string, not true or false",
			"file: user 3 (c): credentials.createdDate is the number 1.5, not a whole number that is in range",
		}},
	{"authelia", "users:\n  a:\n    email: a@example.com\n    groups: &g [good]\n  b:\n    email: b@example.com\n" +
		"    disabled: maybe\n    password: secret word\n    groups: [bad]\n  c:\n    email: [c@example.com]\n" +
		"    groups: [bad]\n  z:\n    email: z@example.com\n    groups: *g\n",
		importer.Counts{Read: 4, Created: 2, Invalid: 2}, importer.Counts{}, []string{
			"file: users (b): [7:", "file: users (c): [11:",
		}},
	{"authentik", `[{"model":"authentik_core.group","pk":"1","fields":{"name":"good"}},
{"model":"authentik_core.group","pk":"2","fields":{"name":["bad"]}},
{"model":7},{"model":"authentik_core.user","pk":1},
{"model":"authentik_core.user","fields":{"username":"a","email":"a@example.com","is_active":true,"groups":["1"]}},
{"model":"authentik_core.user","fields":{"username":"b","email":"b@example.com","is_active":"true","groups":["1"]}},
{"model":"authentik_core.user","fields":{"username":"z","email":"z@example.com","is_active":true,"groups":["1"]}}]`,
		importer.Counts{Read: 5, Created: 2, Invalid: 3}, importer.Counts{}, []string{
			"file: entry 2: name is an array, not a string", "file: entry 3: model is a number, not a string",
			"file: entry 4: the record has no fields", "file: entry 6 (b): is_active is a string, not true or false",
		}},
	{"auth0", `{"user_id":"1","username":"a","email":"a@example.com"}
{"user_id":2,"username":"b","email":"b@example.com"}
{"_id":"3","username":"c","email":"c@example.com"}
{"user_id":"4","username":"d","email":"d@example.com","mfa_factors":{}}
{"user_id":"9","username":"z","email":"z@example.com"}`,
		importer.Counts{Read: 5, Created: 2, Invalid: 3}, importer.Counts{}, []string{
			"file: entry 2 (b): user_id is a number, not a string", "file: entry 3 (c): _id is a string, not an object",
			"file: entry 4 (d): mfa_factors is an object, not an array",
		}},
	{"firebase", `{"users":[{"localId":"1","email":"a@example.com"},
{"localId":"2","email":"b@example.com","disabled":1},{"localId":"3","email":"c@example.com","salt":[]},
{"localId":"9","email":"z@example.com"}]}`,
		importer.Counts{Read: 4, Created: 2, Invalid: 2}, importer.Counts{}, []string{
			"file: entry 2 (b@example.com): disabled is a number, not true or false",
			"file: entry 3 (c@example.com): salt is an array, not a string",
		}},
	{"hydra", `{"client_id":"api","client_secret":7}
{"client_id":"web","redirect_uris":7}
{"client_id":"job","client_secret":"R0pkSbXDp3v7mFMLRhOr0FpbzSdcJxbG","grant_types":["client_credentials"]}`,
		importer.Counts{}, importer.Counts{Read: 3, Created: 1, Invalid: 2}, []string{
			"file: entry 1 (api): client_secret is a number, not a string",
			"file: entry 2 (web): redirect_uris is a number, not a string",
		}},
}

// TestInvalidRecordDoesNotEndTheImport imports files with records whose values have the wrong type or cannot be stored:
// they are reported, the others are imported, and no group is created for them (PE57).
func TestInvalidRecordDoesNotEndTheImport(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		for _, c := range recordCases {
			path := filepath.Join(t.TempDir(), "file")
			storagetest.Must(t, os.WriteFile(path, []byte(c.content), 0o600))
			for _, dryRun := range []bool{true, false} {
				o := importer.Options{DryRun: dryRun, Clients: f.registry(), Firebase: firebaseParameters(t), RolePrefix: ""}
				report := f.run(t, c.format, o, path)
				wantCounts(t, c.format+" users", report.Users, c.users)
				wantCounts(t, c.format+" clients", report.Clients, c.clients)
				wantProblems(t, c, report)
			}
			if c.users.Read > 0 {
				for _, email := range []string{"a@example.com", "z@example.com"} {
					if _, err := f.users.User(t.Context(), email); err != nil {
						t.Errorf("%s: the valid user %s = %v, want it imported", c.format, email, err)
					}
				}
			}
			f.deleteUsers(t)
		}
		f.wantGroups(t, "good")
	})
}

// wantProblems compares the problems of a report with what each begins with.
func wantProblems(t *testing.T, c recordCase, report *importer.Report) {
	t.Helper()
	var got []string
	for i, p := range report.Problems {
		text := p.Location + ": " + p.Reason
		if strings.Contains(text, "secret word") {
			t.Errorf("%s: the problem %q has the password", c.format, text)
		}
		if i < len(c.problems) && strings.HasPrefix(text, c.problems[i]) {
			text = c.problems[i]
		}
		got = append(got, text)
	}
	if diff := cmp.Diff(c.problems, got); diff != "" {
		t.Errorf("%s: problems (-want +got):\n%s", c.format, diff)
	}
}

func (f fixture) wantGroups(t *testing.T, want ...string) {
	t.Helper()
	groups, err := f.Groups(t.Context())
	storagetest.Must(t, err)
	got := make([]string, 0, len(groups))
	for _, g := range groups {
		got = append(got, g.Name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("groups = %q, want %q", got, want)
	}
}

// TestGroupsAndRolesAreCreatedOnlyForImportedUsers imports users of whom one is in conflict and one was imported before
// (PE57).
func TestGroupsAndRolesAreCreatedOnlyForImportedUsers(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		path := filepath.Join(t.TempDir(), "users.jsonl")
		write := func(lines ...string) {
			storagetest.Must(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600))
		}
		const roles = `"roles":{"https://orders.example.com":["`
		alice := `{"sub":"1","username":"alice","email":"alice@example.com","groups":["first"],` + roles + `view"]}}`
		write(alice)
		f.run(t, "jsonl", importer.Options{}, path)
		write(strings.ReplaceAll(alice, "first", "second"),
			`{"sub":"2","username":"ALICE","email":"b@example.com","groups":["third"],`+roles+`delete"]}}`,
			`{"sub":"3","username":"carol","email":"c@example.com","groups":["first"],`+roles+`edit"]}}`,
			`{"sub":"4","username":"dave"`)
		for _, dryRun := range []bool{true, false} {
			report, err := f.tryRun(t, "jsonl", importer.Options{DryRun: dryRun}, path)
			if err == nil || !strings.Contains(err.Error(), "the file ends too early") {
				t.Errorf("import of a file that is not complete = %v, want the error", err)
			}
			wantCounts(t, "users", report.Users, importer.Counts{Read: 3, Created: 1, Unchanged: 1, Conflicts: 1})
			wantCounts(t, "groups", report.Groups, importer.Counts{Read: 1, Unchanged: 1})
			wantCounts(t, "roles", report.Roles, importer.Counts{Read: 1, Created: 1})
		}
		f.wantGroups(t, "first")
		f.want(t, "carol", []string{"first"}, []string{"edit"}, nil)
		all, err := f.Roles(t.Context(), "")
		storagetest.Must(t, err)
		if slices.ContainsFunc(all, func(r storage.Role) bool { return r.Name == "delete" }) || len(all) != 2 {
			t.Errorf("roles = %+v, want no role of a user who was not imported", all)
		}
	})
}

// TestUnknownResourceEndsTheImportBeforeItBegins maps the roles of a client to a resource that does not exist (PE53).
func TestUnknownResourceEndsTheImportBeforeItBegins(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storagetest.URL(t, storage.SQLite))
	o := importer.Options{Resources: map[string]string{"orders-api": "https://order.example.com"}}
	report, err := f.tryRun(t, "keycloak", o, "keycloak-realm.json")
	if err == nil || !strings.Contains(err.Error(), "gatehouse resource create") || !report.IsEmpty() {
		t.Errorf("import with an unknown resource = %v, %+v, want an error that names the command", err, report)
	}
	f.wantGroups(t)
	o.Resources = map[string]string{"orders-apl": "https://orders.example.com"}
	report = f.run(t, "keycloak", o, "keycloak-realm.json")
	if !slices.ContainsFunc(report.Fix, func(s string) bool { return strings.HasPrefix(s, "--resource orders-apl=") }) {
		t.Errorf("what to fix = %q, want the client without roles", report.Fix)
	}
}
