package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
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
	// publishAhead is how long a key is in the JWKS before it signs: twice what anyone may cache the JWKS for.
	publishAhead = 10 * time.Minute
	jwksMaxAge   = 5 * time.Minute
	// keySlack covers clocks that differ between processes and APIs.
	keySlack = 5 * time.Minute
	// keysTimeout bounds how long a request waits for the ring to be read.
	keysTimeout = 10 * time.Second
	// accessTokenAlg is what APIs verify.
	accessTokenAlg = jwt.ES256
)

// keys is the key ring: every key that is not removed, opened. It is read again whenever the store's caches are dropped.
type keys struct {
	store   *storage.Store
	options Options

	mu         sync.RWMutex
	generation uint64 // of the store's caches when the ring was read
	ring       []ringKey
	byID       map[string]*ringKey
	jwks       protocol.Document
	verified   *lru.Cache[[sha256.Size]byte, verified]
	until      time.Time // when the next key is removed by its times alone; zero: the ring must be read
}

// ringKey is an opened key: jwt signs for relying parties, and access, where the algorithm is that of access tokens, for
// APIs.
type ringKey struct {
	storage.SigningKey
	jwt    *jwt.Key
	access *accesstoken.Key
}

// verified is a token whose signature was found good, by which key. The key of the cache is the hash of the whole token.
type verified struct {
	claims *accesstoken.Claims
	key    *accesstoken.Key
}

// The cache is bounded to about 6 MB, and 32 MB with the longest tokens. Longer tokens, with unusually many scopes,
// are verified each time.
const (
	maxVerified     = 8192
	maxVerifiedSize = 2 << 10
)

func newKeys(store *storage.Store, o Options) (*keys, error) {
	cache, err := lru.New[[sha256.Size]byte, verified](maxVerified)
	return &keys{store: store, options: o, verified: cache}, err
}

