package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// goPackage is what `go list` tells of a package.
type goPackage struct {
	ImportPath string
	Doc        string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,Imports", "gatehouse/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// layers is the house: a package may be imported only by those in a later layer, and by its own family.
var layers = [][]string{
	{"gatehouse/cidr", "gatehouse/display", "gatehouse/duration", "gatehouse/keyed", "gatehouse/loopback", "gatehouse/lograte", "gatehouse/migrations", "gatehouse/templates"},
	{"gatehouse/ratelimit"},
	{"gatehouse/config"},
	{"gatehouse/storage"},
	{"gatehouse/identity"},
	{"gatehouse/oauth", "gatehouse/notify"},
	{"gatehouse/web"},
	{"gatehouse/cmd/gatehouse"},
	{"gatehouse/cmd/oauthbench"},
}

// leaves need neither the store nor fosite; web may use them like oauth does.
var leaves = []string{"gatehouse/oauth/accesstoken", "gatehouse/oauth/credential", "gatehouse/oauth/fetch", "gatehouse/oauth/jwt", "gatehouse/oauth/params", "gatehouse/oauth/redirect"}

// rows are packages of the oauth layer with the neighbours that they may import; other packages of the layer are none.
var rows = map[string][]string{
	"gatehouse/oauth/accesstoken": {"gatehouse/oauth/jwt"},
	"gatehouse/oauth/protocol":    {"gatehouse/oauth/params"},
	"gatehouse/oauth/redirect":    {"gatehouse/loopback"},
	"gatehouse/oauth/keyring":     {"gatehouse/oauth/accesstoken", "gatehouse/oauth/jwt", "gatehouse/oauth/protocol"},
	"gatehouse/oauth/claims": {
		"gatehouse/oauth/accesstoken", "gatehouse/oauth/jwt", "gatehouse/oauth/keyring", "gatehouse/oauth/params", "gatehouse/oauth/protocol",
	},
	"gatehouse/oauth/client": {
		"gatehouse/oauth/credential", "gatehouse/oauth/fetch", "gatehouse/oauth/jwt", "gatehouse/oauth/params", "gatehouse/oauth/protocol", "gatehouse/oauth/redirect",
	},
	"gatehouse/storage/db":      {"gatehouse/storage/reqevent"},
	"gatehouse/storage/vault":   {"gatehouse/storage/db"},
	"gatehouse/storage/audit":   {"gatehouse/storage/db", "gatehouse/storage/reqevent", "gatehouse/storage/vault"},
	"gatehouse/web/account":     {"gatehouse/web/page"},
	"gatehouse/web/interaction": {"gatehouse/web/page"},
	"gatehouse/notify":          {"gatehouse/oauth/fetch"},
	"gatehouse/oauth/grant":     {"gatehouse/oauth/client", "gatehouse/oauth/credential", "gatehouse/oauth/params", "gatehouse/oauth/protocol", "gatehouse/oauth/redirect"},
}

// testing packages run the real thing for tests and are imported by tests alone.
var forTests = []string{"gatehouse/ratelimit/redistest", "gatehouse/storage/storagetest", "gatehouse/cmd/gatehouse/server/servertest"}

func layer(path string) int {
	for i, names := range layers {
		for _, name := range names {
			if path == name || strings.HasPrefix(path, name+"/") {
				return i
			}
		}
	}
	return -1
}

func TestImportsGoOneWay(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if slices.Contains(forTests, p.ImportPath) {
			continue
		}
		if layer(p.ImportPath) < 0 {
			t.Errorf("%s has no place in the house", p.ImportPath)
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, "gatehouse/") {
				continue
			}
			switch {
			case slices.Contains(forTests, imported):
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, imported)
			case slices.Contains(rows[p.ImportPath], imported):
			case slices.Contains(leaves, p.ImportPath):
				t.Errorf("the leaf %s imports %s", p.ImportPath, imported)
			case strings.HasSuffix(p.ImportPath, "/sample"), strings.HasSuffix(p.ImportPath, "/bench"):
				t.Errorf("%s imports %s; it must work with any server", p.ImportPath, imported)
			case layer(imported) > layer(p.ImportPath):
				t.Errorf("%s imports %s, which is to its right", p.ImportPath, imported)
			case layer(imported) == layer(p.ImportPath) && !strings.HasPrefix(imported, p.ImportPath+"/"):
				t.Errorf("%s imports %s, its neighbour", p.ImportPath, imported)
			}
		}
	}
}

func TestLibrariesStayInTheirPackage(t *testing.T) {
	t.Parallel()
	all := packages(t)
	for library, owner := range map[string]string{
		"github.com/ory/fosite": "gatehouse/oauth", "gorm.io/": "gatehouse/storage/db", "github.com/glebarez/": "gatehouse/storage/db",
		"github.com/pressly/goose": "gatehouse/storage/db", "github.com/gorilla/sessions": "gatehouse/identity", "golang.org/x/crypto": "gatehouse/identity",
		"github.com/spf13/cobra": "gatehouse/cmd/gatehouse",
	} {
		for _, p := range all {
			for _, imported := range p.Imports {
				if strings.HasPrefix(imported, library) && p.ImportPath != owner {
					t.Errorf("%s imports %s, which belongs to %s", p.ImportPath, imported, owner)
				}
			}
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "doc", "-all", "gatehouse/oauth").Output()
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`fosite\.[A-Z]`).Match(out) {
		t.Error("something exported by oauth mentions a type of fosite")
	}
}

func TestEveryPackageHasPackageComment(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if len(p.Doc) < 60 {
			t.Errorf("%s has no package comment worth the name: %q", p.ImportPath, p.Doc)
		}
	}
}
