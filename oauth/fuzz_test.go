package oauth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"gatehouse/oauth/protocol"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// The fuzz targets of what this package reads from strangers. Each has a property, besides that nothing panics.

// FuzzBasic: what is read from the Authorization header, written again, is read the same.
func FuzzBasic(f *testing.F) {
	for _, s := range []string{"Basic Z2MxOnNlY3JldA==", "basic  Og==", "Basic %%%", "Bearer x", "Basic " + base64.StdEncoding.EncodeToString([]byte("a%3Ab:c%00+d")), ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		id, secret, ok := basic(header)
		if !ok {
			return
		}
		again := "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
		if id2, secret2, ok := basic(again); !ok || id2 != id || secret2 != secret {
			t.Errorf("%q gives %q %q, written again %q %q", header, id, secret, id2, secret2)
		}
	})
}

// FuzzPresent: no request presents credentials by two methods, and a refusal is a protocol error.
func FuzzPresent(f *testing.F) {
	f.Add("Basic Z2MxOnNlY3JldA==", "client_id=gc1&client_secret=x")
	f.Add("", "client_assertion=a.b.c&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer")
	f.Add("", "client_id=gc1")
	f.Fuzz(func(t *testing.T, header, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		r := &http.Request{Header: http.Header{}}
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		p, err := present(r, form)
		if err != nil {
			if e := (*protocol.Error)(nil); !errors.As(err, &e) || e.Status() < 400 || e.Status() > 401 {
				t.Errorf("%v", err)
			}
			return
		}
		ways := 0
		for _, is := range []bool{header != "", form.Has("client_secret"), form.Has("client_assertion") || form.Has("client_assertion_type")} {
			if is {
				ways++
			}
		}
		if ways > 1 {
			t.Errorf("%d ways at once were taken for %s", ways, p.method)
		}
	})
}

// FuzzClaims: what is kept of a claims parameter is read the same again, and grows no more.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{`{"userinfo":{"email":{"essential":true},"name":null},"id_token":{"acr":{"values":["1"]},"sub":{"value":"x"}}}`, `{"userinfo":{"email":`, `[]`, `{"userinfo":7}`, strings.Repeat(`{"userinfo":`, 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, parameter string) {
		c, err := parseClaims(parameter)
		if err != nil {
			if AsError(err).Status() != http.StatusBadRequest {
				t.Errorf("%v", err)
			}
			return
		}
		words := []string{claimWord("email"), claimWord("name")}
		stored := c.kept(nil, words)
		again := keptClaims(stored)
		if second := again.kept(nil, words); second != stored {
			t.Errorf("%q is kept as %q, and then as %q", parameter, stored, second)
		}
	})
}

// FuzzMetadata: metadata that is accepted, written and read again, is the same, and what is incomplete is refused with a code.
func FuzzMetadata(f *testing.F) {
	for _, s := range []string{
		`{"redirect_uris":["https://a.example/cb"],"scope":"openid profile","grant_types":"authorization_code refresh_token"}`,
		`{"gatehouse_access_token_ttl":"15m","gatehouse_allowed_networks":["10.0.0.0/8","::1"]}`, `{"jwks":{"keys":[]}}`, `{"default_max_age":1e400}`, `{"redirect_uris":null}`, `7`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseMetadata(raw)
		if err == nil {
			err = m.complete()
		}
		if err != nil {
			if e := (*protocol.Error)(nil); !errors.As(err, &e) || e.Status() != http.StatusBadRequest {
				t.Errorf("%v", err)
			}
			return
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseMetadata(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if err := again.complete(); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if c, err := json.Marshal(again); err != nil || !bytes.Equal(b, c) {
			t.Errorf("%s\n%s\n%v", b, c, err)
		}
	})
}

// FuzzRequestObject: the parameters of a request object are never credentials of the JWT itself, and have no NUL.
func FuzzRequestObject(f *testing.F) {
	for _, s := range []string{`{"client_id":"gc1","scope":"openid","max_age":3,"claims":{"userinfo":{}},"resource":["a","b"],"iss":"x"}`, `{"a\u0000":1}`, `{"x":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var claims map[string]json.RawMessage
		if json.Unmarshal(raw, &claims) != nil {
			return
		}
		form, err := objectParameters(claims)
		if err != nil {
			return
		}
		for name, list := range form {
			if strings.Contains(name+strings.Join(list, ""), "\x00") || reflect.DeepEqual(name, "iss") || len(list) > 1 && name != "resource" {
				t.Errorf("%q: %q", name, list)
			}
		}
	})
}

// FuzzNetworks: networks that are accepted are in plain form.
func FuzzNetworks(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "::ffff:1.2.3.4", "2001:db8::1", "fe80::1%eth0", "0/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out, err := networks(List{s})
		if err != nil {
			return
		}
		if again, err := networks(out); err != nil || again[0] != out[0] || strings.Contains(out[0], "%") {
			t.Errorf("%q gives %q and then %q %v", s, out, again, err)
		}
	})
}
