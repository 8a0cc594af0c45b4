package params_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/oauth/params"
)

func request(method, target, contentType, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

const form = "application/x-www-form-urlencoded"

func TestFormAcceptsOnlyWellFormedParameters(t *testing.T) {
	t.Parallel()
	const body = "a=1&empty=&resource=x&resource=y&plus=a+b%2Bc"
	got, err := params.Form(request("POST", "/?client_id=query", form+"; charset=UTF-8", body))
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{"a": {"1"}, "resource": {"x", "y"}, "plus": {"a b+c"}}
	if got.Encode() != want.Encode() {
		t.Errorf("Form = %v, want %v", got, want)
	}
	for name, r := range map[string]*http.Request{
		"GET":                   request("GET", "/", form, ""),
		"repeated":              request("POST", "/", form, "a=1&a=1"),
		"repeated and empty":    request("POST", "/", form, "a=1&a="),
		"multipart":             request("POST", "/", "multipart/form-data; boundary=x", ""),
		"JSON":                  request("POST", "/", "application/json", "{}"),
		"no type":               request("POST", "/", "", "a=1"),
		"secret in the query":   request("POST", "/?client_secret=x", form, "a=1"),
		"token in the query":    request("POST", "/?token=x", form, "a=1"),
		"too large":             request("POST", "/", form, "a="+strings.Repeat("x", params.MaxBodySize)),
		"invalid escape":        request("POST", "/", form, "a=%zz"),
		"semicolon":             request("POST", "/", form, "a=1;b=2"),
		"not UTF-8":             request("POST", "/", form, "a=%ff"),
		"NUL":                   request("POST", "/", form, "a=%00"),
		"repeated in the query": request("POST", "/?a=1&a=2", form, "b=1"),
	} {
		if got, err := params.Form(r); err == nil {
			t.Errorf("%s: Form = %v, want an error", name, got)
		}
	}
}

// FuzzForm checks that accepted parameters have no empty values, that only resource is repeated, and that they are the
// same after encoding and parsing them again.
func FuzzForm(f *testing.F) {
	for _, s := range []string{"a=1&b=2", "a=1&a=2", "resource=a&resource=b", "a=%41&=x", "a", "&&", "a=%F0%9F%98%80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := params.Form(request("POST", "/", form, body))
		if err != nil {
			return
		}
		for name, list := range got {
			if len(list) == 0 || len(list) > 1 && name != "resource" {
				t.Errorf("parameter %q has %d values, want one; only resource may be repeated", name, len(list))
			}
			for _, v := range list {
				if v == "" || strings.ContainsRune(v, 0) {
					t.Errorf("parameter %q = %q, want no empty value and no NUL", name, v)
				}
			}
		}
		if encoded := got.Encode(); len(encoded) <= params.MaxBodySize {
			again, err := params.Form(request("POST", "/", form, encoded))
			if err != nil || again.Encode() != encoded {
				t.Errorf("Form(%q), encoded and parsed again = %q, %v, want %q", body, again.Encode(), err, encoded)
			}
		}
	})
}

// FuzzSanitize checks that a sanitized string has only the characters of an error_description (RFC 6749 §5.2).
func FuzzSanitize(f *testing.F) {
	f.Add("a\"b\\c\x00é")
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range params.Sanitize(s) {
			if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
				t.Errorf("Sanitize(%q) contains %q, want only characters of RFC 6749 §5.2", s, c)
			}
		}
	})
}

func TestFormWithListsAllowsOnlyListsToRepeat(t *testing.T) {
	t.Parallel()
	const limit = 150
	many := strings.Repeat("&scope=a", limit-1)
	for body, want := range map[string]int{
		"request=x&scope=a&scope=b":   2,
		"request=x":                   0,
		"request=x" + many:            limit - 1,
		"request=x&request=y":         -1,
		"scope=a&session=x&session=y": -1,
		"request=x&scope=a" + many:    -1,
		"scope=\xff&scope=a":          -1,
	} {
		got, err := params.FormWithLists(request("POST", "/", form, body), limit, "scope")
		switch {
		case want < 0 && err == nil:
			t.Errorf("FormWithLists(%.40q) = %.40v, want an error", body, got)
		case want >= 0 && (err != nil || len(got["scope"]) != want):
			t.Errorf("FormWithLists(%.40q) has %d values of scope (%v), want %d", body, len(got["scope"]), err, want)
		}
	}
}
