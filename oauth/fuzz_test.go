package oauth

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzRequestObject checks that the parameters of a request object have no claim about the JWT itself and no NUL, and
// that only resource is repeated.
func FuzzRequestObject(f *testing.F) {
	for _, s := range []string{
		`{"client_id":"gc1","scope":"openid","max_age":3,"claims":{"userinfo":{}},"resource":["a","b"],"iss":"x"}`,
		`{"a\u0000":1}`, `{"x":null}`,
	} {
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
		for name, values := range form {
			hasNUL := strings.Contains(name+strings.Join(values, ""), "\x00")
			if hasNUL || name == "iss" || len(values) > 1 && name != "resource" {
				t.Errorf("parameters of %s have %q = %q, want no iss, no NUL and no repetition", raw, name, values)
			}
		}
	})
}
