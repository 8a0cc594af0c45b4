package claims

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"gatehouse/oauth/protocol"
)

// FuzzClaims checks that what a grant stores of a claims parameter is read the same again.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{`{"userinfo":{"email":{"essential":true},"name":null},"id_token":{"acr":{"values":["1"]},"sub":{"value":"x"}}}`, `{"userinfo":{"email":`, `[]`, `{"userinfo":7}`, strings.Repeat(`{"userinfo":`, 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, parameter string) {
		c, err := ParseRequest(parameter)
		if err != nil {
			if e := (*protocol.Error)(nil); !errors.As(err, &e) || e.Status() != http.StatusBadRequest {
				t.Errorf("%v", err)
			}
			return
		}
		permissions := []string{ConsentValue("email"), ConsentValue("name")}
		stored := c.Granted(nil, permissions)
		again := storedRequest(stored)
		if second := again.Granted(nil, permissions); second != stored {
			t.Errorf("%q is stored as %q, and then as %q", parameter, stored, second)
		}
	})
}
