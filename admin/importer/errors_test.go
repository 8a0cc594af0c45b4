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
		{"csv", "", "read the names of the columns"},
		{"csv", "username,emial\n", `file:1: the column "emial" is not supported; did you mean email?`},
		{"csv", "username,password\n", "passwords in clear are not imported"},
		{"csv", "username,email\na,a@example.com\nb\n", "line 3"},
		{"csv", "username,email,disabled\na,a@example.com,perhaps\n", "file:2: the column disabled"},
		{"jsonl", "{\"username\":\"a\",\"email\":\"a@example.com\"}\n{\"username\":\n", "the file ends too early"},
		{"jsonl", "{\"username\":\"a\",\"email\":\"a@example.com\"}\n{\"username\":7}\n", "file:2: "},
		{"jsonl", `{"username":"a","password":"secret word"}`, "passwords in clear are not imported"},
		{"jsonl", `{"username":"a","email":"a@example.com","roles":{"https://other.example":["x"]}}`, "there is no resource"},
		{"keycloak", "{\n\"realm\": \"a\",\n\"users\": [ {\"username\": \"x\" } } ]\n}", "file:3: the file is not valid"},
		{"keycloak", "{\"users\": {}}", "must be an array"},
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
		} else if strings.Contains(err.Error(), "secret word") {
			t.Errorf("the error has the password: %v", err)
		}
	}
	if _, err := f.tryRun(t, "csv", importer.Options{}, "missing.csv"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("import of a missing file = %v, want ErrNotExist", err)
	}
}
