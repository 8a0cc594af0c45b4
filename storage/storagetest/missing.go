package storagetest

import (
	"os"
	"testing"
)

// Missing ends a test that needs something that this host does not have: it skips the test, and fails it when CI is
// set, where every test runs. what states what is missing and how to get it.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
