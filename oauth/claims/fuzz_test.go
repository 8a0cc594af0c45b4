package claims

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"gatehouse/oauth/protocol"
)

// FuzzClaims checks that the form of a claims parameter that a grant stores does not change when it is read and stored
// again.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{
		`{"userinfo":{"email":{"essential":true},"name":null},"id_token":{"acr":{"values":["1"]},"sub":{"value":"x"}}}`,
		`{"userinfo":{"email":`, `[]`, `{"userinfo":7}`, strings.Repeat(`{"userinfo":`, 100),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, parameter string) {
		c, err := ParseRequest(parameter)
		if err != nil {
			if e := (*protocol.Error)(nil); !errors.As(err, &e) || e.Status() != http.StatusBadRequest {
				t.Errorf("ParseRequest(%q): error %v, want a protocol error with status 400", parameter, err)
			}
			return
		}
		permissions := []string{consentValue("email"), consentValue("name")}
		stored := c.Granted(nil, permissions)
		again := storedRequest(stored)
		if second := again.Granted(nil, permissions); second != stored {
			t.Errorf("%q is stored as %q, and read and stored again as %q, want no change", parameter, stored, second)
		}
	})
}
