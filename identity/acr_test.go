package identity_test

import (
	"testing"

	"gatehouse/identity"
)

// GX49: a stronger class satisfies a weaker one, and nothing satisfies an unsupported one.
func TestACROrder(t *testing.T) {
	t.Parallel()
	order := identity.ACRValues()
	for i, have := range order {
		for k, want := range order {
			if got := identity.ACRSatisfies(have, want); got != (i >= k) {
				t.Errorf("ACRSatisfies(%q, %q) = %t", have, want, got)
			}
			if got := identity.StrongerACR(have, want); got != order[max(i, k)] {
				t.Errorf("StrongerACR(%q, %q) = %q", have, want, got)
			}
		}
		if !identity.ACRSatisfies(have, "") || identity.ACRSatisfies("", have) {
			t.Errorf("%q: an empty requirement is met, and no authentication meets none but that", have)
		}
		if identity.ACRSatisfies(have, "0") || identity.ACRSatisfies("0", have) {
			t.Errorf("%q: an unsupported class satisfies it, or is satisfied by it", have)
		}
		if got := identity.StrongerACR("", have); got != have {
			t.Errorf("StrongerACR of none and %q: %q", have, got)
		}
	}
}
