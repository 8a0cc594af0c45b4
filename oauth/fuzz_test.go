package oauth

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// The fuzz targets for input of untrusted clients. Each checks a property, not only that nothing panics.

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
		form, err := requestObjectParameters(claims)
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
