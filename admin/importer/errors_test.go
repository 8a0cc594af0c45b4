package importer_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/admin/importer"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestErrorsNameTheLine are files that cannot be read (PE57).
func TestErrorsNameTheLine(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storagetest.URL(t, storage.SQLite))
	for _, c := range []struct{ format, content, want string }{
		{"csv", "", "its first line must have the names of the columns"},
		{"csv", "sub;email\n", "file:1: the column \"sub;email\" is not supported; separate columns with commas"},
		{"csv", "username,email,Username\n", "the column username is there twice"},
		{"csv", "\xff\xfeu\x00s\x00", "save the file as UTF-8"},
		{"csv", "username,emial\n", `file:1: the column "emial" is not supported; did you mean email?`},
		{"csv", "username,password\n", "passwords in clear are not imported"},
		{"csv", "username,email\na,a@example.com\n\"b\" c,b@example.com\n", "line 3"},
		{"jsonl", "{\"username\":\"a\",\"email\":\"a@example.com\"}\n{\"username\":\n", "the file ends too early"},
		{"keycloak", "{\n\"realm\": \"a\",\n\"users\": [ {\"username\": \"x\" } } ]\n}", "file:3: the file is not valid"},
		{"keycloak", "{\"users\": {}}", "must be an array"},
		{"keycloak", "{\n\"groups\": {}}", "file:2: the member groups: the value is an object, not an array"},
		{"keycloak", "[]", "not that of one realm"},
		{"keycloak", "{\"realm\": \"a\", \"users\": [ {", "the file ends too early"},
		{"authelia", "users:\n  john:\n    password: [1\n", "[3:"},
		{"firebase", "{\"users\": 7", ""},
		{"unknown", "", "not supported"},
	} {
		path := filepath.Join(t.TempDir(), "file")
		storagetest.Must(t, os.WriteFile(path, []byte(c.content), 0o600))
		_, err := f.tryRun(t, c.format, importer.Options{DryRun: true}, path)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("import %s of %.50q = %v, want an error with %q", c.format, c.content, err, c.want)
		}
	}
	if _, err := f.tryRun(t, "csv", importer.Options{}, "missing.csv"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("import of a missing file = %v, want ErrNotExist", err)
	}
}
