package web_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
	"gatehouse/web"
)

// A load is a part of a request that a client can make as large as it likes. fill puts n of something into the
// request.
type load struct {
	name string
	most int // the largest n, so that the part is about as large as the server reads
	fill func(r *shape, n int)
}

// shape is a request before it is sent.
type shape struct {
	query, body, kind string
	header            http.Header
}

// repeated returns n values with a separator between them. %d in the value is its number.
func repeated(n int, value, separator string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(separator)
		}
		if strings.Contains(value, "%d") {
			fmt.Fprintf(&b, value, i)
		} else {
			b.WriteString(value)
		}
	}
	return b.String()
}

const formType = "application/x-www-form-urlencoded"

// tokenRequest is the start of a token request with an assertion.
const tokenRequest = "grant_type=client_credentials&" +
	"client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&"

// loadList collects loads.
type loadList []load

func (l *loadList) add(name string, most int, fill func(r *shape, n int)) {
	*l = append(*l, load{name, most, fill})
}

func loads() (l loadList) {
	l.addParameters()
	l.addTokens()
	l.addJSON()
	l.addHeaderFields()
	return l
}

// addParameters adds loads of parameters in queries and forms.
func (l *loadList) addParameters() {
	for _, p := range []string{
		"scope", "audience", "prompt", "acr_values", "ui_locales", "claims_locales", "response_type", "grant_type",
	} {
		l.add("query "+p, 5000, func(r *shape, n int) { r.query = p + "=" + repeated(n, "w%d", "+") })
		l.add("form "+p, 8000, func(r *shape, n int) { r.body, r.kind = p+"="+repeated(n, "w%d", "+"), formType })
	}
	for _, p := range []string{"scope=w%d", "resource=https://%d.example", "p%d=v", "session=%d", "="} {
		l.add("query repeated "+p, 1000, func(r *shape, n int) { r.query = repeated(n, p, "&") })
		l.add("form repeated "+p, 2000, func(r *shape, n int) { r.body, r.kind = repeated(n, p, "&"), formType })
	}
	for _, p := range []string{
		"client_id", "redirect_uri", "state", "nonce", "login_hint", "claims", "request", "request_uri", "id_token_hint",
		"token", "client_assertion", "code", "code_verifier", "refresh_token",
		"username", "password", "form_token", "decision", "logout_hint", "name",
	} {
		l.add("query long "+p, 30_000, func(r *shape, n int) { r.query = p + "=" + strings.Repeat("x", n) })
		l.add("form long "+p, 60_000, func(r *shape, n int) {
			r.body, r.kind = tokenRequest+p+"="+strings.Repeat("x", n), formType
		})
	}
	claims := func(n int) string { return `{"userinfo":{` + repeated(n, `"c%d":null`, ",") + `}}` }
	l.add("query claims members", 200, func(r *shape, n int) { r.query = "claims=" + claims(n) })
	l.add("form claims members", 200, func(r *shape, n int) { r.body, r.kind = "claims="+claims(n), formType })
}

// addTokens adds loads of tokens with many or nested members.
func (l *loadList) addTokens() {
	jws := func(header, payload string) string {
		enc := base64.RawURLEncoding.EncodeToString
		return enc([]byte(header)) + "." + enc([]byte(payload)) + "." + enc(make([]byte, 64))
	}
	for name, token := range map[string]func(n int) string{
		"header members": func(n int) string {
			return jws(`{"alg":"ES256",`+repeated(n, `"h%d":1`, ",")+`}`, `{"iss":"x"}`)
		},
		"payload members": func(n int) string {
			return jws(`{"alg":"ES256"}`, `{"iss":"x",`+repeated(n, `"h%d":1`, ",")+`}`)
		},
		"nested payload": func(n int) string {
			return jws(`{"alg":"ES256"}`, `{"iss":"x","a":`+strings.Repeat("[", n)+strings.Repeat("]", n)+`}`)
		},
	} {
		for _, p := range []string{"client_assertion", "request", "id_token_hint", "token", "access_token"} {
			l.add("query "+p+" with "+name, 1500, func(r *shape, n int) { r.query = p + "=" + token(n) })
			l.add("form "+p+" with "+name, 2000, func(r *shape, n int) {
				r.body, r.kind = tokenRequest+p+"="+token(n), formType
			})
		}
		l.add("bearer with "+name, 1000, func(r *shape, n int) { r.header.Set("Authorization", "Bearer "+token(n)) })
	}
}

