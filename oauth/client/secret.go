package client

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"gatehouse/identity/passwordhash"
	"gatehouse/keyed"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// The cost of the hashes of secrets that Gatehouse did not generate: as for passwords, because such a secret may be a
// word.
var secretCost = passwordhash.Argon2Cost{Memory: 19 * 1024, Passes: 2, Lanes: 1}

const (
	secretSaltSize = 16
	secretSumSize  = 32
)

// slowSecrets caches a MAC of each secret with a slow hash that was correct, so that only the first authentication of a
// client in a process is slow.
type slowSecrets struct {
	key []byte // random

	mu       sync.Mutex
	verified map[string]string // MACs by the id of the secret
}

func newSlowSecrets() *slowSecrets {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: the runtime ends the program instead
	return &slowSecrets{key: key, verified: map[string]string{}}
}

// wasVerified reports whether the secret was correct before.
func (s *slowSecrets) wasVerified(row storage.ClientSecret, secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return keyed.Equal(keyed.MAC(s.key, row.ID, secret), []byte(s.verified[row.ID]))
}

func (s *slowSecrets) store(row storage.ClientSecret, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verified[row.ID] = string(keyed.MAC(s.key, row.ID, secret))
}

// hasSecret reports whether a client has the secret, whose SHA-256 is hash if it has the form of a generated one. A
// slow hash is computed only when few authentications of the client from this network failed.
func (g *Registry) hasSecret(ctx context.Context, c *storage.Client, secret string, hash []byte) (bool, error) {
	now := g.store.Now()
	if c.HasSecret(hash, now) {
		return true, nil
	}
	var slow []storage.ClientSecret
	for _, row := range c.Secrets {
		if row.SlowHash == "" || row.ExpiresAt != nil && !now.Before(*row.ExpiresAt) {
			continue
		}
		if g.slow.wasVerified(row, secret) {
			return true, nil
		}
		slow = append(slow, row)
	}
	if len(slow) == 0 || secret == "" || len(secret) > maxSecret {
		return false, nil
	}
	if err := g.checkAssertionLimits(ctx, c); err != nil {
		return false, err
	}
	for _, row := range slow {
		ok, err := g.verifySlow(ctx, c, row, secret)
		if ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// verifySlow verifies a secret, and replaces the hash of another system when it is correct. The client is not
// authenticated yet: an attacker who sends many incorrect secrets keeps only few computations waiting, for this client
// and from this network, and none after the limit on failures is reached.
func (g *Registry) verifySlow(
	ctx context.Context, c *storage.Client, row storage.ClientSecret, secret string,
) (bool, error) {
	stored, err := passwordhash.Parse(row.SlowHash)
	if err != nil {
		return false, err
	}
	ok, fresh := false, ""
	memory := max(int64(stored.Memory()), int64(secretCost.Memory)<<10)
	err = g.options.RunHash(ctx, c.ID+" "+reqevent.FromContext(ctx).Network(), memory, func() error {
		if err := g.checkAssertionLimits(ctx, c); err != nil { // others may have failed while this one waited
			return err
		}
		if ok = stored.Verify(secret); ok && stored.Kind() != passwordhash.Argon2id {
			fresh = hashSecret(secret)
		}
		return nil
	})
	if limited := (*protocol.Error)(nil); err != nil && !errors.As(err, &limited) {
		err = protocol.UnavailableError(err)
	}
	if err != nil || !ok {
		return false, err
	}
	g.slow.store(row, secret)
	if fresh == "" {
		return true, nil
	}
	err = g.store.UpgradeClientSecret(ctx, row, fresh, string(stored.Kind()))
	if errors.Is(err, storage.ErrNotFound) { // another process has, or the secret was removed in the meantime
		return true, nil
	}
	return err == nil, err
}

// hashSecret returns the slow hash of a secret.
func hashSecret(secret string) string {
	salt := make([]byte, secretSaltSize)
	_, _ = rand.Read(salt) // never fails: the runtime ends the program instead
	return passwordhash.FormatArgon2id(secretCost, salt, secretCost.Sum(secret, salt, secretSumSize))
}
