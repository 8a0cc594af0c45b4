package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// foundation packages have one small job and import nothing; every package may import them.
var foundation = []string{"cidr", "loopback", "keyed", "lograte", "display", "duration", "oauth/granttype"}

// allowedImports lists the packages of Gatehouse in the order of the table in docs/design.md, each with the packages
// that it imports in addition to foundation. They must be in earlier rows, so that there is no cycle. The reasons for
// those that are not obvious are in docs/decisions/0046-imports.md.
var allowedImports = []struct {
	name    string
	imports []string
}{
	{"migrations", nil},
	{"templates", nil},
	{"cidr", nil},
	{"loopback", nil},
	{"keyed", nil},
	{"lograte", nil},
	{"display", nil},
	{"duration", nil},
	{"oauth/granttype", nil},
	{"message", []string{"templates"}},
	{"ratelimit", nil},
	{"config", []string{"ratelimit"}},
	{"oauth/jwt", nil},
	{"oauth/accesstoken", []string{"oauth/jwt"}},
	{"oauth/credential", nil},
	{"oauth/params", nil},
	{"oauth/redirect", []string{"oauth/credential"}},
	{"oauth/fetch", nil},
	{"storage/reqevent", nil},
	{"storage/db", []string{"migrations", "storage/reqevent"}},
	{"storage/vault", []string{"storage/db"}},
	{"storage/audit", []string{"ratelimit", "storage/reqevent", "storage/db", "storage/vault"}},
	{"storage", []string{"storage/reqevent", "storage/db", "storage/vault", "storage/audit"}},
	{"storage/storagetest", []string{"migrations", "storage/vault", "storage/audit", "storage"}},
	{"ratelimit/redistest", []string{"storage/storagetest"}},
	{"identity/commonpassword", nil},
	{"identity/passwordhash", nil},
	{"identity/totp", nil},
	{"identity/passkey", []string{"storage"}},
	{"identity/passkey/passkeytest", nil},
	{"identity/migration", []string{"storage"}},
	{"identity", []string{
		"ratelimit", "oauth/credential", "storage/reqevent", "storage/audit", "storage", "identity/commonpassword",
		"identity/passwordhash", "identity/totp", "identity/passkey", "identity/migration",
	}},
	{"oauth/protocol", []string{"ratelimit", "oauth/params"}},
	{"oauth/keyring", []string{"oauth/jwt", "oauth/accesstoken", "storage", "oauth/protocol"}},
	{"oauth/client", []string{
		"ratelimit", "oauth/jwt", "oauth/accesstoken", "oauth/credential", "oauth/params", "oauth/redirect", "oauth/fetch",
		"storage/reqevent", "storage/audit", "storage", "identity/passwordhash", "identity", "oauth/protocol",
	}},
	{"oauth/claims", []string{
		"oauth/jwt", "oauth/accesstoken", "oauth/params", "storage/reqevent", "storage", "identity", "oauth/protocol",
		"oauth/keyring",
	}},
	{"oauth/grant", []string{
		"ratelimit", "oauth/credential", "oauth/params", "oauth/redirect", "storage/reqevent", "storage/audit", "storage",
		"identity", "oauth/protocol", "oauth/client",
	}},
	{"oauth/logout", []string{
		"oauth/jwt", "oauth/redirect", "storage", "identity", "oauth/protocol", "oauth/keyring", "oauth/client",
		"oauth/claims",
	}},
	{"oauth", []string{
		"ratelimit", "oauth/jwt", "oauth/accesstoken", "oauth/credential", "oauth/params", "oauth/redirect",
		"oauth/fetch", "storage/reqevent", "storage/audit", "storage", "identity", "oauth/protocol", "oauth/keyring",
		"oauth/client", "oauth/claims", "oauth/grant", "oauth/logout",
	}},
	{"notify", []string{"oauth/fetch", "storage"}},
	{"notify/mail", []string{"templates", "message", "storage", "notify"}},
	{"notify/mail/mailtest", []string{"storage/storagetest"}},
	{"admin", []string{"storage", "identity", "oauth/protocol", "oauth/keyring", "oauth/client"}},
	{"admin/importer", []string{
		"storage", "identity/passwordhash", "identity", "oauth/protocol", "oauth/client", "admin",
	}},
	{"web/page", []string{
		"templates", "message", "oauth/redirect", "storage/reqevent", "identity", "oauth/protocol",
	}},
	{"web/interaction", []string{
		"ratelimit", "oauth/params", "oauth/redirect", "storage/reqevent", "storage", "identity", "oauth/protocol",
		"oauth/logout", "oauth", "web/page",
	}},
	{"web/account", []string{
		"ratelimit", "oauth/params", "oauth/redirect", "storage/reqevent", "storage/audit", "storage", "identity",
		"oauth/protocol", "oauth", "web/page",
	}},
	{"web/selfservice", []string{
		"ratelimit", "oauth/params", "storage/reqevent", "storage", "identity", "oauth/protocol", "web/page",
	}},
	{"web", []string{
		"ratelimit", "oauth/credential", "oauth/params", "storage/reqevent", "storage", "identity", "oauth/protocol",
		"oauth", "web/page", "web/interaction", "web/account", "web/selfservice",
	}},
	{"cmd/gatehouse/server", []string{
		"ratelimit", "config", "oauth/fetch", "storage/reqevent", "storage/db", "storage/vault", "storage/audit",
		"storage", "identity", "identity/passkey", "identity/migration", "oauth/client", "oauth", "notify", "notify/mail",
		"admin", "templates", "message", "web/page", "web/selfservice",
		"web",
	}},
	{"cmd/gatehouse/server/servertest", []string{
		"config", "storage", "storage/storagetest", "ratelimit/redistest", "identity", "identity/totp", "oauth/client",
		"oauth", "notify", "notify/mail/mailtest", "web", "cmd/gatehouse/server",
	}},
	{"cmd/gatehouse/sample", nil},
	{"cmd/gatehouse", []string{
		"config", "oauth/credential", "oauth/fetch", "storage/reqevent", "storage/db", "storage/vault", "storage/audit",
		"storage", "identity/passwordhash", "identity", "oauth/protocol", "oauth/keyring", "oauth/client", "notify/mail",
		"admin", "admin/importer", "cmd/gatehouse/server", "cmd/gatehouse/sample",
	}},
	{"cmd/oauthbench/bench", nil},
	{"cmd/oauthbench", []string{
		"config", "oauth/credential", "storage/reqevent", "storage", "identity", "oauth/client", "cmd/gatehouse/server",
		"cmd/oauthbench/bench",
	}},
}

