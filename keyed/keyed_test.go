package keyed_test

import (
	"bytes"
	"errors"
	"testing"

	"gatehouse/keyed"
)

var key = bytes.Repeat([]byte{7}, 32)

func TestOpenReversesSeal(t *testing.T) {
	t.Parallel()
	sealed, err := keyed.Seal(key, []byte("a secret"), "row 1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := keyed.Open(key, sealed, "row 1"); err != nil || string(got) != "a secret" {
		t.Errorf("Open: got %q, %v, want the plaintext", got, err)
	}
	again, err := keyed.Seal(key, []byte("a secret"), "row 1")
	if err != nil || bytes.Equal(again, sealed) {
		t.Errorf("Seal twice: got the same result, %v", err)
	}
}

func TestOpenRefusesOtherKeysContextsAndValues(t *testing.T) {
	t.Parallel()
	sealed, err := keyed.Seal(key, []byte("a secret"), "row 1")
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(sealed)
	altered[len(altered)-1] ^= 1
	for name, c := range map[string]struct {
		key, sealed []byte
		context     string
	}{
		"another key":     {bytes.Repeat([]byte{8}, 32), sealed, "row 1"},
		"another context": {key, sealed, "row 2"},
		"an altered byte": {key, altered, "row 1"},
		"a short value":   {key, sealed[:10], "row 1"},
		"no value":        {key, nil, "row 1"},
	} {
		if got, err := keyed.Open(c.key, c.sealed, c.context); !errors.Is(err, keyed.ErrDamaged) {
			t.Errorf("%s: got %q, %v, want ErrDamaged", name, got, err)
		}
	}
}

func TestMACDependsOnEveryPart(t *testing.T) {
	t.Parallel()
	seen := map[string][]string{}
	for _, parts := range [][]string{{}, {""}, {"a"}, {"a", ""}, {"", "a"}, {"a", "b"}, {"ab"}, {"a\x00b"}, {"b", "a"}} {
		mac := string(keyed.MAC(key, parts...))
		if other, ok := seen[mac]; ok {
			t.Errorf("MAC of %q equals that of %q", parts, other)
		}
		seen[mac] = parts
	}
	if bytes.Equal(keyed.MAC(key, "a"), keyed.MAC(bytes.Repeat([]byte{8}, 32), "a")) {
		t.Error("MAC of another key is the same")
	}
}
