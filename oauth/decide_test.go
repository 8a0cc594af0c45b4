package oauth_test

import (
	"slices"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// consentTo is a consent to scopes, and claims, that belong to no API.
func consentTo(names ...string) *storage.Consent {
	c := &storage.Consent{Scopes: names}
	for _, name := range names {
		c.ResourceScopes = append(c.ResourceScopes, storage.ResourceScope("", name))
	}
	return c
}

// permissionsOf are the scopes and claims of a request, where no API has any of them.
func permissionsOf(a oauth.AuthorizationRequest) (out []oauth.Permission) {
	for _, name := range slices.Concat(a.Scopes, a.Claims) {
		out = append(out, oauth.Permission{Name: name})
	}
	return out
}

func TestDecide(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	made := now.Add(-time.Minute)
	signedIn := func(ago time.Duration) *identity.SignedInUser {
		return &identity.SignedInUser{Session: storage.BrowserSession{AuthTime: now.Add(-ago)}}
	}
	allowed := func(scopes ...string) *storage.Consent { return consentTo(scopes...) }
	maxAge := func(d time.Duration) *time.Duration { return &d }
	web := &storage.Client{AuthMethod: storage.AuthBasic}
	own := &storage.Client{AuthMethod: storage.AuthBasic, SkipConsent: true}
	ownPublic := &storage.Client{AuthMethod: storage.AuthNone, SkipConsent: true}
	const https, loopback = "https://app.example/cb", "http://127.0.0.1:5000/cb"
	for _, c := range []struct {
		name    string
		a       oauth.AuthorizationRequest
		who     *identity.SignedInUser
		consent *storage.Consent
		want    oauth.Step
		code    string
	}{
		{"nobody", oauth.AuthorizationRequest{Client: web, RedirectURI: https}, nil, nil, oauth.Login, ""},
		{"no user, silently", oauth.AuthorizationRequest{Client: web, RedirectURI: https, Prompt: []string{"none"}}, nil, nil, oauth.Refuse, protocol.LoginRequired},
		{"first time", oauth.AuthorizationRequest{Client: web, RedirectURI: https, Scopes: []string{"read"}}, signedIn(time.Hour), nil, oauth.Consent, ""},
		{"first time, silently", oauth.AuthorizationRequest{Client: web, RedirectURI: https, Prompt: []string{"none"}}, signedIn(time.Hour), nil, oauth.Refuse, protocol.ConsentRequired},
		{"remembered", oauth.AuthorizationRequest{Client: web, RedirectURI: https, Scopes: []string{"read"}}, signedIn(time.Hour), allowed("read", "write"), oauth.Issue, ""},
		{"something new", oauth.AuthorizationRequest{Client: web, RedirectURI: https, Scopes: []string{"read", "write"}}, signedIn(time.Hour), allowed("read"), oauth.Consent, ""},
		{"without consent", oauth.AuthorizationRequest{Client: web, RedirectURI: https}, signedIn(time.Hour), allowed(), oauth.Consent, ""},
		{"prompt=consent", oauth.AuthorizationRequest{Client: web, RedirectURI: https, Prompt: []string{"consent"}}, signedIn(time.Hour), allowed("read"), oauth.Consent, ""},
		{"vouched for", oauth.AuthorizationRequest{Client: own, RedirectURI: https, Scopes: []string{"read"}}, signedIn(time.Hour), nil, oauth.Issue, ""},
		{"skip consent, prompt=consent", oauth.AuthorizationRequest{Client: own, RedirectURI: https, Prompt: []string{"consent"}}, signedIn(time.Hour), nil, oauth.Consent, ""},
		{"vouched for, public, https", oauth.AuthorizationRequest{Client: ownPublic, RedirectURI: https}, signedIn(time.Hour), nil, oauth.Issue, ""},
		{"vouched for, public, loopback", oauth.AuthorizationRequest{Client: ownPublic, RedirectURI: loopback}, signedIn(time.Hour), allowed("read"), oauth.Consent, ""},
		{"public app scheme, silently", oauth.AuthorizationRequest{Client: ownPublic, RedirectURI: "com.example:/cb", Prompt: []string{"none"}}, signedIn(time.Hour), allowed("read"), oauth.Refuse, protocol.ConsentRequired},
		{"confidential on loopback", oauth.AuthorizationRequest{Client: web, RedirectURI: loopback}, signedIn(time.Hour), allowed("read"), oauth.Issue, ""},
		{"login wanted", oauth.AuthorizationRequest{Client: web, RedirectURI: https, Prompt: []string{"login"}, CreatedAt: made}, signedIn(time.Hour), allowed("read"), oauth.Login, ""},
		{"signed in for something else", oauth.AuthorizationRequest{Client: web, RedirectURI: https, Prompt: []string{"login"}, CreatedAt: made}, signedIn(time.Second), allowed("read"), oauth.Login, ""},
		{"login done", oauth.AuthorizationRequest{Client: web, RedirectURI: https, Prompt: []string{"login"}, CreatedAt: made, SignedIn: true}, signedIn(time.Second), allowed("read"), oauth.Issue, ""},
		{"too old", oauth.AuthorizationRequest{Client: web, RedirectURI: https, MaxAge: maxAge(time.Minute), CreatedAt: made}, signedIn(time.Hour), allowed("read"), oauth.Login, ""},
		{"young enough", oauth.AuthorizationRequest{Client: web, RedirectURI: https, MaxAge: maxAge(2 * time.Hour), CreatedAt: made}, signedIn(time.Hour), allowed("read"), oauth.Issue, ""},
		{"max_age 0, before", oauth.AuthorizationRequest{Client: web, RedirectURI: https, MaxAge: maxAge(0), CreatedAt: made}, signedIn(time.Minute), allowed("read"), oauth.Login, ""},
		{"max_age 0, after", oauth.AuthorizationRequest{Client: web, RedirectURI: https, MaxAge: maxAge(0), CreatedAt: made, SignedIn: true}, signedIn(time.Second), allowed("read"), oauth.Issue, ""},
		{"max_age 3, signed in for it, consent first", oauth.AuthorizationRequest{Client: web, RedirectURI: https, MaxAge: maxAge(3 * time.Second), CreatedAt: made, SignedIn: true}, signedIn(6 * time.Second), nil, oauth.Consent, ""},
		{"max_age 3, signed in for it, too long ago", oauth.AuthorizationRequest{Client: web, RedirectURI: https, MaxAge: maxAge(3 * time.Second), CreatedAt: made, SignedIn: true}, signedIn(6 * time.Second), allowed("read"), oauth.Login, ""},
		{"max_age 3, signed in for something else in time", oauth.AuthorizationRequest{Client: web, RedirectURI: https, MaxAge: maxAge(3 * time.Second), CreatedAt: made}, signedIn(time.Second), allowed("read"), oauth.Issue, ""},
		{"max_age 3 after prompt=consent", oauth.AuthorizationRequest{Client: web, RedirectURI: https, MaxAge: maxAge(3 * time.Second), Prompt: []string{"consent"}, CreatedAt: made, SignedIn: true, Approved: true}, signedIn(time.Second), allowed("read"), oauth.Issue, ""},
		{"too old, silently", oauth.AuthorizationRequest{Client: web, RedirectURI: https, MaxAge: maxAge(time.Minute), Prompt: []string{"none"}, CreatedAt: made}, signedIn(time.Hour), allowed("read"), oauth.Refuse, protocol.LoginRequired},
	} {
		in := oauth.DecisionInput{Candidate: c.who, Consent: c.consent}
		if c.who != nil {
			in.Users = 1
		}
		c.a.Permissions = permissionsOf(c.a)
		got, refusal := oauth.Decide(&c.a, in, now)
		code := ""
		if refusal != nil {
			code = refusal.Code
		}
		if got != c.want || code != c.code {
			t.Errorf("%s: got %d %q, want %d %q", c.name, got, code, c.want, c.code)
		}
	}
}

func TestDecideAmongSeveral(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	who := &identity.SignedInUser{Session: storage.BrowserSession{AuthTime: now.Add(-time.Hour)}}
	allowed := consentTo("openid", "claim:email")
	web := &storage.Client{AuthMethod: storage.AuthBasic}
	request := func(a oauth.AuthorizationRequest) oauth.AuthorizationRequest {
		a.Client, a.RedirectURI, a.Scopes, a.CreatedAt = web, "https://app.example/cb", []string{"openid"}, now.Add(-time.Minute)
		return a
	}
	for _, c := range []struct {
		name string
		a    oauth.AuthorizationRequest
		in   oauth.DecisionInput
		want oauth.Step
		code string
	}{
		{"which of two", oauth.AuthorizationRequest{}, oauth.DecisionInput{Users: 2}, oauth.SelectAccount, ""},
		{"which of two, silently", oauth.AuthorizationRequest{Prompt: []string{"none"}}, oauth.DecisionInput{Users: 2}, oauth.Refuse, protocol.AccountSelectionRequired},
		{"one of two by a hint", oauth.AuthorizationRequest{Prompt: []string{"none"}}, oauth.DecisionInput{Users: 2, Candidate: who, Consent: allowed}, oauth.Issue, ""},
		{"the named one is not here", oauth.AuthorizationRequest{RequiredSubject: "x"}, oauth.DecisionInput{Users: 2}, oauth.Login, ""},
		{"the named one is not here, silently", oauth.AuthorizationRequest{RequiredSubject: "x", Prompt: []string{"none"}}, oauth.DecisionInput{Users: 2}, oauth.Refuse, protocol.LoginRequired},
		{"another signed in", oauth.AuthorizationRequest{RequiredSubject: "x", SessionID: "s"}, oauth.DecisionInput{Users: 1, Candidate: who, SubjectMismatch: true}, oauth.Refuse, protocol.LoginRequired},
		{"select_account, one user", oauth.AuthorizationRequest{Prompt: []string{"select_account"}}, oauth.DecisionInput{Users: 1, Candidate: who, Consent: allowed}, oauth.SelectAccount, ""},
		{"select_account, no user", oauth.AuthorizationRequest{Prompt: []string{"select_account"}}, oauth.DecisionInput{}, oauth.Login, ""},
		{"chosen", oauth.AuthorizationRequest{Prompt: []string{"select_account"}, SessionID: "s"}, oauth.DecisionInput{Users: 2, Candidate: who, Consent: allowed}, oauth.Issue, ""},
		{"chosen, and signed out since", oauth.AuthorizationRequest{SessionID: "s"}, oauth.DecisionInput{Users: 1}, oauth.Login, ""},
		{"login wanted, two here", oauth.AuthorizationRequest{Prompt: []string{"login"}}, oauth.DecisionInput{Users: 2}, oauth.Login, ""},
		{"a claim that was allowed", oauth.AuthorizationRequest{Claims: []string{"claim:email"}}, oauth.DecisionInput{Users: 1, Candidate: who, Consent: allowed}, oauth.Issue, ""},
		{"a claim that was not", oauth.AuthorizationRequest{Claims: []string{"claim:name"}}, oauth.DecisionInput{Users: 1, Candidate: who, Consent: allowed}, oauth.Consent, ""},
	} {
		a := request(c.a)
		a.Permissions = permissionsOf(a)
		got, refusal := oauth.Decide(&a, c.in, now)
		code := ""
		if refusal != nil {
			code = refusal.Code
		}
		if got != c.want || code != c.code {
			t.Errorf("%s: got %d %q, want %d %q", c.name, got, code, c.want, c.code)
		}
	}
}