// independent packages must work with any server and import not even foundation.
var independent = []string{"cmd/gatehouse/sample", "cmd/oauthbench/bench"}

// testOnly packages start real servers for tests, and only tests import them.
var testOnly = []string{
	"identity/passkey/passkeytest",
	"ratelimit/redistest", "storage/storagetest", "notify/mail/mailtest", "cmd/gatehouse/server/servertest",
}

// libraryOwners are the packages that may import a library, by the prefix of its path. A name with /… includes the
// packages below it.
var libraryOwners = map[string][]string{
	"crypto/cipher":                       {"keyed", "cmd/gatehouse/sample", "identity/passwordhash"},
	"crypto/hmac":                         {"keyed", "identity/totp"},
	"crypto/subtle":                       {"cmd/gatehouse/sample", "cmd/oauthbench/bench"}, // others: keyed.Equal
	"github.com/coreos/go-oidc":           {"cmd/gatehouse/sample", "cmd/gatehouse/server/servertest"},
	"github.com/fxamacker/cbor":           {"identity/passkey/passkeytest"},
	"github.com/glebarez/":                {"storage/db"},
	"github.com/go-ldap/":                 {"identity/migration"},
	"github.com/goccy/go-yaml":            {"admin/importer"},
	"github.com/go-webauthn/webauthn":     {"identity/passkey"},
	"github.com/gomodule/redigo":          {"ratelimit"},
	"github.com/gorilla/sessions":         {"identity"},
	"github.com/jackc/pgx":                {"storage/…", "cmd/oauthbench/bench"},
	"github.com/ory/fosite":               {"oauth"},
	"github.com/pressly/goose":            {"storage/db"},
	"github.com/prometheus/client_golang": {"web", "cmd/gatehouse/server"},
	"github.com/spf13/":                   {"cmd/gatehouse"},
	"github.com/wneessen/go-mail":         {"notify/mail"},
	"golang.org/x/crypto":                 {"identity/passwordhash"},
	"golang.org/x/sync":                   {"identity"},
	"golang.org/x/oauth2":                 {"cmd/gatehouse/sample"},
	"gorm.io/":                            {"storage/…"},
	"rsc.io/qr":                           {"identity/totp"},
}

// goPackage is a package without its tests.
type goPackage struct {
	name    string // without the module path
	doc     string
	imports []string // those of Gatehouse without the module path
}

const modulePath = "gatehouse/"

// packages reads the packages of the module from their files. Unlike `go list` this allows go test to cache the result
// until one of the files changes.
func packages(t *testing.T) []goPackage {
	t.Helper()
	byName := map[string]*goPackage{}
	err := filepath.WalkDir("../..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, noModule := os.Stat(filepath.Join(file, "go.mod"))
			hidden := strings.HasPrefix(d.Name(), ".") && file != "../.."
			if d.Name() == "testdata" || hidden || noModule == nil && file != "../.." { // another module
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") {
			return addFile(byName, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for _, p := range byName {
		slices.Sort(p.imports)
		p.imports = slices.Compact(p.imports)
		all = append(all, *p)
	}
	return all
}

func addFile(byName map[string]*goPackage, file string) error {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil || ignored(parsed) {
		return err
	}
	name := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(file), "../../"))
	if byName[name] == nil {
		byName[name] = &goPackage{name: name}
	}
	p := byName[name]
	p.doc += parsed.Doc.Text()
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		p.imports = append(p.imports, strings.TrimPrefix(imported, modulePath))
	}
	return nil
}

