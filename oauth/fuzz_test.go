package oauth

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// The fuzz targets of what this package reads from strangers. Each has a property, besides that nothing panics.

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