// addJSON adds loads of JSON bodies.
func (l *loadList) addJSON() {
	for name, body := range map[string]func(n int) string{
		"members":            func(n int) string { return `{` + repeated(n, `"m%d":1`, ",") + `}` },
		"nested":             func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` },
		"nested objects":     func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) },
		"scope":              func(n int) string { return `{"scope":"` + repeated(n, "w%d", " ") + `"}` },
		"scope array":        func(n int) string { return `{"scope":[` + repeated(n, `"w%d"`, ",") + `]}` },
		"redirect_uris":      func(n int) string { return `{"redirect_uris":[` + repeated(n, `"https://%d.e"`, ",") + `]}` },
		"redirect_uris text": func(n int) string { return `{"redirect_uris":"` + repeated(n, `https://%d.e`, `\t`) + `"}` },
		"contacts": func(n int) string {
			return `{"redirect_uris":["https://a.example/"],"contacts":[` + repeated(n, `"a%d"`, ",") + `]}`
		},
		"jwks": func(n int) string {
			return `{"redirect_uris":["https://a.example/"],"jwks":{"keys":[` + repeated(n, `{"kty":"%d"}`, ",") + `]}}`
		},
	} {
		l.add("JSON "+name, 2000, func(r *shape, n int) { r.body, r.kind = body(n), "application/json" })
	}
}

// addHeaderFields adds loads of header fields.
func (l *loadList) addHeaderFields() {
	header := func(name, value, separator string, most int) {
		l.add("header "+name, most, func(r *shape, n int) { r.header.Set(name, repeated(n, value, separator)) })
	}
	header("X-Forwarded-For", "192.0.2.1", ",", 5000)
	header("X-Forwarded-For", "127.0.0.1", ", ", 5000)
	header("Accept-Language", "l%d;q=0.5", ",", 4000)
	header("Accept", "a/%d", ",", 6000)
	header("Cookie", "c%d=v", "; ", 6000)
	header("If-None-Match", `"e%d"`, ",", 6000)
	header("Content-Type", "; p%d=v", "", 6000)
	header("User-Agent", "a%d/1", " ", 6000)
	header("Traceparent", "%d", "-", 6000)
	header("Forwarded", "for=192.0.2.%d", ",", 3000)
	l.add("many header fields", 2000, func(r *shape, n int) {
		for i := range n {
			r.header.Add("X-Forwarded-For", fmt.Sprint("192.0.2.", i%250))
		}
	})
	l.add("long Basic", 40_000, func(r *shape, n int) {
		r.body, r.kind = "grant_type=client_credentials", formType
		r.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("id:"+strings.Repeat("s", n))))
	})
}

// withDefaults adds to a non-empty encoded form the parameters of base that it does not have.
func withDefaults(base url.Values, form string) string {
	if form == "" {
		return ""
	}
	for name := range base {
		if !strings.Contains("&"+form, "&"+name+"=") {
			form += "&" + url.Values{name: base[name]}.Encode()
		}
	}
	return form
}

// work is what the server allocates for a request.
type work struct{ allocations, bytes uint64 }

// measure serves a request and returns the work and the size of the request.
func measure(
	s *servertest.Server, method, path string, base url.Values, l load, n int,
) (w work, size int, res *httptest.ResponseRecorder) {
	r := shape{header: http.Header{}}
	l.fill(&r, n)
	if r.kind == "" || strings.Contains(r.kind, "form") {
		r.query, r.body = withDefaults(base, r.query), withDefaults(base, r.body)
	}
	req := httptest.NewRequest(method, s.URL+path, strings.NewReader(r.body))
	req.URL.RawQuery, req.Header, req.RemoteAddr = r.query, r.header, "127.0.0.1:4711"
	req.RequestURI = req.URL.RequestURI()
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	size = len(r.query) + len(r.body)
	for name, values := range req.Header {
		size += len(name) + len(strings.Join(values, ","))
	}
	res = httptest.NewRecorder()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.Handler.ServeHTTP(res, req)
	runtime.ReadMemStats(&after)
	return work{after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc}, size, res
}

// within reports whether the work of a request of size bytes is within a constant factor of that of a short one and a
// small number of bytes for each of its own.
func (w work) within(short work, size int) bool {
	return w.allocations <= 2*short.allocations+400 && w.bytes <= 2*short.bytes+24*uint64(size)+64<<10
}

// TestWorkPerRouteIsBoundedForManyValues sends every route requests with many and long parts, and compares the work
// with that for a short one. It is not parallel, so that no other test of the package allocates concurrently. It does
// not measure work that allocates nothing, such as a quadratic search for duplicates:
// TestLongListsAreRefusedBeforeParsing checks that long lists are refused first.
func TestWorkPerRouteIsBoundedForManyValues(t *testing.T) {
	s := servertest.Start(t, storagetest.URL(t, storagetest.Engines(t)[0]), unlimited())
	app := s.Public()
	// A registered client, so that requests are processed as far as possible.
	base := servertest.AuthorizeForm(app, "grant_type", "refresh_token")
	base.Del("state")
	measured := 0
	for _, pattern := range web.Patterns() {
		method, path, found := strings.Cut(pattern, " ")
		if !found {
			method, path = http.MethodPost, method
		}
		path = strings.NewReplacer("{id}", "x", "{file}", "x", "{$}", "").Replace(path)
		for _, l := range loads() {
			measured++
			short, _, _ := measure(s, method, path, base, l, 1)
			long, size, res := measure(s, method, path, base, l, l.most)
			for try := 0; try < 5 && !long.within(short, size); try++ { // other goroutines of the process allocate too
				again, _, _ := measure(s, method, path, base, l, l.most)
				long = work{min(long.allocations, again.allocations), min(long.bytes, again.bytes)}
			}
			if !long.within(short, size) {
				t.Errorf("%s, %s (%d bytes): %+v, want about as much as for a short one, %+v: status %d, %.200s",
					pattern, l.name, size, long, short, res.Code, res.Body)
			}
		}
	}
	if measured < 1000 {
		t.Errorf("%d requests were measured, want at least 1000", measured)
	}
}
