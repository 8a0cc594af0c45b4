package credential_test

import (
	"regexp"
	"strings"
	"testing"

	"gatehouse/oauth/credential"
)

var live = credential.Format{Env: "live"}

// pattern is the one we publish for secret scanners.
var pattern = regexp.MustCompile(`^gate_[a-z]{2}_(live|test)_[0-9A-Za-z]{49}$`)

func TestKindsAndEnvironmentsDoNotPassForEachOther(t *testing.T) {
	t.Parallel()
	kinds := []credential.Kind{credential.Code, credential.RefreshToken, credential.ClientSecret}
	for _, made := range kinds {
		s := live.New(made)
		if !pattern.MatchString(s) {
			t.Errorf("%q does not have the published form", s)
		}
		for _, asked := range kinds {
			if live.Valid(asked, s) != (made == asked) {
				t.Errorf("a %s as a %s", made, asked)
			}
		}
		if (credential.Format{Env: "test"}).Valid(made, s) {
			t.Errorf("a live %s is valid in test", made)
		}
	}
}

func TestRefreshTokensOfAGrantShareItsNameAlone(t *testing.T) {
	t.Parallel()
	one, name := live.NewRefreshToken("")
	two, again := live.NewRefreshToken(name)
	if name != again || live.GrantName(one) != name || live.GrantName(two) != name || one == two || !live.Valid(credential.RefreshToken, two) {
		t.Errorf("%q %q %q", one, two, name)
	}
	if id := credential.GrantID(name); strings.Contains(id, name) || len(id) != 22 || id != credential.GrantID(again) {
		t.Errorf("the grant id is %q", id)
	}
}

func TestEverySmallChangeIsSeen(t *testing.T) {
	t.Parallel()
	s := live.New(credential.ClientSecret)
	for i := range len(s) {
		for _, c := range []byte("0Aaz_") {
			if changed := s[:i] + string(c) + s[i+1:]; changed != s && live.Valid(credential.ClientSecret, changed) {
				t.Errorf("%q is valid", changed)
			}
		}
	}
	for _, bad := range []string{"", s[1:], s[:len(s)-1], s + "0", " " + s, strings.ToUpper(s)} {
		if live.Valid(credential.ClientSecret, bad) {
			t.Errorf("%q is valid", bad)
		}
	}
}

func TestRandomDigitsAreEven(t *testing.T) {
	t.Parallel()
	counts := map[rune]int{}
	for _, c := range credential.Random(62_000) {
		counts[c]++
	}
	if len(counts) != 62 {
		t.Fatalf("%d digits, want 62", len(counts))
	}
	for c, n := range counts { // 1000 expected, σ ≈ 31
		if n < 780 || n > 1220 {
			t.Errorf("%c came %d times of 62000", c, n)
		}
	}
}
