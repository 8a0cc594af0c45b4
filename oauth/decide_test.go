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

// consentTo returns a consent to scopes, and claims, that belong to no API.
func consentTo(names ...string) *storage.Consent {
	c := &storage.Consent{Scopes: names}
	for _, name := range names {
		c.ResourceScopes = append(c.ResourceScopes, storage.ResourceScope("", name))
	}
	return c
}

// permissionsOf returns the scopes and claims of a request, where no API has any of them.
func permissionsOf(a oauth.AuthorizationRequest) (out []oauth.Permission) {
	for _, name := range slices.Concat(a.Scopes, a.Claims) {
		out = append(out, oauth.Permission{Name: name})
	}
	return out
}

// decisionTime is the time of the decisions; the requests were created a minute before.
var decisionTime = time.Unix(1_800_000_000, 0)

// checkDecision compares the step for a request, and the error code of a refusal.
func checkDecision(
	t *testing.T, name string, a oauth.AuthorizationRequest, in oauth.DecisionInput, want oauth.Step, wantCode string,
) {
	t.Helper()
	a.CreatedAt = decisionTime.Add(-time.Minute)
	a.Permissions = permissionsOf(a)
	got, refusal := oauth.Decide(&a, in, decisionTime)
	code := ""
	if refusal != nil {
		code = refusal.Code
	}
	if got != want || code != wantCode {
		t.Errorf("%s: got %d %q, want %d %q", name, got, code, want, wantCode)
	}
}

// A decisionCase is a request in a browser with one user, or none.
type decisionCase struct {
	name    string
	a       oauth.AuthorizationRequest // of a confidential client with an https redirect URI, unless it has its own
	user    *identity.SignedInUser
	consent *storage.Consent
	want    oauth.Step
	code    string
}

func checkDecisions(t *testing.T, cases []decisionCase) {
	t.Helper()
	for _, c := range cases {
		in := oauth.DecisionInput{Candidate: c.user, Consent: c.consent}
		if c.user != nil {
			in.Users = 1
		}
		if c.a.Client == nil {
			c.a.Client = &storage.Client{AuthMethod: storage.AuthBasic}
		}
		if c.a.RedirectURI == "" {
			c.a.RedirectURI = "https://app.example/cb"
		}
		checkDecision(t, c.name, c.a, in, c.want, c.code)
	}
}

// userSignedIn returns a user who signed in that long ago.
func userSignedIn(ago time.Duration) *identity.SignedInUser {
	return &identity.SignedInUser{Session: storage.BrowserSession{AuthTime: decisionTime.Add(-ago)}}
}

func TestDecideOnConsent(t *testing.T) {
	t.Parallel()
	type request = oauth.AuthorizationRequest
	own := &storage.Client{AuthMethod: storage.AuthBasic, SkipConsent: true}
	ownPublic := &storage.Client{AuthMethod: storage.AuthNone, SkipConsent: true}
	const loopback = "http://127.0.0.1:5000/cb"
	none, consent := []string{"none"}, []string{"consent"}
	read, readWrite := []string{"read"}, []string{"read", "write"}
	checkDecisions(t, []decisionCase{
		{"no user", request{}, nil, nil, oauth.Login, ""},
		{"no user, prompt=none", request{Prompt: none}, nil, nil, oauth.Refuse, protocol.LoginRequired},
		{"no consent", request{Scopes: read}, userSignedIn(time.Hour), nil, oauth.Consent, ""},
		{"no consent, prompt=none", request{Prompt: none},
			userSignedIn(time.Hour), nil, oauth.Refuse, protocol.ConsentRequired},
		{"consent", request{Scopes: read}, userSignedIn(time.Hour), consentTo("read", "write"), oauth.Issue, ""},
		{"a new scope", request{Scopes: readWrite}, userSignedIn(time.Hour), consentTo("read"), oauth.Consent, ""},
		{"consent to nothing", request{}, userSignedIn(time.Hour), consentTo(), oauth.Consent, ""},
		{"prompt=consent", request{Prompt: consent}, userSignedIn(time.Hour), consentTo("read"), oauth.Consent, ""},
		{"skip consent", request{Client: own, Scopes: read}, userSignedIn(time.Hour), nil, oauth.Issue, ""},
		{"skip consent, prompt=consent", request{Client: own, Prompt: consent},
			userSignedIn(time.Hour), nil, oauth.Consent, ""},
		{"skip consent, public, https", request{Client: ownPublic}, userSignedIn(time.Hour), nil, oauth.Issue, ""},
		{"skip consent, public, loopback", request{Client: ownPublic, RedirectURI: loopback},
			userSignedIn(time.Hour), consentTo("read"), oauth.Consent, ""},
		{"public, private-use scheme, prompt=none",
			request{Client: ownPublic, RedirectURI: "com.example:/cb", Prompt: none},
			userSignedIn(time.Hour), consentTo("read"), oauth.Refuse, protocol.ConsentRequired},
		{"confidential, loopback", request{RedirectURI: loopback},
			userSignedIn(time.Hour), consentTo("read"), oauth.Issue, ""},
	})
}

