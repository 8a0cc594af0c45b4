package page

import "testing"

// TestSignInContinuesOnlyWithListedPages checks that no value of then leads anywhere but to an account page.
func TestSignInContinuesOnlyWithListedPages(t *testing.T) {
	t.Parallel()
	for then, want := range map[string]string{
		"": "/account", "security": "/account/security", "delete": "/account/delete", "/account/email": "/account",
		"security.r-1": "/account/security?request=r-1", "security.": "/account/security", "x.r-1": "/account",
		"security./evil": "/account/security", "security.r&x=1": "/account/security",
		"https://evil.example/": "/account", "//evil.example": "/account", "Security": "/account",
	} {
		if got := AccountPath(then); got != want {
			t.Errorf("a sign-in with then=%q continues with %s, want %s", then, got, want)
		}
	}
	for then, path := range accountPages {
		if got, want := SignInAgain(path), "/login?again=1&then="+then; got != want {
			t.Errorf("SignInAgain(%q) = %q, want %q", path, got, want)
		}
	}
	if got, want := SignInAgain("/account/security?request=r-1"), "/login?again=1&then=security.r-1"; got != want {
		t.Errorf("SignInAgain with a request = %q, want %q", got, want)
	}
	if got := SignIn("/account/apps/x"); got != "/login?to=account" {
		t.Errorf("a page with an id: %q, want no parameter then", got)
	}
}
