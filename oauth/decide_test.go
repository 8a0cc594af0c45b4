package oauth_test

import (
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/storage"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	made := now.Add(-time.Minute)
	signedIn := func(ago time.Duration) *identity.SignedIn {
		return &identity.SignedIn{Session: storage.BrowserSession{AuthTime: now.Add(-ago)}}
	}
	allowed := func(scopes ...string) *storage.Consent { return &storage.Consent{Scopes: scopes} }
	maxAge := func(d time.Duration) *time.Duration { return &d }
	web := &storage.Client{AuthMethod: storage.AuthBasic}
	own := &storage.Client{AuthMethod: storage.AuthBasic, SkipConsent: true}
	ownPublic := &storage.Client{AuthMethod: storage.AuthNone, SkipConsent: true}
	const https, loopback = "https://app.example/cb", "http://127.0.0.1:5000/cb"
	for _, c := range []struct {
		name    string
		a       oauth.Authorization
		who     *identity.SignedIn
		consent *storage.Consent
		want    oauth.Step
		code    string
	}{
		{"nobody", oauth.Authorization{Client: web, RedirectURI: https}, nil, nil, oauth.Login, ""},
		{"nobody, silently", oauth.Authorization{Client: web, RedirectURI: https, Prompt: []string{"none"}}, nil, nil, oauth.Refuse, oauth.LoginRequired},
		{"first time", oauth.Authorization{Client: web, RedirectURI: https, Scopes: []string{"read"}}, signedIn(time.Hour), nil, oauth.Consent, ""},
		{"first time, silently", oauth.Authorization{Client: web, RedirectURI: https, Prompt: []string{"none"}}, signedIn(time.Hour), nil, oauth.Refuse, oauth.ConsentRequired},
		{"remembered", oauth.Authorization{Client: web, RedirectURI: https, Scopes: []string{"read"}}, signedIn(time.Hour), allowed("read", "write"), oauth.Issue, ""},
		{"something new", oauth.Authorization{Client: web, RedirectURI: https, Scopes: []string{"read", "write"}}, signedIn(time.Hour), allowed("read"), oauth.Consent, ""},
		{"never asked", oauth.Authorization{Client: web, RedirectURI: https}, signedIn(time.Hour), allowed(), oauth.Consent, ""},
		{"asked to ask", oauth.Authorization{Client: web, RedirectURI: https, Prompt: []string{"consent"}}, signedIn(time.Hour), allowed("read"), oauth.Consent, ""},
		{"vouched for", oauth.Authorization{Client: own, RedirectURI: https, Scopes: []string{"read"}}, signedIn(time.Hour), nil, oauth.Issue, ""},
		{"vouched for, asked to ask", oauth.Authorization{Client: own, RedirectURI: https, Prompt: []string{"consent"}}, signedIn(time.Hour), nil, oauth.Consent, ""},
		{"vouched for, public, https", oauth.Authorization{Client: ownPublic, RedirectURI: https}, signedIn(time.Hour), nil, oauth.Issue, ""},
		{"vouched for, public, loopback", oauth.Authorization{Client: ownPublic, RedirectURI: loopback}, signedIn(time.Hour), allowed("read"), oauth.Consent, ""},
		{"public app scheme, silently", oauth.Authorization{Client: ownPublic, RedirectURI: "com.example:/cb", Prompt: []string{"none"}}, signedIn(time.Hour), allowed("read"), oauth.Refuse, oauth.ConsentRequired},
		{"confidential on loopback", oauth.Authorization{Client: web, RedirectURI: loopback}, signedIn(time.Hour), allowed("read"), oauth.Issue, ""},
		{"login wanted", oauth.Authorization{Client: web, RedirectURI: https, Prompt: []string{"login"}, CreatedAt: made}, signedIn(time.Hour), allowed("read"), oauth.Login, ""},
		{"login done", oauth.Authorization{Client: web, RedirectURI: https, Prompt: []string{"login"}, CreatedAt: made}, signedIn(time.Second), allowed("read"), oauth.Issue, ""},
		{"too old", oauth.Authorization{Client: web, RedirectURI: https, MaxAge: maxAge(time.Minute), CreatedAt: made}, signedIn(time.Hour), allowed("read"), oauth.Login, ""},
		{"young enough", oauth.Authorization{Client: web, RedirectURI: https, MaxAge: maxAge(2 * time.Hour), CreatedAt: made}, signedIn(time.Hour), allowed("read"), oauth.Issue, ""},
		{"max_age 0, before", oauth.Authorization{Client: web, RedirectURI: https, MaxAge: maxAge(0), CreatedAt: made}, signedIn(time.Minute), allowed("read"), oauth.Login, ""},
		{"max_age 0, after", oauth.Authorization{Client: web, RedirectURI: https, MaxAge: maxAge(0), CreatedAt: made}, signedIn(time.Second), allowed("read"), oauth.Issue, ""},
		{"too old, silently", oauth.Authorization{Client: web, RedirectURI: https, MaxAge: maxAge(time.Minute), Prompt: []string{"none"}, CreatedAt: made}, signedIn(time.Hour), allowed("read"), oauth.Refuse, oauth.LoginRequired},
	} {
		got, refusal := oauth.Decide(&c.a, c.who, c.consent, now)
		code := ""
		if refusal != nil {
			code = refusal.Cause.Code
		}
		if got != c.want || code != c.code {
			t.Errorf("%s: got %d %q, want %d %q", c.name, got, code, c.want, c.code)
		}
	}
}
