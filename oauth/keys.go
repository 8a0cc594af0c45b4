package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/accesstoken"
	"gatehouse/storage"
)

const (
	// publishAhead is how long a key is in the JWKS before it signs: twice what anyone may cache the JWKS for.
	publishAhead = 10 * time.Minute
	jwksMaxAge   = 5 * time.Minute
	// keySlack covers clocks that differ between processes and APIs.
	keySlack   = 5 * time.Minute
	keyPurpose = "signing-key"
)

// keys is the key ring: every key that is not removed, opened. It is read again whenever the store's caches are dropped.
type keys struct {
	store   *storage.Store
	options Options

	mu         sync.RWMutex
	generation uint64 // of the store's caches when the ring was read
	ring       []ringKey
	byID       map[string]*accesstoken.Key
	jwks       document
	until      time.Time // when the next key is removed by its times alone; zero: the ring must be read
}

type ringKey struct {
	storage.SigningKey
	key *accesstoken.Key
}

func newKeys(store *storage.Store, o Options) *keys {
	return &keys{store: store, options: o}
}

// load brings the ring up to date. When the revision was not seen for over a second the database is asked every time, so
// that no process signs with a key that others have given up.
func (k *keys) load(ctx context.Context) error {
	generation, fresh := k.store.Generation()
	k.mu.RLock()
	current := fresh && k.generation == generation && k.store.Now().Before(k.until)
	k.mu.RUnlock()
	if current {
		return nil
	}
	rows, err := k.store.SigningKeys(ctx)
	if err != nil {
		return err
	}
	return k.set(rows, generation)
}

func (k *keys) set(rows []storage.SigningKey, generation uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	byID := make(map[string]*accesstoken.Key, len(rows))
	ring := make([]ringKey, 0, len(rows))
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	until := k.store.Now().Add(time.Hour)
	for _, row := range rows {
		if row.RemovedAt != nil && row.RemovedAt.Before(until) {
			until = *row.RemovedAt
		}
		key := k.byID[row.ID]
		if key == nil {
			var err error
			if key, err = k.open(row); err != nil {
				return err
			}
		}
		byID[row.ID] = key
		ring = append(ring, ringKey{row, key})
		set.Keys = append(set.Keys, key.JWK())
	}
	k.ring, k.byID, k.generation, k.until = ring, byID, generation, until
	k.jwks = newDocument(set, jwksMaxAge)
	return nil
}

func (k *keys) open(row storage.SigningKey) (*accesstoken.Key, error) {
	der, err := k.store.Root().Open(keyPurpose, row.ID, row.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open signing key %s: %w", row.ID, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read signing key %s: %w", row.ID, err)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("signing key %s is a %T", row.ID, parsed)
	}
	return accesstoken.NewKey(row.ID, private)
}

// sign signs with the active key.
func (k *keys) sign(ctx context.Context, c *accesstoken.Claims) (string, error) {
	if err := k.load(ctx); err != nil {
		return "", unavailable(err)
	}
	now := k.store.Now()
	k.mu.RLock()
	var active *accesstoken.Key
	for _, r := range k.ring { // oldest first: the last one that is active wins
		if Stage(r.SigningKey, now) == StageActive {
			active = r.key
		}
	}
	k.mu.RUnlock()
	if active == nil {
		return "", unavailable(errors.New("no active signing key"))
	}
	return active.Sign(c)
}

// verify returns the claims of one of our access tokens. The error is accesstoken.ErrInvalid or a fault.
func (k *keys) verify(ctx context.Context, token string) (*accesstoken.Claims, error) {
	if err := k.load(ctx); err != nil {
		return nil, unavailable(err)
	}
	now := k.store.Now()
	find := func(kid string) *accesstoken.Key {
		k.mu.RLock()
		defer k.mu.RUnlock()
		for _, r := range k.ring {
			if r.ID == kid && Stage(r.SigningKey, now) != StageRemoved {
				return r.key
			}
		}
		return nil
	}
	return accesstoken.Verify(token, k.options.Issuer, find, now)
}

