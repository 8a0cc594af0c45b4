package keyring

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/jwt"
	"gatehouse/storage"
)

const (
	// publishAhead is how long a key is in the JWKS before it signs: twice the time that caches may store the JWKS.
	publishAhead = 2 * jwksMaxAge
	// clockSkew is how far the clocks of processes and APIs may differ.
	clockSkew = 5 * time.Minute
)

// The stages of a signing key.
const (
	StagePublished = "published" // in the JWKS, signs later
	StageActive    = "active"
	StageRetired   = "retired" // verifies what it signed
	StageRemoved   = "removed"
)

// Stage returns the stage of a key. It is a function of the key's times alone, so that all processes agree.
func Stage(k storage.SigningKey, now time.Time) string {
	switch {
	case k.RemovedAt != nil && !now.Before(*k.RemovedAt):
		return StageRemoved
	case k.RetiresAt != nil && !now.Before(*k.RetiresAt):
		return StageRetired
	case now.Before(k.ActiveAt):
		return StagePublished
	}
	return StageActive
}

// ErrRotating is returned by Rotate while a new key waits to become active.
var ErrRotating = errors.New("a new key is published already and not active yet")

// createMissing creates the first key of every algorithm that has none, under the lock that every process respects.
func (k *Keyring) createMissing(ctx context.Context) error {
	if k.store.ReadOnly() { // commands that only read do not sign
		return nil
	}
	missing := func(keys []storage.SigningKey) (added, changed []storage.SigningKey, err error) {
		for _, algorithm := range jwt.Algorithms {
			if slices.ContainsFunc(keys, func(key storage.SigningKey) bool { return key.Algorithm == algorithm }) {
				continue
			}
			key, err := k.generate(algorithm, k.store.Now())
			if err != nil {
				return nil, nil, err
			}
			added = append(added, key)
		}
		return added, nil, nil
	}
	return k.store.CreateSigningKeys(ctx, missing)
}

// Rotate creates a key for every algorithm. They are published immediately and sign after ten minutes, when every cache
// of the JWKS has them; the current keys then only verify, until the last token they signed has expired. With leaked,
// the new keys sign immediately and every other key is removed, so that all tokens issued before are rejected.
func (k *Keyring) Rotate(ctx context.Context, leaked bool) error {
	return k.rotate(ctx, leaked, func(storage.SigningKey) bool { return true })
}

// RotateDue rotates the algorithms whose newest key is older than the rotation period.
func (k *Keyring) RotateDue(ctx context.Context) error {
	err := k.rotate(ctx, false, func(newest storage.SigningKey) bool {
		return k.store.Now().Sub(newest.ActiveAt) >= k.options.RotationPeriod
	})
	if errors.Is(err, ErrRotating) {
		return nil
	}
	return err
}

// rotate replaces the active keys of the algorithms whose newest key is due or, with leaked, every key.
func (k *Keyring) rotate(ctx context.Context, leaked bool, due func(newest storage.SigningKey) bool) error {
	longest, err := k.store.LongestAccessTokenTTL(ctx)
	if err != nil {
		return err
	}
	retention := max(longest, k.options.MaxTokenAge) + clockSkew
	replace := func(keys []storage.SigningKey) (added, changed []storage.SigningKey, err error) {
		now := k.store.Now()
		activeAt := now
		if !leaked {
			activeAt = now.Add(publishAhead)
		}
		newest := map[string]storage.SigningKey{}
		for _, key := range keys { // oldest first
			newest[key.Algorithm] = key
		}
		isDue := func(algorithm string) bool { return due(newest[algorithm]) }
		if leaked {
			changed = removeAll(keys, now)
		} else if changed, err = retire(keys, isDue, now, activeAt, activeAt.Add(retention)); err != nil {
			return nil, nil, err
		}
		for _, algorithm := range jwt.Algorithms {
			if key, ok := newest[algorithm]; ok && !due(key) {
				continue
			}
			key, err := k.generate(algorithm, activeAt)
			if err != nil {
				return nil, nil, err
			}
			added = append(added, key)
		}
		return added, changed, nil
	}
	if leaked {
		return k.store.RevokeSigningKeys(ctx, replace)
	}
	return k.store.RotateSigningKeys(ctx, replace)
}

// removeAll returns the keys as removed from now on.
func removeAll(keys []storage.SigningKey, now time.Time) (changed []storage.SigningKey) {
	for _, key := range keys {
		key.RetiresAt, key.RemovedAt = &now, &now
		changed = append(changed, key)
	}
	return changed
}

// retire returns the keys of the due algorithms that are active now, with the times when they retire and are removed.
// It returns ErrRotating if such an algorithm has a published successor already.
func retire(
	keys []storage.SigningKey, isDue func(algorithm string) bool, now, retiresAt, removedAt time.Time,
) (changed []storage.SigningKey, err error) {
	for _, key := range keys {
		if !isDue(key.Algorithm) {
			continue
		}
		switch Stage(key, now) {
		case StagePublished:
			return nil, ErrRotating
		case StageActive:
			key.RetiresAt, key.RemovedAt = &retiresAt, &removedAt
			changed = append(changed, key)
		}
	}
	return changed, nil
}

func (k *Keyring) generate(algorithm string, active time.Time) (storage.SigningKey, error) {
	private, err := jwt.Generate(algorithm)
	if err != nil {
		return storage.SigningKey{}, err
	}
	thumbprint, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return storage.SigningKey{}, err
	}
	id := base64.RawURLEncoding.EncodeToString(thumbprint[:16])
	key, err := jwt.NewKey(id, algorithm, private)
	if err != nil {
		return storage.SigningKey{}, err
	}
	public, err := json.Marshal(key.JWK())
	if err != nil {
		return storage.SigningKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return storage.SigningKey{}, err
	}
	return storage.SigningKey{
		ID: id, Algorithm: algorithm, Public: string(public), Private: der, CreatedAt: k.store.Now(), ActiveAt: active,
	}, nil
}
