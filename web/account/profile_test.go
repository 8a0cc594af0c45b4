package account

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/oauth/claims"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
	"gatehouse/web/page"
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

// TestEveryClaimHasMessages checks what the consent page and the profile page show for a claim.
func TestEveryClaimHasMessages(t *testing.T) {
	t.Parallel()
	pages, err := page.New(page.Options{Issuer: &url.URL{Scheme: "https", Host: "id.example"}})
	storagetest.Must(t, err)
	for prefix, names := range map[string][]string{"claim.": claims.Names(), "profile.": storage.ProfileClaims()} {
		for _, name := range names {
			if pages.Text(httptest.NewRequest(http.MethodGet, "/", nil), prefix+name) == "" {
				t.Errorf("there is no message %s", prefix+name)
			}
		}
	}
}