func TestDecideOnRequiredGroups(t *testing.T) {
	t.Parallel()
	type request = oauth.AuthorizationRequest
	none := []string{"none"}
	consent, recent := consentTo("read"), userSignedIn(time.Minute)
	for _, c := range []struct {
		name string
		a    request
		in   oauth.DecisionInput
		want oauth.Step
		code string
	}{
		{"without consent", request{}, oauth.DecisionInput{Candidate: recent}, oauth.NoAccess, ""},
		{"with consent", request{}, oauth.DecisionInput{Candidate: recent, Consent: consent}, oauth.NoAccess, ""},
		{"not signed in", request{}, oauth.DecisionInput{}, oauth.Login, ""},
		{"prompt=none without consent", request{Prompt: none}, oauth.DecisionInput{Candidate: recent},
			oauth.Refuse, protocol.ConsentRequired},
		{"prompt=none with consent", request{Prompt: none}, oauth.DecisionInput{Candidate: recent, Consent: consent},
			oauth.Refuse, protocol.AccessDenied},
		{"prompt=none for a named user", request{Prompt: none, RequiredSubject: "u"},
			oauth.DecisionInput{Candidate: recent, Consent: consent}, oauth.Refuse, protocol.LoginRequired},
	} {
		c.a.Client, c.a.RedirectURI = &storage.Client{AuthMethod: storage.AuthBasic}, "https://app.example/cb"
		c.a.Scopes, c.in.LacksGroup, c.in.Users = []string{"read"}, c.in.Candidate != nil, 1
		checkDecision(t, c.name, c.a, c.in, c.want, c.code)
	}
}

func TestDecideOnClientsThatAreNotVerified(t *testing.T) {
	t.Parallel()
	recent, read := userSignedIn(time.Minute), []string{"read"}
	for _, c := range []struct {
		name string
		a    oauth.AuthorizationRequest
		in   oauth.DecisionInput
		want oauth.Step
		code string
	}{
		{"first", oauth.AuthorizationRequest{}, oauth.DecisionInput{}, oauth.Confirm, ""},
		{"confirmed", oauth.AuthorizationRequest{Confirmed: true}, oauth.DecisionInput{}, oauth.Consent, ""},
		{"without the group", oauth.AuthorizationRequest{}, oauth.DecisionInput{LacksGroup: true}, oauth.NoAccess, ""},
		{"too old a sign-in", oauth.AuthorizationRequest{MaxAge: new(time.Second)},
			oauth.DecisionInput{}, oauth.Login, ""},
		{"prompt=none", oauth.AuthorizationRequest{Prompt: []string{"none"}},
			oauth.DecisionInput{}, oauth.Refuse, protocol.ConsentRequired},
		{"consent that the operator skips",
			oauth.AuthorizationRequest{Client: &storage.Client{AuthMethod: storage.AuthBasic, SkipConsent: true}},
			oauth.DecisionInput{}, oauth.Issue, ""},
	} {
		if c.a.Client == nil {
			c.a.Client = &storage.Client{AuthMethod: storage.AuthBasic}
		}
		c.a.RedirectURI, c.a.Scopes = "https://app.example/cb", read
		c.in.NeedsConfirmation, c.in.Candidate, c.in.Users = true, recent, 1
		checkDecision(t, c.name, c.a, c.in, c.want, c.code)
	}
}

