package credential_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

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
	name := credential.NewGrantName(time.Unix(1_790_000_000, 0))
	one, two := live.NewRefreshToken(name), live.NewRefreshToken(name)
	if live.GrantName(one) != name || live.GrantName(two) != name || one == two || !live.Valid(credential.RefreshToken, two) {
		t.Errorf("%q %q %q", one, two, name)
	}
	if id := credential.GrantID(name); strings.Contains(id, name[5:]) || len(id) != 23 || id != credential.GrantID(live.GrantName(two)) {
		t.Errorf("the grant id is %q", id)
	}
}

func TestGrantsOfTheSameSecondAreNeighbours(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_790_000_000, 0)
	one, two, later := credential.NewGrantName(at), credential.NewGrantName(at.Add(999*time.Millisecond)), credential.NewGrantName(at.Add(time.Second))
	if one == two || one[:5] != two[:5] || later[:5] <= one[:5] {
		t.Errorf("%q %q %q", one, two, later)
	}
	if a, b, c := credential.GrantID(one), credential.GrantID(two), credential.GrantID(later); a == b || a[:5] != b[:5] || c[:5] <= a[:5] {
		t.Errorf("%q %q %q", a, b, c)
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
