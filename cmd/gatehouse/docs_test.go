package main

import (
	"flag"
	"os"
	"testing"

	"gatehouse/config"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestConfigDocument keeps docs/config.md in step with the settings.
func TestConfigDocument(t *testing.T) {
	t.Parallel()
	const file = "../../docs/config.md"
	want := config.Markdown()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the settings say; run `make golden` (%v)", file, err)
	}
}