func TestDecideOnSignIn(t *testing.T) {
	t.Parallel()
	type request = oauth.AuthorizationRequest
	maxAge := func(d time.Duration) *time.Duration { return &d }
	none, login, consent := []string{"none"}, []string{"login"}, []string{"consent"}
	checkDecisions(t, []decisionCase{
		{"prompt=login", request{Prompt: login}, userSignedIn(time.Hour), consentTo("read"), oauth.Login, ""},
		{"prompt=login, signed in for another request", request{Prompt: login},
			userSignedIn(time.Second), consentTo("read"), oauth.Login, ""},
		{"prompt=login, signed in for this request", request{Prompt: login, SignedIn: true},
			userSignedIn(time.Second), consentTo("read"), oauth.Issue, ""},
		{"max_age exceeded", request{MaxAge: maxAge(time.Minute)},
			userSignedIn(time.Hour), consentTo("read"), oauth.Login, ""},
		{"max_age not exceeded", request{MaxAge: maxAge(2 * time.Hour)},
			userSignedIn(time.Hour), consentTo("read"), oauth.Issue, ""},
		{"max_age 0, signed in before", request{MaxAge: maxAge(0)},
			userSignedIn(time.Minute), consentTo("read"), oauth.Login, ""},
		{"max_age 0, signed in for this request", request{MaxAge: maxAge(0), SignedIn: true},
			userSignedIn(time.Second), consentTo("read"), oauth.Issue, ""},
		{"max_age 3, signed in for this request, no consent", request{MaxAge: maxAge(3 * time.Second), SignedIn: true},
			userSignedIn(6 * time.Second), nil, oauth.Consent, ""},
		{"max_age 3, signed in for this request, exceeded", request{MaxAge: maxAge(3 * time.Second), SignedIn: true},
			userSignedIn(6 * time.Second), consentTo("read"), oauth.Login, ""},
		{"max_age 3, signed in for another request, not exceeded", request{MaxAge: maxAge(3 * time.Second)},
			userSignedIn(time.Second), consentTo("read"), oauth.Issue, ""},
		{"max_age 3 after prompt=consent",
			request{MaxAge: maxAge(3 * time.Second), Prompt: consent, SignedIn: true, Approved: true},
			userSignedIn(time.Second), consentTo("read"), oauth.Issue, ""},
		{"max_age exceeded, prompt=none", request{MaxAge: maxAge(time.Minute), Prompt: none},
			userSignedIn(time.Hour), consentTo("read"), oauth.Refuse, protocol.LoginRequired},
	})
}

func TestDecideAmongSeveralUsers(t *testing.T) {
	t.Parallel()
	type (
		request = oauth.AuthorizationRequest
		input   = oauth.DecisionInput
	)
	user := userSignedIn(time.Hour)
	allowed := consentTo("openid", "claim:email")
	oneUser := input{Users: 1, Candidate: user, Consent: allowed}
	oneOfTwo := input{Users: 2, Candidate: user, Consent: allowed}
	none, selectAccount := []string{"none"}, []string{"select_account"}
	for _, c := range []struct {
		name string
		a    request
		in   input
		want oauth.Step
		code string
	}{
		{"two users", request{}, input{Users: 2}, oauth.SelectAccount, ""},
		{"two users, prompt=none", request{Prompt: none},
			input{Users: 2}, oauth.Refuse, protocol.AccountSelectionRequired},
		{"one of two by a hint", request{Prompt: none}, oneOfTwo, oauth.Issue, ""},
		{"the required user is not signed in", request{RequiredSubject: "x"}, input{Users: 2}, oauth.Login, ""},
		{"the required user is not signed in, prompt=none", request{RequiredSubject: "x", Prompt: none},
			input{Users: 2}, oauth.Refuse, protocol.LoginRequired},
		{"another user than the required one signed in", request{RequiredSubject: "x", SessionID: "s"},
			input{Users: 1, Candidate: user, SubjectMismatch: true}, oauth.Refuse, protocol.LoginRequired},
		{"select_account, one user", request{Prompt: selectAccount}, oneUser, oauth.SelectAccount, ""},
		{"select_account, no user", request{Prompt: selectAccount}, input{}, oauth.Login, ""},
		{"selected", request{Prompt: selectAccount, SessionID: "s"}, oneOfTwo, oauth.Issue, ""},
		{"selected, then signed out", request{SessionID: "s"}, input{Users: 1}, oauth.Login, ""},
		{"prompt=login, two users", request{Prompt: []string{"login"}}, input{Users: 2}, oauth.Login, ""},
		{"a claim that was allowed", request{Claims: []string{"claim:email"}}, oneUser, oauth.Issue, ""},
		{"a claim that was not allowed", request{Claims: []string{"claim:name"}}, oneUser, oauth.Consent, ""},
	} {
		c.a.Client = &storage.Client{AuthMethod: storage.AuthBasic}
		c.a.RedirectURI, c.a.Scopes = "https://app.example/cb", []string{"openid"}
		checkDecision(t, c.name, c.a, c.in, c.want, c.code)
	}
}
