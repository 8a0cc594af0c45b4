package claims

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/protocol"
)

// TestEveryClaimIsReserved fails when a claim that the server issues can be the name of another claim.
func TestEveryClaimIsReserved(t *testing.T) {
	t.Parallel()
	names := slices.Concat(Names(), IDTokenClaims())
	accessToken := reflect.TypeFor[accesstoken.Claims]()
	for i := range accessToken.NumField() {
		name, _, _ := strings.Cut(accessToken.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	for _, name := range names {
		// The claim of groups can have the names of the lists of RFC 9068 §2.2.3.1, which are in access tokens.
		if name != "groups" && name != "roles" && name != "-" && !protocol.IsReservedClaim(name) {
			t.Errorf("claim %s is not reserved", name)
		}
	}
}