// load updates the key ring. If the changes were not read for over a second, it reads the database every time, so that
// no process signs with a key that others have retired.
func (k *keys) load(ctx context.Context) error {
	generation, fresh := k.store.CacheGeneration()
	k.mu.RLock()
	current := fresh && k.generation == generation && k.store.Now().Before(k.until)
	k.mu.RUnlock()
	if current {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	rows, err := k.store.SigningKeys(limited)
	if err != nil {
		return err
	}
	return k.set(rows, generation)
}

func (k *keys) set(rows []storage.SigningKey, generation uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	byID := make(map[string]*ringKey, len(rows))
	ring := make([]ringKey, 0, len(rows))
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	until := k.store.Now().Add(time.Hour)
	for _, row := range rows {
		if row.RemovedAt != nil && row.RemovedAt.Before(until) {
			until = *row.RemovedAt
		}
		if !slices.Contains(jwt.Algorithms, row.Algorithm) {
			continue // of a later version, while it is rolled out or back
		}
		var key ringKey
		if known := k.byID[row.ID]; known != nil {
			key = *known
		} else if opened, err := k.open(row); err != nil {
			return err
		} else {
			key = opened
		}
		key.SigningKey = row
		byID[row.ID] = &key
		ring = append(ring, key)
		set.Keys = append(set.Keys, key.jwt.JWK())
	}
	k.ring, k.byID, k.generation, k.until = ring, byID, generation, until
	k.jwks = protocol.NewDocument(set, jwksMaxAge)
	return nil
}

func (k *keys) open(row storage.SigningKey) (ringKey, error) {
	der, err := k.store.PrivateKey(row)
	if err != nil {
		return ringKey{}, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return ringKey{}, fmt.Errorf("read signing key %s: %w", row.ID, err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return ringKey{}, fmt.Errorf("signing key %s is a %T", row.ID, parsed)
	}
	opened := ringKey{}
	if opened.jwt, err = jwt.NewKey(row.ID, row.Algorithm, private); err != nil {
		return ringKey{}, fmt.Errorf("signing key %s: %w", row.ID, err)
	}
	if ec, ok := private.(*ecdsa.PrivateKey); ok {
		opened.access, err = accesstoken.NewKey(row.ID, ec)
	}
	return opened, err
}

// active is the key that signs with the algorithm now.
func (k *keys) active(ctx context.Context, algorithm string) (ringKey, error) {
	if err := k.load(ctx); err != nil {
		return ringKey{}, protocol.Unavailable(err)
	}
	now := k.store.Now()
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, r := range slices.Backward(k.ring) { // oldest first: the last one that is active wins
		if r.Algorithm == algorithm && Stage(r.SigningKey, now) == StageActive {
			return r, nil
		}
	}
	// The clock was set back to before the first key: that one signs all the same, for nobody has an older one.
	for _, r := range k.ring {
		if r.Algorithm == algorithm && Stage(r.SigningKey, now) == StagePublished {
			return r, nil
		}
	}
	return ringKey{}, protocol.Unavailable(errors.New("no active signing key for " + algorithm))
}

// sign signs an access token.
func (k *keys) sign(ctx context.Context, c *accesstoken.Claims) (string, error) {
	key, err := k.active(ctx, accessTokenAlg)
	if err != nil {
		return "", err
	}
	return key.access.Sign(c)
}

// signJWT signs what a relying party reads, with the algorithm it registered.
func (k *keys) signJWT(ctx context.Context, algorithm, typ string, claims any) (string, error) {
	key, err := k.active(ctx, algorithm)
	if err != nil {
		return "", err
	}
	return key.jwt.Sign(typ, claims)
}

// byKeyID is the key with that id that may still verify, or nil.
func (k *keys) byKeyID(kid string) *ringKey {
	now := k.store.Now()
	k.mu.RLock()
	defer k.mu.RUnlock()
	if r := k.byID[kid]; r != nil && Stage(r.SigningKey, now) != StageRemoved {
		return r
	}
	return nil
}

// verifyJWT returns one of our own JWTs that is no access token. The error is jwt.ErrInvalid or a fault.
func (k *keys) verifyJWT(ctx context.Context, token string) (jwt.Token, error) {
	if err := k.load(ctx); err != nil {
		return jwt.Token{}, protocol.Unavailable(err)
	}
	return jwt.Parse(token, jwt.Algorithms, func(kid, _ string) ([]jose.JSONWebKey, error) {
		if r := k.byKeyID(kid); r != nil {
			return []jose.JSONWebKey{r.jwt.JWK()}, nil
		}
		return nil, nil
	})
}

// verify returns the claims of an unexpired access token of this server, which the caller must not modify. It returns
// accesstoken.ErrInvalid or an internal error. The caller checks whether the token is revoked.
func (k *keys) verify(ctx context.Context, token string) (*accesstoken.Claims, error) {
	claims, err := k.parse(ctx, token)
	if err != nil {
		return nil, err
	}
	if err := claims.Current(k.store.Now()); err != nil {
		return nil, err
	}
	return claims, nil
}

// parse does the same as verify without checking the times. It caches that a signature is valid, and checks every time
// that the key is still trusted.
func (k *keys) parse(ctx context.Context, token string) (*accesstoken.Claims, error) {
	if err := k.load(ctx); err != nil {
		return nil, protocol.Unavailable(err)
	}
	find := func(kid string) *accesstoken.Key {
		if r := k.byKeyID(kid); r != nil {
			return r.access
		}
		return nil
	}
	hash := sha256.Sum256([]byte(token))
	if known, ok := k.verified.Get(hash); ok && find(known.key.ID) == known.key {
		return known.claims, nil
	}
	var key *accesstoken.Key
	claims, err := accesstoken.Parse(token, k.options.Issuer, func(kid string) *accesstoken.Key { key = find(kid); return key })
	if err != nil {
		return nil, err
	}
	if len(token) <= maxVerifiedSize {
		k.verified.Add(hash, verified{claims, key})
	}
	return claims, nil
}

// Ready returns an error when this process cannot sign: the keys cannot be read, or are sealed under another root key than its own.
func (s *Server) Ready(ctx context.Context) error { return s.keys.load(ctx) }

// JWKS serves GET /.well-known/jwks.json (RFC 7517 §5). When the database is away it serves what it knows, so that APIs
// go on verifying.
func (s *Server) JWKS(w http.ResponseWriter, r *http.Request) error {
	if err := s.keys.load(r.Context()); err != nil && s.keys.document().IsEmpty() {
		return protocol.Unavailable(err)
	}
	s.keys.document().ServeHTTP(w, r)
	return nil
}

func (k *keys) document() protocol.Document {
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

// ensure makes the first key of every algorithm that has none, under the lock that every process honours.
func (k *keys) ensure(ctx context.Context) error {
	if k.store.ReadOnly() { // commands that only read do not sign
		return nil
	}
	return k.store.UpdateSigningKeys(ctx, storage.Event{Type: storage.KeyCreated}, func(have []storage.SigningKey) (add, changed []storage.SigningKey, err error) {
		for _, alg := range jwt.Algorithms {
			if slices.ContainsFunc(have, func(key storage.SigningKey) bool { return key.Algorithm == alg }) {
				continue
			}
			key, err := k.generate(alg, k.store.Now())
			if err != nil {
				return nil, nil, err
			}
			add = append(add, key)
		}
		return add, nil, nil
	})
}

// SigningKeys lists the keys that are not removed, oldest first.
func (s *Server) SigningKeys(ctx context.Context) ([]storage.SigningKey, error) {
	return s.store.SigningKeys(ctx)
}

// ErrRotating is returned by RotateKeys while a new key waits to become active.
var ErrRotating = errors.New("a new key is published already and not active yet")

// RotateKeys adds a key for every algorithm. They are published at once and sign after ten minutes, when everyone who
// caches the JWKS knows them; the present keys then only verify, until the last token they signed has expired. With
// leaked, the new keys sign at once and every other key is removed: all tokens out are refused from now on.
func (s *Server) RotateKeys(ctx context.Context, leaked bool) error {
	return s.rotateKeys(ctx, leaked, func(storage.SigningKey) bool { return true })
}

// AdvanceKeys rotates the algorithms whose newest key is older than the rotation period.
func (s *Server) AdvanceKeys(ctx context.Context) error {
	err := s.rotateKeys(ctx, false, func(newest storage.SigningKey) bool {
		return s.store.Now().Sub(newest.ActiveAt) >= s.options.KeyRotationPeriod
	})
	if errors.Is(err, ErrRotating) {
		return nil
	}
	return err
}

func (s *Server) rotateKeys(ctx context.Context, leaked bool, due func(newest storage.SigningKey) bool) error {
	longest, err := s.store.LongestAccessTokenTTL(ctx)
	if err != nil {
		return err
	}
	// An ID token is a hint at sign-out long after it expired, as long as its session can last.
	keep := max(longest, s.options.AccessTokenTTL, s.options.IDTokenTTL, s.options.HintTTL) + keySlack
	event := storage.Event{Type: storage.KeyRotated}
	if leaked {
		event.Type = storage.KeyRevoked
	}
	return s.store.UpdateSigningKeys(ctx, event, func(have []storage.SigningKey) (add, changed []storage.SigningKey, err error) {
		now := s.store.Now()
		newest := map[string]storage.SigningKey{}
		for _, k := range have { // oldest first
			newest[k.Algorithm] = k
		}
		active := now
		if !leaked {
			active = now.Add(publishAhead)
		}
		for _, k := range have {
			stage := Stage(k, now)
			switch {
			case leaked:
				k.RetiresAt, k.RemovedAt = &now, &now
				changed = append(changed, k)
			case !due(newest[k.Algorithm]):
			case stage == StagePublished:
				return nil, nil, ErrRotating
			case stage == StageActive:
				removed := active.Add(keep)
				k.RetiresAt, k.RemovedAt = &active, &removed
				changed = append(changed, k)
			}
		}
		for _, alg := range jwt.Algorithms {
			if k, ok := newest[alg]; ok && !due(k) {
				continue
			}
			key, err := s.keys.generate(alg, active)
			if err != nil {
				return nil, nil, err
			}
			add = append(add, key)
		}
		return add, changed, nil
	})
}

func (k *keys) generate(algorithm string, active time.Time) (storage.SigningKey, error) {
	private, err := jwt.Generate(algorithm)
	if err != nil {
		return storage.SigningKey{}, err
	}
	thumbprint, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return storage.SigningKey{}, err
	}
	id := base64url(thumbprint[:16])
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
	return storage.SigningKey{ID: id, Algorithm: algorithm, Public: string(public), Private: der, CreatedAt: k.store.Now(), ActiveAt: active}, nil
}
