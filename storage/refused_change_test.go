package storage_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestRefusedChangeIsNoDatabaseFailure passes callbacks that refuse a change, and withdraws the consent that a code
// needs: the caller gets the reason, and not ErrUnavailable.
func TestRefusedChangeIsNoDatabaseFailure(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		reason := errors.New("the value is not accepted")
		const resource = "https://api.example"
		storagetest.Must(t, f.CreateResource(t.Context(), storage.Resource{Identifier: resource}))
		storagetest.Must(t, f.CreateAttribute(t.Context(), storage.Attribute{Name: "a", Claim: "a"}))
		for name, change := range map[string]func() error{
			"UpdateAttribute": func() error {
				return f.UpdateAttribute(t.Context(), "a", func(*storage.Attribute) error { return reason })
			},
			"UpdateClient": func() error {
				return f.UpdateClient(t.Context(), f.client.ID,
					func(*storage.Client) (update storage.ClientUpdate, err error) { return update, reason })
			},
			"UpdateUser": func() error {
				_, err := f.UpdateUser(t.Context(), f.user.ID, func(*storage.User) error { return reason })
				return err
			},
			"UpdateResource": func() error {
				return f.UpdateResource(t.Context(), resource, func(*storage.Resource) error { return reason })
			},
		} {
			if err := change(); err != reason { //nolint:errorlint // it must not even be wrapped
				t.Errorf("%s = %v, want exactly %v", name, err, reason)
			}
		}
		f.code(t, "the first code")
		consent, err := f.Consent(t.Context(), f.user.ID, f.client.ID)
		storagetest.Must(t, err)
		storagetest.Must(t, f.WithdrawConsent(t.Context(), f.user.ID, consent.ID))
		code, err := f.Code(t.Context(), []byte("the first code"))
		storagetest.Must(t, err)
		code.Hash = []byte("the second code")
		err = f.IssueCode(t.Context(), storage.Approval{Code: code, ConsentID: consent.ID})
		if !errors.Is(err, storage.ErrConsentWithdrawn) || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("IssueCode after the consent was withdrawn = %v, want ErrConsentWithdrawn and not ErrUnavailable", err)
		}
	})
}

// TestRequestOfOtherBrowserIsNoDatabaseFailure claims a stored request in one browser and reads it in another.
func TestRequestOfOtherBrowserIsNoDatabaseFailure(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		now := f.Now()
		r := storage.AuthorizationRequest{
			ID: "a request", ClientID: f.client.ID, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		}
		storagetest.Must(t, f.CreateRequest(t.Context(), &r))
		_, err := f.ClaimRequest(t.Context(), r.ID, []byte("one browser"))
		storagetest.Must(t, err)
		for name, read := range map[string]func(context.Context, string, []byte) (storage.AuthorizationRequest, error){
			"ClaimRequest": f.ClaimRequest, "ClaimedRequest": f.ClaimedRequest,
		} {
			_, err := read(t.Context(), r.ID, []byte("another browser"))
			if !errors.Is(err, storage.ErrOtherBrowser) || errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%s in another browser = %v, want ErrOtherBrowser and not ErrUnavailable", name, err)
			}
		}
	})
}
