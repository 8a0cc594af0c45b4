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

func numbered(n int, format, separator string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(items, separator)
}

// TestLongListsAreRefusedBeforeParsing sends lists without credentials, or with invalid ones: the error is about the
// list, so that the check came before client authentication and before any library.
func TestLongListsAreRefusedBeforeParsing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "off", "GATEHOUSE_REGISTRATION": "open"}})
		many, most := numbered(16_000, "%d", " "), numbered(100, "%d", " ")
		lists := map[string]string{"scope": "invalid_scope", "audience": "invalid_request", "prompt": "invalid_request", "acr_values": "invalid_request", "ui_locales": "invalid_request", "claims_locales": "invalid_request"}
		for name, code := range lists {
			for _, list := range []string{many[:60_000], numbered(101, "%d", " "), strings.Repeat(" ", 100), numbered(101, "%d", "\t")} {
				for path, form := range map[string]url.Values{
					"/oauth2/token": {"grant_type": {"client_credentials"}}, "/oauth2/introspect": {"token": {"x"}}, "/oauth2/revoke": {"token": {"x"}},
				} {
					form.Set(name, list)
					r := s.Post(path, servertest.UnregisteredClient("gcunknown"), form)
					r.Want(t, 400, code)
					if want := "The parameter " + name + " has more than 100 values."; r.Text("error_description") != want {
						t.Errorf("%s: %q, want %q", path, r.Text("error_description"), want)
					}
				}
			}
			s.Post("/oauth2/token", servertest.UnregisteredClient("gcunknown"), url.Values{"grant_type": {"client_credentials"}, name: {most}}).Want(t, 401, "invalid_client")
			c := s.Public()
			p := s.Browser().Authorize(c, name, numbered(101, "%d", " "))
			p.WantRedirectError(t, s, code)
			if got := p.Location().Query().Get("error_description"); got != "The parameter "+name+" has more than 100 values." {
				t.Error(got)
			}
		}
		key := clientKey(t, jwt.ES256, "1")
		c := s.RelyingParty(`"jwks":` + servertest.JWKS(t, key))
		object := func(changes ...any) servertest.Page {
			return openWithObject(s.Browser(), "client_id", c.ClientID, "request", key.Sign(t, objectClaims(s, c, changes...), nil), "redirect_uri", servertest.Callback, "response_type", "code", "state", "the state")
		}
		object("scope", numbered(101, "%d", " "), "state", "the state").WantRedirectError(t, s, "invalid_scope")
		object("resource", strings.Split(numbered(101, "https://%d.example", " "), " ")).WantRedirectError(t, s, "invalid_request_object")
		object("deep", nested(21)).WantRedirectError(t, s, "invalid_request_object")
		claims := `{"userinfo":{` + numbered(101, `"c%d":null`, ",") + `}}`
		s.Browser().Authorize(c, "scope", "openid", "claims", claims).WantRedirectError(t, s, "invalid_request")
		s.Browser().Authorize(c, "scope", "openid", "claims", strings.Repeat(`{"a":`, 21)+"1"+strings.Repeat("}", 21)).WantRedirectError(t, s, "invalid_request")
	})
}

func nested(depth int) any {
	var v any = 1
	for range depth {
		v = []any{v}
	}
	return v
}

func TestRequestsWithManyParametersAreRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "off", "GATEHOUSE_REGISTRATION": "open"}})
		many := numbered(101, "p%d=v", "&")
		post := func(path, body string) servertest.Response {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(body))
			storagetest.Must(t, err)
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return s.Do(req)
		}
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/userinfo"} {
			for _, r := range []servertest.Response{post(path, many), post(path, strings.Repeat("&", 100)), post(path+"?"+many, "token=x"), post(path, numbered(101, "resource=https://%d.example", "&"))} {
				r.Want(t, 400, "invalid_request")
				if r.Text("error_description") != "The request has more than 100 parameters." {
					t.Errorf("%s: %s", path, r.Body)
				}
			}
			if r := post(path, numbered(100, "p%d=v", "&")); strings.Contains(r.Body, "more than") {
				t.Errorf("%s: 100 parameters: %s", path, r.Body)
			}
		}
		for _, path := range []string{"/login", "/consent", "/oauth2/authorize", "/oauth2/logout", "/account", "/select"} {
			s.Browser().Open(path+"?"+many).WantErrorPage(t, 400)
		}
		for _, path := range []string{"/login", "/consent", "/oauth2/authorize", "/oauth2/logout/confirm", "/select", "/account/sign-out"} {
			form, n := url.Values{}, 101
			if path == "/consent" { // which has a field for each scope and claim
				n = 301
			}
			for i := range n {
				form.Set(fmt.Sprint("p", i), "v")
			}
			s.Browser().Submit(path, form).WantErrorPage(t, 400)
		}
	})
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
		"200 cookies": {200, func(h http.Header) { h.Set("Cookie", numbered(200, "c%d=v", "; ")) }},
		"201 cookies": {431, func(h http.Header) { h.Set("Cookie", numbered(201, "c%d=v", "; ")) }},
		"cookies in two fields": {431, func(h http.Header) {
			h.Add("Cookie", numbered(150, "c%d=v", "; "))
			h.Add("Cookie", numbered(150, "d%d=v", "; "))
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
		"a long media type": {431, func(h http.Header) { h.Set("Content-Type", "text/plain; "+numbered(100, "p%d=v", "; ")) }},
	} {
		if got := get(x.change); got != x.want {
			t.Errorf("%s: %d, want %d", name, got, x.want)
		}
	}
}

func TestLongListsInClientMetadataAreRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "off", "GATEHOUSE_REGISTRATION": "open"}})
		for name, body := range map[string]string{
			"scope must have at most 100 items.":                                     `{"scope":"` + numbered(101, "%d", " ") + `"}`,
			"redirect_uris must have at most 200 items.":                             `{"redirect_uris":"` + numbered(201, "https://%d.example", `\t`) + `"}`,
			"contacts must have at most 20 items.":                                   `{"contacts":["` + numbered(21, "%d", `","`) + `"]}`,
			"request_uris must have at most 20 items.":                               `{"request_uris":["` + numbered(21, "https://%d.example", `","`) + `"]}`,
			"grant_types must have at most 20 items.":                                `{"grant_types":["` + numbered(21, "%d", `","`) + `"]}`,
			"The client metadata has an object or array with more than 200 members.": `{` + numbered(201, `"m%d":1`, ",") + `}`,
			"The client metadata is nested deeper than 20.":                          `{"a":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`,
			"The client metadata has more than 2000 members in total.":               `{` + numbered(20, `"m%d":[`+numbered(150, "%d", ",")+`]`, ",") + `}`,
		} {
			r := selfRegister(s, body)
			r.Want(t, 400, "invalid_client_metadata")
			if r.Text("error_description") != name {
				t.Errorf("%q, want %q", r.Text("error_description"), name)
			}
		}
	})
}
