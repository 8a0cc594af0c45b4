package storage_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// wantRefusal fails the test unless the error is a RefusalError with the reason.
func wantRefusal(t *testing.T, what string, err error, reason string) {
	t.Helper()
	var refusal *storage.RefusalError
	if !errors.As(err, &refusal) || !errors.Is(err, storage.ErrNotFound) || refusal.Reason != reason {
		t.Errorf("%s = %v, want a RefusalError: %s", what, err, reason)
	}
}

// TestCodeRefusalStatesReason presents codes with an invalid binding. Each code stays unused.
func TestCodeRefusalStatesReason(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		valid := f.code(t, "a code")
		other := "https://other.example"
		for reason, change := range map[string]func(r *storage.Redemption){
			"an unknown code":                       func(r *storage.Redemption) { r.Hash = []byte("unknown") },
			"the code was issued to another client": func(r *storage.Redemption) { r.ClientID = "gc2" },
			storage.RefusedRedirectURI:              func(r *storage.Redemption) { r.RedirectURI = &other },
			storage.RefusedMissingVerifier:          func(r *storage.Redemption) { r.Challenge = "" },
			storage.RefusedVerifier:                 func(r *storage.Redemption) { r.Challenge = "another" },
		} {
			r := valid
			change(&r)
			_, err := f.RedeemCode(t.Context(), r)
			wantRefusal(t, "RedeemCode", err, reason)
		}
		_, err := f.RedeemCode(t.Context(), valid)
		storagetest.Must(t, err)
		expired := f.code(t, "an expired code")
		f.clock.Advance(2 * time.Minute)
		_, err = f.RedeemCode(t.Context(), expired)
		wantRefusal(t, "RedeemCode", err, "the code has expired")
	})
}

// TestEndedAuthorizationIsRefusedWithReason ends what a code and a grant depend on.
func TestEndedAuthorizationIsRefusedWithReason(t *testing.T) {
	t.Parallel()
	for reason, end := range map[string]func(ctx context.Context, f *fixture) error{
		"the client is disabled": func(ctx context.Context, f *fixture) error { return f.DisableClient(ctx, "gc1") },
		"the user is disabled":   func(ctx context.Context, f *fixture) error { return f.DisableUser(ctx, f.user.ID) },
		"the tokens of the client were revoked": func(ctx context.Context, f *fixture) error {
			return f.RevokeClientTokens(ctx, "gc1")
		},
		"the tokens of the user were revoked": func(ctx context.Context, f *fixture) error {
			return f.RevokeUserTokens(ctx, f.user.ID)
		},
		"the user withdrew the consent": func(ctx context.Context, f *fixture) error {
			consent, err := f.Consent(ctx, f.user.ID, "gc1")
			return errors.Join(err, f.WithdrawConsent(ctx, f.user.ID, consent.ID))
		},
		"the client or the user was deleted": func(ctx context.Context, f *fixture) error {
			return f.DeleteUser(ctx, f.user.ID, 0)
		},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, url string) {
				f := newFixture(t, url)
				rotation, code := f.grant(t), f.code(t, "another code")
				storagetest.Must(t, end(t.Context(), f))
				_, err := f.RedeemCode(t.Context(), code)
				wantRefusal(t, "RedeemCode", err, reason)
				if _, _, err := f.ActiveGrant(t.Context(), rotation.GrantID); !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("ActiveGrant = %v, want ErrNotFound", err)
				}
				rotation.NextHash, rotation.SealedSuccessor = []byte("next"), []byte("sealed")
				if _, err := f.RotateRefreshToken(t.Context(), rotation); !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("RotateRefreshToken = %v, want ErrNotFound", err)
				}
				wantRefusal(t, "GrantRefusal", f.GrantRefusal(t.Context(), rotation.GrantID, "gc1"), reason)
			})
		})
	}
}

func TestGrantRefusalStatesReason(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		rotation := f.grant(t)
		wantRefusal(t, "GrantRefusal", f.GrantRefusal(t.Context(), "unknown", "gc1"), "an unknown grant")
		refusal := func(clientID string) error { return f.GrantRefusal(t.Context(), rotation.GrantID, clientID) }
		wantRefusal(t, "GrantRefusal", refusal("gc2"), "it was issued to another client")
		f.clock.Advance(2 * time.Hour)
		wantRefusal(t, "GrantRefusal", refusal("gc1"), "the grant has expired")
	})
}
