package storage

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestEveryEventIsCountedFromTheStart: each type in the source is in the list that the counters are made of.
func TestEveryEventIsCountedFromTheStart(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("audit.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\t\w+\s*= "([a-z_]+\.[a-z_]+)"$`).FindAllSubmatch(source, -1)
	if len(found) < 40 || len(found) != len(eventTypes) {
		t.Errorf("%d types are in the source, %d in the list", len(found), len(eventTypes))
	}
	for _, m := range found {
		if !slices.Contains(eventTypes, string(m[1])) {
			t.Errorf("%s is not in the list", m[1])
		}
	}
}
