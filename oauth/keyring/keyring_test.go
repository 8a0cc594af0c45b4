package keyring_test

import (
	"errors"
	"testing"
	"time"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/keyring"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestStageFollowsFromTimes(t *testing.T) {
	t.Parallel()
	active := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	retires, removed := active.Add(time.Hour), active.Add(2*time.Hour)
	key := storage.SigningKey{ActiveAt: active, RetiresAt: &retires, RemovedAt: &removed}
	for after, want := range map[time.Duration]string{
		-time.Second: keyring.StagePublished, 0: keyring.StageActive, time.Hour - 1: keyring.StageActive,
		time.Hour: keyring.StageRetired, 2*time.Hour - 1: keyring.StageRetired, 2 * time.Hour: keyring.StageRemoved,
	} {
		if got := keyring.Stage(key, active.Add(after)); got != want {
			t.Errorf("stage %v after activation = %s, want %s", after, got, want)
		}
	}
	current := storage.SigningKey{ActiveAt: active}
	if got := keyring.Stage(current, active.Add(10000*time.Hour)); got != keyring.StageActive {
		t.Errorf("stage of a key that does not retire = %s, want %s", got, keyring.StageActive)
	}
}

func TestLeakedKeyVerifiesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		ring := open(t, url, clock)
		now := clock.Now().Unix()
		token, err := ring.SignAccessToken(t.Context(), accesstoken.DefaultFormat, &accesstoken.Claims{
			Issuer: issuer, Subject: "u", Audience: jwt.Audience{issuer}, ClientID: "c", JTI: "j",
			IssuedAt: now, ExpiresAt: now + 60,
		})
		storagetest.Must(t, err)
		idToken, err := ring.SignJWT(t.Context(), jwt.RS256, jwt.TypeJWT, map[string]string{"sub": "u"})
		storagetest.Must(t, err)
		if _, err := ring.VerifyAccessToken(t.Context(), token); err != nil {
			t.Errorf("an access token before the rotation: %v, want it valid", err)
		}
		storagetest.Must(t, ring.Rotate(t.Context(), true))
		if _, err := ring.VerifyAccessToken(t.Context(), token); !errors.Is(err, accesstoken.ErrInvalid) {
			t.Errorf("an access token of a leaked key: %v, want %v", err, accesstoken.ErrInvalid)
		}
		if _, err := ring.VerifyJWT(t.Context(), idToken); !errors.Is(err, jwt.ErrInvalid) {
			t.Errorf("an ID token of a leaked key: %v, want %v", err, jwt.ErrInvalid)
		}
	})
}

func TestAccessTokenIsNoOtherJWT(t *testing.T) {
	t.Parallel()
	ring := open(t, storagetest.URL(t, storage.SQLite), storagetest.NewClock())
	for _, typ := range accesstoken.Types {
		format := accesstoken.Format{Type: typ, Algorithm: jwt.RS256}
		token, err := ring.SignAccessToken(t.Context(), format, &accesstoken.Claims{
			Issuer: issuer, Subject: "u", Audience: jwt.Audience{"c"}, ClientID: "c", JTI: "j",
			ExpiresAt: storagetest.NewClock().Now().Unix() + 60,
		})
		storagetest.Must(t, err)
		if _, err := ring.VerifyJWT(t.Context(), token); !errors.Is(err, jwt.ErrInvalid) {
			t.Errorf("VerifyJWT of an access token with typ %s: error %v, want %v", typ, err, jwt.ErrInvalid)
		}
		if _, err := ring.VerifyAccessToken(t.Context(), token); err != nil {
			t.Errorf("VerifyAccessToken of a token with typ %s: %v", typ, err)
		}
	}
}

func TestRotationIsRefusedWhileKeyIsPublished(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		ring := open(t, url, clock)
		storagetest.Must(t, ring.Rotate(t.Context(), false))
		if err := ring.Rotate(t.Context(), false); !errors.Is(err, keyring.ErrRotating) {
			t.Errorf("a second rotation: %v, want %v", err, keyring.ErrRotating)
		}
		storagetest.Must(t, ring.RotateDue(t.Context()))
		clock.Advance(10 * time.Minute)
		storagetest.Must(t, ring.Rotate(t.Context(), false))
	})
}

const issuer = "https://id.example"

func open(t *testing.T, url string, clock *storagetest.Clock) *keyring.Keyring {
	t.Helper()
	ring, err := keyring.New(t.Context(), storagetest.Open(t, url, clock), keyring.Options{
		Issuer: issuer, RotationPeriod: 2160 * time.Hour, MaxTokenAge: 24 * time.Hour,
	})
	storagetest.Must(t, err)
	return ring
}