// JWKS serves GET /.well-known/jwks.json (RFC 7517 §5). When the database is away it serves what it knows, so that APIs
// go on verifying.
func (s *Server) JWKS(w http.ResponseWriter, r *http.Request) error {
	if err := s.keys.load(r.Context()); err != nil && s.keys.document().body == nil {
		return unavailable(err)
	}
	s.keys.document().serve(w, r)
	return nil
}

func (k *keys) document() document {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.jwks
}

// The stages of a signing key.
const (
	StagePublished = "published" // in the JWKS, signs later
	StageActive    = "active"
	StageRetired   = "retired" // verifies what it signed
	StageRemoved   = "removed"
)

// Stage is a function of the key's times alone, so every process agrees on it.
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

// ensure makes the first key, under the lock that every process honours.
func (k *keys) ensure(ctx context.Context) error {
	return k.store.ChangeKeys(ctx, storage.Event{Type: storage.KeyCreated}, func(have []storage.SigningKey) (*storage.SigningKey, []storage.SigningKey, error) {
		if len(have) > 0 {
			return nil, nil, nil
		}
		key, err := k.generate(k.store.Now())
		return key, nil, err
	})
}

// SigningKeys lists the keys that are not removed, oldest first.
func (s *Server) SigningKeys(ctx context.Context) ([]storage.SigningKey, error) {
	return s.store.SigningKeys(ctx)
}

// ErrRotating is returned by RotateKeys while a new key waits to become active.
var ErrRotating = errors.New("a new key is published already and not active yet")

// RotateKeys adds a key. It is published at once and signs after ten minutes, when everyone who caches the JWKS knows
// it; the present key then only verifies, until the last token it signed has expired. With leaked, the new key signs at
// once and every other key is removed: all tokens out are refused from now on.
func (s *Server) RotateKeys(ctx context.Context, leaked bool) error {
	return s.rotateKeys(ctx, leaked, func([]storage.SigningKey) bool { return true })
}

// AdvanceKeys rotates when the newest key is older than the rotation period.
func (s *Server) AdvanceKeys(ctx context.Context) error {
	err := s.rotateKeys(ctx, false, func(have []storage.SigningKey) bool {
		return len(have) > 0 && s.store.Now().Sub(have[len(have)-1].ActiveAt) >= s.options.KeyRotationPeriod
	})
	if errors.Is(err, ErrRotating) {
		return nil
	}
	return err
}

func (s *Server) rotateKeys(ctx context.Context, leaked bool, due func([]storage.SigningKey) bool) error {
	longest, err := s.store.LongestAccessTokenTTL(ctx)
	if err != nil {
		return err
	}
	keep := max(longest, s.options.AccessTokenTTL) + keySlack
	event := storage.Event{Type: storage.KeyRotated}
	if leaked {
		event.Type = storage.KeyRevoked
	}
	return s.store.ChangeKeys(ctx, event, func(have []storage.SigningKey) (*storage.SigningKey, []storage.SigningKey, error) {
		if !due(have) {
			return nil, nil, nil
		}
		now := s.store.Now()
		active := now
		if !leaked {
			active = now.Add(publishAhead)
		}
		var changed []storage.SigningKey
		for _, k := range have {
			stage := Stage(k, now)
			switch {
			case leaked:
				k.RetiresAt, k.RemovedAt = &now, &now
				changed = append(changed, k)
			case stage == StagePublished:
				return nil, nil, ErrRotating
			case stage == StageActive:
				removed := active.Add(keep)
				k.RetiresAt, k.RemovedAt = &active, &removed
				changed = append(changed, k)
			}
		}
		key, err := s.keys.generate(active)
		return key, changed, err
	})
}

func (k *keys) generate(active time.Time) (*storage.SigningKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	thumbprint, err := (&jose.JSONWebKey{Key: &private.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	id := base64url(thumbprint[:16])
	key, err := accesstoken.NewKey(id, private)
	if err != nil {
		return nil, err
	}
	public, err := json.Marshal(key.JWK())
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	sealed, err := k.store.Root().Seal(keyPurpose, id, der)
	if err != nil {
		return nil, err
	}
	return &storage.SigningKey{ID: id, Algorithm: string(jose.ES256), Public: string(public), Sealed: sealed, CreatedAt: k.store.Now(), ActiveAt: active}, nil
}