// ignored reports whether a build constraint excludes the file from every build.
func ignored(f *ast.File) bool {
	for _, group := range f.Comments {
		for _, c := range group.List {
			if c.Text == "//go:build ignore" {
				return true
			}
		}
	}
	return false
}

// allowedFor returns the imports in the row of a package, and whether there is a row.
func allowedFor(name string) (allowed []string, found bool) {
	for _, row := range allowedImports {
		if row.name == name {
			return row.imports, true
		}
	}
	return nil, false
}

func TestImportsAreAllowed(t *testing.T) {
	t.Parallel()
	all := packages(t)
	exists := func(name string) bool {
		return slices.ContainsFunc(all, func(p goPackage) bool { return p.name == name })
	}
	for _, p := range all {
		allowed, found := allowedFor(p.name)
		if !found {
			t.Errorf("package %s has no row in allowedImports; add one here and in docs/design.md", p.name)
			continue
		}
		for _, imported := range p.imports {
			if !exists(imported) { // a library
				continue
			}
			if slices.Contains(testOnly, imported) && !slices.Contains(testOnly, p.name) {
				t.Errorf("%s imports %s, which only tests may import", p.name, imported)
			}
			isFoundation := slices.Contains(foundation, imported) && !slices.Contains(independent, p.name)
			if !isFoundation && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s, want only %s", p.name, imported, strings.Join(allowed, ", "))
			}
		}
		for _, name := range allowed {
			if !slices.Contains(p.imports, name) {
				t.Errorf("%s does not import %s; remove it from its row in allowedImports", p.name, name)
			}
		}
	}
}

// TestImportRowsHaveNoCycle checks that each row allows only imports of earlier rows.
func TestImportRowsHaveNoCycle(t *testing.T) {
	t.Parallel()
	var earlier []string
	for _, row := range allowedImports {
		for _, imported := range row.imports {
			if !slices.Contains(earlier, imported) {
				t.Errorf("the row of %s allows %s, which is in no earlier row", row.name, imported)
			}
		}
		earlier = append(earlier, row.name)
	}
}

// TestImportRowsMatchDesignDocument checks that the table in docs/design.md has the same packages in the same order.
func TestImportRowsMatchDesignDocument(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\| .+ \\|$").FindAllStringSubmatch(string(b), -1) {
		documented = append(documented, row[1])
	}
	for _, row := range allowedImports {
		rows = append(rows, row.name)
	}
	if !slices.Equal(documented, rows) {
		t.Errorf("packages in docs/design.md:\n%s\nwant those of allowedImports:\n%s", documented, rows)
	}
}

func TestLibrariesAreImportedByTheirOwnersOnly(t *testing.T) {
	t.Parallel()
	owns := func(owners []string, name string) bool {
		return slices.ContainsFunc(owners, func(owner string) bool {
			parent, includesChildren := strings.CutSuffix(owner, "/…")
			return name == parent || includesChildren && strings.HasPrefix(name, parent+"/")
		})
	}
	all := packages(t)
	for library, owners := range libraryOwners {
		used := false
		for _, p := range all {
			for _, imported := range p.imports {
				if !strings.HasPrefix(imported, library) {
					continue
				}
				used = true
				if !owns(owners, p.name) {
					t.Errorf("%s imports %s, want only %s to", p.name, imported, strings.Join(owners, ", "))
				}
			}
		}
		if !used {
			t.Errorf("no package imports %s; remove it from libraryOwners", library)
		}
	}
}

// TestExportedNamesHideFosite checks that callers of oauth do not depend on fosite.
func TestExportedNamesHideFosite(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "doc", "-all", "gatehouse/oauth").Output()
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`.*\bfosite\.[A-Z]\w*.*`).Find(out); found != nil {
		t.Errorf("exported declaration of oauth with a type of fosite: %s, want none", found)
	}
}

func TestEveryPackageHasDocComment(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		want := "Package " + path.Base(p.name) + " "
		if strings.HasPrefix(p.name, "cmd/") && strings.HasPrefix(p.doc, "Command ") {
			want = "Command " + path.Base(p.name) + " "
		}
		if !strings.HasPrefix(p.doc, want) || len(p.doc) < 50 {
			t.Errorf("doc comment of %s = %q, want a sentence that begins with %q", p.name, p.doc, want)
		}
	}
}
