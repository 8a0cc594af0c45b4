package credential_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/oauth/credential"
)

var live = credential.Format{Env: "live"}

// pattern is the published pattern for secret scanners.
var pattern = regexp.MustCompile(`^gate_[a-z]{2}_(live|test)_[0-9A-Za-z]{49}$`)

func TestKindsAndEnvironmentsAreDistinguished(t *testing.T) {
	t.Parallel()
	kinds := []credential.Kind{credential.Code, credential.RefreshToken, credential.ClientSecret}
	for _, kind := range kinds {
		s := live.New(kind)
		if !pattern.MatchString(s) {
			t.Errorf("New(%s) = %q, want it to match the published pattern %s", kind, s, pattern)
		}
		for _, other := range kinds {
			if got := live.Valid(other, s); got != (kind == other) {
				t.Errorf("Valid(%s, %q) = %t, want %t", other, s, got, kind == other)
			}
		}
		if (credential.Format{Env: "test"}).Valid(kind, s) {
			t.Errorf("a live %s is valid in the environment test", kind)
		}
	}
}

func TestRefreshTokensOfGrantShareOnlyItsName(t *testing.T) {
	t.Parallel()
	name := credential.NewGrantName(time.Unix(1_790_000_000, 0))
	first, second := live.NewRefreshToken(name), live.NewRefreshToken(name)
	if live.GrantName(first) != name || live.GrantName(second) != name || first == second ||
		!live.Valid(credential.RefreshToken, second) {
		t.Errorf("refresh tokens %q and %q, want two valid ones with the grant name %q", first, second, name)
	}
	if id := credential.GrantID(name); strings.Contains(id, name[5:]) || len(id) != 23 ||
		id != credential.GrantID(live.GrantName(second)) {
		t.Errorf("GrantID(%q) = %q, want 23 characters without the random part of the name", name, id)
	}
}

func TestGrantNamesAndIDsAreOrderedByTime(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_790_000_000, 0)
	first, second := credential.NewGrantName(at), credential.NewGrantName(at.Add(999*time.Millisecond))
	later := credential.NewGrantName(at.Add(time.Second))
	if first == second || first[:5] != second[:5] || later[:5] <= first[:5] {
		t.Errorf("names %q and %q of one second, then %q, want them ordered by time", first, second, later)
	}
	a, b, c := credential.GrantID(first), credential.GrantID(second), credential.GrantID(later)
	if a == b || a[:5] != b[:5] || c[:5] <= a[:5] {
		t.Errorf("ids %q and %q of one second, then %q, want them ordered by time", a, b, c)
	}
}

func TestChangedCredentialIsInvalid(t *testing.T) {
	t.Parallel()
	s := live.New(credential.ClientSecret)
	for i := range len(s) {
		for _, c := range []byte("0Aaz_") {
			if changed := s[:i] + string(c) + s[i+1:]; changed != s && live.Valid(credential.ClientSecret, changed) {
				t.Errorf("Valid(%q) = true, want false after a change at %d", changed, i)
			}
		}
	}
	for _, invalid := range []string{"", s[1:], s[:len(s)-1], s + "0", " " + s, strings.ToUpper(s)} {
		if live.Valid(credential.ClientSecret, invalid) {
			t.Errorf("Valid(%q) = true, want false", invalid)
		}
	}
}

func TestRandomDigitsAreUniform(t *testing.T) {
	t.Parallel()
	counts := map[rune]int{}
	for _, c := range credential.Random(62_000) {
		counts[c]++
	}
	if len(counts) != 62 {
		t.Fatalf("Random returned %d different digits, want 62", len(counts))
	}
	for c, n := range counts { // 1000 expected, σ ≈ 31
		if n < 780 || n > 1220 {
			t.Errorf("Random returned the digit %c %d times of 62000, want about 1000", c, n)
		}
	}
}
