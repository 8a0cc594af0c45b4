package oauth_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/jwt"
	"gatehouse/storage/storagetest"
)

// numberedList returns n items of a format with their numbers, with a separator between them.
func numberedList(n int, format, separator string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(items, separator)
}

// startUnlimited starts a server that has no rate limits, and open registration.
func startUnlimited(t *testing.T, db string) *servertest.Server {
	t.Helper()
	return servertest.Start(t, db, servertest.Options{Env: map[string]string{
		"GATEHOUSE_RATE_LIMITS": "off", "GATEHOUSE_REGISTRATION": "open",
	}})
}

// TestLongListsAreRefusedBeforeParsing sends lists without credentials, or with invalid ones: the error is about the
// list, so that the check came before client authentication and before any library.
func TestLongListsAreRefusedBeforeParsing(t *testing.T) {
	t.Parallel()
	lists := map[string]string{
		"scope": "invalid_scope", "audience": "invalid_request", "prompt": "invalid_request",
		"acr_values": "invalid_request", "ui_locales": "invalid_request", "claims_locales": "invalid_request",
	}
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startUnlimited(t, db)
		for name, code := range lists {
			wantLongFormListsRefused(t, s, name, code)
			form := url.Values{"grant_type": {"client_credentials"}, name: {numberedList(100, "%d", " ")}}
			s.Post("/oauth2/token", servertest.UnregisteredClient("gcunknown"), form).Want(t, 401, "invalid_client")
			p := s.Browser().Authorize(s.Public(), name, numberedList(101, "%d", " "))
			p.WantRedirectError(t, s, code)
			got, want := p.Location().Query().Get("error_description"), "The parameter "+name+" has more than 100 values."
			if got != want {
				t.Errorf("error_description = %q, want %q", got, want)
			}
		}
	})
}

// wantLongFormListsRefused fails unless each endpoint that reads a form refuses long lists in the parameter.
func wantLongFormListsRefused(t *testing.T, s *servertest.Server, name, code string) {
	t.Helper()
	for _, list := range []string{
		numberedList(16_000, "%d", " ")[:60_000], numberedList(101, "%d", " "), numberedList(101, "%d", "\t"),
		strings.Repeat(" ", 100),
	} {
		for path, form := range map[string]url.Values{
			"/oauth2/token":      {"grant_type": {"client_credentials"}},
			"/oauth2/introspect": {"token": {"x"}},
			"/oauth2/revoke":     {"token": {"x"}},
		} {
			form.Set(name, list)
			r := s.Post(path, servertest.UnregisteredClient("gcunknown"), form)
			r.Want(t, 400, code)
			got, want := r.Text("error_description"), "The parameter "+name+" has more than 100 values."
			if got != want {
				t.Errorf("%s: error_description = %q, want %q", path, got, want)
			}
		}
	}
}

func TestLongListsInRequestObjectsAndClaimsAreRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startUnlimited(t, db)
		key := clientKey(t, jwt.ES256, "1")
		c := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
		openObject := func(changes ...any) servertest.Page {
			return openObjectOf(s.Browser(), c, key.Sign(t, objectClaims(s, c, changes...), nil))
		}
		openObject("scope", numberedList(101, "%d", " "), "state", "the state").WantRedirectError(t, s, "invalid_scope")
		resources := strings.Split(numberedList(101, "https://%d.example", " "), " ")
		openObject("resource", resources).WantRedirectError(t, s, "invalid_request_object")
		openObject("deep", nestedArray(21)).WantRedirectError(t, s, "invalid_request_object")
		for _, claims := range []string{
			`{"userinfo":{` + numberedList(101, `"c%d":null`, ",") + `}}`,
			strings.Repeat(`{"a":`, 21) + "1" + strings.Repeat("}", 21),
		} {
			s.Browser().Authorize(c, "scope", "openid", "claims", claims).WantRedirectError(t, s, "invalid_request")
		}
	})
}

// nestedArray returns arrays in one another, so many levels deep.
func nestedArray(depth int) any {
	var v any = 1
	for range depth {
		v = []any{v}
	}
	return v
}

func TestRequestsWithManyParametersAreRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startUnlimited(t, db)
		many := numberedList(101, "p%d=v", "&")
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/userinfo"} {
			for _, r := range []servertest.Response{
				postBody(s, path, many), postBody(s, path, strings.Repeat("&", 100)), postBody(s, path+"?"+many, "token=x"),
				postBody(s, path, numberedList(101, "resource=https://%d.example", "&")),
			} {
				r.Want(t, 400, "invalid_request")
				const want = "The request has more than 100 parameters."
				if got := r.Text("error_description"); got != want {
					t.Errorf("%s: error_description = %q, want %q", path, got, want)
				}
			}
			if r := postBody(s, path, numberedList(100, "p%d=v", "&")); strings.Contains(r.Body, "more than") {
				t.Errorf("%s with 100 parameters: %s, want no error about their number", path, r.Body)
			}
		}
		for _, path := range []string{
			"/login", "/consent", "/oauth2/authorize", "/oauth2/logout", "/account", "/select",
		} {
			s.Browser().Open(path+"?"+many).WantErrorPage(t, 400)
		}
		for _, path := range []string{
			"/login", "/consent", "/oauth2/authorize", "/oauth2/logout/confirm", "/select", "/account/sign-out",
		} {
			form, n := url.Values{}, 101
			if path == "/consent" { // it has a field for each scope and claim
				n = 301
			}
			for i := range n {
				form.Set(fmt.Sprint("p", i), "v")
			}
			s.Browser().Submit(path, form).WantErrorPage(t, 400)
		}
	})
}

// postBody sends a body as a form, whatever it contains.
func postBody(s *servertest.Server, path, body string) servertest.Response {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.URL+path, strings.NewReader(body))
	storagetest.Must(s.T, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.Do(req)
}

func TestLargeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{})
	get := func(change func(h http.Header)) int {
		req := s.Request(http.MethodGet, "/login", nil)
		change(req.Header)
		return s.Do(req).Status
	}
	for name, x := range map[string]struct {
		want   int
		change func(h http.Header)
	}{
		"200 cookies": {200, func(h http.Header) { h.Set("Cookie", numberedList(200, "c%d=v", "; ")) }},
		"201 cookies": {431, func(h http.Header) { h.Set("Cookie", numberedList(201, "c%d=v", "; ")) }},
		"cookies in two fields": {431, func(h http.Header) {
			h.Add("Cookie", numberedList(150, "c%d=v", "; "))
			h.Add("Cookie", numberedList(150, "d%d=v", "; "))
		}},
		"90 fields": {200, func(h http.Header) {
			for i := range 90 {
				h.Add("X-A", fmt.Sprint(i))
			}
		}},
		"101 fields": {431, func(h http.Header) {
			for i := range 101 {
				h.Add("X-A", fmt.Sprint(i))
			}
		}},
		"a long media type": {431, func(h http.Header) {
			h.Set("Content-Type", "text/plain; "+numberedList(100, "p%d=v", "; "))
		}},
	} {
		if got := get(x.change); got != x.want {
			t.Errorf("%s: status = %d, want %d", name, got, x.want)
		}
	}
}

func TestLongListsInClientMetadataAreRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startUnlimited(t, db)
		for _, x := range []struct{ body, want string }{
			{`{"scope":"` + numberedList(101, "%d", " ") + `"}`, "scope must have at most 100 items."},
			{
				`{"redirect_uris":"` + numberedList(201, "https://%d.example", `\t`) + `"}`,
				"redirect_uris must have at most 200 items.",
			},
			{`{"contacts":["` + numberedList(21, "%d", `","`) + `"]}`, "contacts must have at most 20 items."},
			{
				`{"request_uris":["` + numberedList(21, "https://%d.example", `","`) + `"]}`,
				"request_uris must have at most 20 items.",
			},
			{`{"grant_types":["` + numberedList(21, "%d", `","`) + `"]}`, "grant_types must have at most 20 items."},
			{
				`{` + numberedList(201, `"m%d":1`, ",") + `}`,
				"The client metadata has an object or array with more than 200 members.",
			},
			{
				`{"a":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`,
				"The client metadata is nested deeper than 20.",
			},
			{
				`{` + numberedList(20, `"m%d":[`+numberedList(150, "%d", ",")+`]`, ",") + `}`,
				"The client metadata has more than 2000 members in total.",
			},
		} {
			r := selfRegister(s, x.body)
			r.Want(t, 400, "invalid_client_metadata")
			if got := r.Text("error_description"); got != x.want {
				t.Errorf("error_description = %q, want %q", got, x.want)
			}
		}
	})
}
