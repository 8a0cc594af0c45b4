// Package keyring has the signing keys of the server: it decides which key signs with an algorithm now, which keys
// still verify, when keys are rotated, and it serves the JWKS. It checks signatures and times of tokens; whether a
// token is revoked is left to its callers.
package keyring

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	lru "github.com/hashicorp/golang-lru/v2"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

const (
	jwksMaxAge = 5 * time.Minute
	// loadTimeout bounds how long a request waits until the keys are read.
	loadTimeout = 10 * time.Second
)

// Options are the settings of a Keyring.
type Options struct {
	Issuer         string
	RotationPeriod time.Duration
	// MaxTokenAge is how long after its issue a token must be verifiable, if no client has longer-lived access tokens.
	MaxTokenAge time.Duration
}

// Keyring has every key that is not removed, with its private key in clear. It reads the keys again when the caches of
// the store are cleared.
type Keyring struct {
	store   *storage.Store
	options Options

	mu         sync.RWMutex
	generation uint64 // of the store's caches when the keys were read
	keys       []key  // oldest first
	byID       map[string]*key
	jwks       protocol.Document
	verified   *lru.Cache[[sha256.Size]byte, verifiedToken]
	expiresAt  time.Time // when the keys must be read again, because one is removed then
}

// key is a signing key in clear: jwt signs for relying parties, access signs access tokens for APIs.
type key struct {
	storage.SigningKey
	jwt    *jwt.Key
	access *accesstoken.Key
}

// verifiedToken is a token whose signature is valid, with the key that signed it. The key of the cache is the hash of
// the token with its signature.
type verifiedToken struct {
	claims *accesstoken.Claims
	key    *accesstoken.Key
}

// The cache is bounded to about 6 MB, and 32 MB with the longest tokens. Longer tokens, with unusually many scopes,
// are verified each time.
const (
	maxVerified     = 8192
	maxVerifiedSize = 2 << 10
)

// New returns a keyring. Unless the store is read-only it creates a key for every algorithm that has none.
func New(ctx context.Context, store *storage.Store, o Options) (*Keyring, error) {
	cache, err := lru.New[[sha256.Size]byte, verifiedToken](maxVerified)
	if err != nil {
		return nil, err
	}
	k := &Keyring{store: store, options: o, verified: cache}
	return k, k.createMissing(ctx)
}

// Load reads the keys if they may have changed. It returns an error when this process cannot sign: the keys cannot be
// read, or are sealed under another root key. If the changes were not read for over a second, it reads the database
// every time, so that no process signs with a key that others have retired.
func (k *Keyring) Load(ctx context.Context) error {
	generation, fresh := k.store.CacheGeneration()
	k.mu.RLock()
	current := fresh && k.generation == generation && k.store.Now().Before(k.expiresAt)
	k.mu.RUnlock()
	if current {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	rows, err := k.store.SigningKeys(limited)
	if err != nil {
		return err
	}
	return k.replaceKeys(rows, generation)
}

func (k *Keyring) replaceKeys(rows []storage.SigningKey, generation uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	byID := make(map[string]*key, len(rows))
	keys := make([]key, 0, len(rows))
	jwks := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	expiresAt := k.store.Now().Add(time.Hour)
	for _, row := range rows {
		if row.RemovedAt != nil && row.RemovedAt.Before(expiresAt) {
			expiresAt = *row.RemovedAt
		}
		if !slices.Contains(jwt.Algorithms, row.Algorithm) {
			continue // of a later version, while it is rolled out or back
		}
		var opened key
		if cached := k.byID[row.ID]; cached != nil {
			opened = *cached
		} else if fresh, err := k.open(row); err != nil {
			return err
		} else {
			opened = fresh
		}
		opened.SigningKey = row
		byID[row.ID] = &opened
		keys = append(keys, opened)
		jwks.Keys = append(jwks.Keys, opened.jwt.JWK())
	}
	k.keys, k.byID, k.generation, k.expiresAt = keys, byID, generation, expiresAt
	k.jwks = protocol.NewDocument(jwks, jwksMaxAge)
	return nil
}

// open returns the key of a row with its private key.
func (k *Keyring) open(row storage.SigningKey) (key, error) {
	der, err := k.store.PrivateKey(row)
	if err != nil {
		return key{}, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return key{}, fmt.Errorf("read signing key %s: %w", row.ID, err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return key{}, fmt.Errorf("signing key %s is a %T", row.ID, parsed)
	}
	opened := key{}
	if opened.jwt, err = jwt.NewKey(row.ID, row.Algorithm, private); err != nil {
		return key{}, fmt.Errorf("signing key %s: %w", row.ID, err)
	}
	opened.access, err = accesstoken.NewKey(row.ID, row.Algorithm, private)
	return opened, err
}

// activeKey returns the key that signs with the algorithm now.
func (k *Keyring) activeKey(ctx context.Context, algorithm string) (key, error) {
	if err := k.Load(ctx); err != nil {
		return key{}, protocol.UnavailableError(err)
	}
	now := k.store.Now()
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, r := range slices.Backward(k.keys) { // the newest active one
		if r.Algorithm == algorithm && Stage(r.SigningKey, now) == StageActive {
			return r, nil
		}
	}
	// If the clock was set back to before the first key, that key signs, because there is no older one.
	for _, r := range k.keys {
		if r.Algorithm == algorithm && Stage(r.SigningKey, now) == StagePublished {
			return r, nil
		}
	}
	return key{}, protocol.UnavailableError(errors.New("no active signing key for " + algorithm))
}

// verificationKey returns the key with that ID if it may still verify, or nil.
func (k *Keyring) verificationKey(kid string) *key {
	now := k.store.Now()
	k.mu.RLock()
	defer k.mu.RUnlock()
	if r := k.byID[kid]; r != nil && Stage(r.SigningKey, now) != StageRemoved {
		return r
	}
	return nil
}

// JWKS serves GET /.well-known/jwks.json (RFC 7517 §5). When the database is unavailable it serves the keys that were
// read last, so that APIs continue to verify tokens.
func (k *Keyring) JWKS(w http.ResponseWriter, r *http.Request) error {
	err := k.Load(r.Context())
	k.mu.RLock()
	jwks := k.jwks
	k.mu.RUnlock()
	if err != nil && jwks.IsEmpty() {
		return protocol.UnavailableError(err)
	}
	jwks.ServeHTTP(w, r)
	return nil
}
