package account

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/storage"
)

func TestEveryProfileClaimHasInput(t *testing.T) {
	t.Parallel()
	var got []string
	for _, section := range profileForm {
		for _, f := range section.fields {
			got = append(got, f[0])
		}
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(append(storage.ProfileClaims(), "name")))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inputs of the profile form (-want +got):\n%s", diff)
	}
}
