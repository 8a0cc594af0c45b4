package storage

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"gatehouse/storage/db"
)

// RootKey is the operator's 32-byte secret. Nothing is encrypted or signed with it directly: every use derives a key of
// its own by HKDF-SHA256 (RFC 5869), so that one use can tell nothing about another.
type RootKey struct{ key []byte }

// NewRootKey wraps 32 bytes.
func NewRootKey(key []byte) (RootKey, error) {
	if len(key) != 32 {
		return RootKey{}, errors.New("the root key is not 32 bytes")
	}
	return RootKey{key: key}, nil
}

// Derive returns the 32-byte key for one purpose.
func (r RootKey) Derive(purpose string) []byte {
	out, err := hkdf.Key(sha256.New, r.key, nil, "gatehouse/"+purpose, 32)
	if err != nil {
		panic("derive a key: " + err.Error()) // only for impossible lengths
	}
	return out
}

// MAC authenticates message under the key for purpose, with SHA-256.
func (r RootKey) MAC(purpose string, message []byte) []byte {
	h := hmac.New(sha256.New, r.Derive(purpose))
	h.Write(message)
	return h.Sum(nil)
}

// id names the key without telling it, so that a sealed value says which key opens it.
func (r RootKey) id() []byte { return r.MAC("key-id", nil)[:4] }

// Seal encrypts plaintext with AES-256-GCM under the key for purpose, bound to the row it is stored in. The result is a
// format byte, the key id, the nonce and the ciphertext.
func (r RootKey) Seal(purpose, row string, plaintext []byte) ([]byte, error) {
	aead, err := newGCM(r.Derive(purpose))
	if err != nil {
		return nil, err
	}
	head := append([]byte{1}, r.id()...)
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return aead.Seal(append(head, nonce...), nonce, plaintext, []byte(purpose+"\x00"+row)), nil
}

// Open reverses Seal. It fails when anything was altered, or the value was moved to another row or purpose.
func (r RootKey) Open(purpose, row string, sealed []byte) ([]byte, error) {
	aead, err := newGCM(r.Derive(purpose))
	if err != nil {
		return nil, err
	}
	n := aead.NonceSize()
	if len(sealed) < 5+n || !r.sealed(sealed) {
		return nil, errDamaged
	}
	return aead.Open(nil, sealed[5:5+n], sealed[5+n:], []byte(purpose+"\x00"+row))
}

var errDamaged = errors.New("sealed under another root key, or damaged")

// sealed reports whether a value says that this key sealed it.
func (r RootKey) sealed(value []byte) bool {
	return len(value) >= 5 && value[0] == 1 && hmac.Equal(value[1:5], r.id())
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// ErrOtherKey is returned by UseRootKey when the database belongs to another root key.
var ErrOtherKey = errors.New("the root key does not fit this database; set GATEHOUSE_SECRET_KEY (or secret.key beside an embedded database) to the key it was made with")

// The purposes of Key.
const (
	FormKey      = "form"              // form tokens of pages
	SignInKey    = "sign-in"           // names of accounts that were guessed at
	DeviceKey    = "device"            // cookies of browsers that a person signed in with
	SessionIDKey = "sid"               // the names that apps know sessions by
	LogoutKey    = "logout"            // logout requests that wait in an address
	SuccessorKey = "refresh-successor" // sealed successors of refresh tokens, besides the token replaced
	PairwiseKey  = "pairwise-subjects" // pairwise subjects
	LimitKey     = "rate-limits"       // hides the keys of the rate limits in Redis
	auditSealKey = "audit-seal"        // the chain of audit seals
	personalKey  = "audit-personal"    // the origins of events and sessions
)

var keyPurposes = []string{FormKey, SignInKey, DeviceKey, SessionIDKey, LogoutKey, SuccessorKey, PairwiseKey, LimitKey, auditSealKey, personalKey}

// UseRootKey ties the store to its root key and reads the keys that are sealed under it. The first root key ever used
// leaves its fingerprint in the database; any other is refused with ErrOtherKey, before anything is generated or sealed
// under it. While the root key is being replaced there is a previous one too: either may then open what is stored, and what
// is new is sealed under the one whose fingerprint the database has, so that processes that only know that one go on.
func (s *Store) UseRootKey(ctx context.Context, root RootKey, previous ...RootKey) error {
	mine := root.fingerprint()
	if !s.ReadOnly() { // a read-only database already has the fingerprint
		if err := db.Exec(ctx, s.Write, "UPDATE revision SET key_fingerprint = ? WHERE id = 1 AND key_fingerprint IS NULL", mine); err != nil {
			return db.Wrap("check the root key", err)
		}
	}
	stored, err := s.fingerprint(ctx)
	if err != nil {
		return err
	}
	s.roots = append([]RootKey{root}, previous...)
	if _, ok := s.rootOf(stored); !ok {
		s.roots = nil
		return ErrOtherKey
	}
	return s.readKeys(ctx)
}

func (s *Store) readKeys(ctx context.Context) error {
	known, err := db.List[Secret](ctx, s.Write, "id", "id IN ?", keyPurposes)
	if err != nil {
		return db.Wrap("read secrets", err)
	}
	s.keys = map[string][]byte{}
	for _, row := range known {
		if s.keys[row.ID], err = s.unseal(secretPurpose, row.ID, row.Sealed); err != nil {
			return db.Wrap("open the secret "+row.ID, err)
		}
	}
	for _, purpose := range keyPurposes {
		if s.keys[purpose] == nil {
			if err := s.mayMake(ctx, purpose); err != nil {
				return err
			}
			if s.keys[purpose], err = s.Secret(ctx, purpose); err != nil {
				return err
			}
		}
	}
	return nil
}

// mayMake refuses to make a key that this database must have had: a new one would make all that was sealed with it worthless, in
// silence.
func (s *Store) mayMake(ctx context.Context, purpose string) error {
	used, ok := map[string]string{
		auditSealKey: "SELECT 1 FROM audit_seals WHERE id > 0 LIMIT 1",
		personalKey:  "SELECT 1 FROM audit_events WHERE personal IS NOT NULL UNION ALL SELECT 1 FROM browser_sessions WHERE personal IS NOT NULL LIMIT 1",
	}[purpose]
	if !ok {
		return nil
	}
	var one int
	err := db.QueryRow(ctx, s.Write, []any{&one}, used)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("the key %s is missing from the table secrets although it was in use: somebody deleted it; restore that row from a backup", purpose)
	}
	return db.Wrap("read secrets", err)
}

// Key is the 32-byte key for one purpose, the same in every process and under every root key.
func (s *Store) Key(purpose string) []byte {
	key := s.keys[purpose]
	if len(key) != 32 {
		panic("no key for " + purpose) // UseRootKey comes first
	}
	return key
}

func (r RootKey) fingerprint() string { return hex.EncodeToString(r.MAC("fingerprint", nil)) }

// CheckRootKey returns ErrOtherKey when the database was given another root key since this process started.
func (s *Store) CheckRootKey(ctx context.Context) error {
	stored, err := s.fingerprint(ctx)
	if err != nil {
		return err
	}
	if _, ok := s.rootOf(stored); !ok {
		return ErrOtherKey
	}
	return nil
}

func (s *Store) fingerprint(ctx context.Context) (string, error) {
	var stored string
	err := db.QueryRow(ctx, s.Write, []any{&stored}, "SELECT key_fingerprint FROM revision WHERE id = 1")
	return stored, db.Wrap("check the root key", err)
}

func (s *Store) rootOf(fingerprint string) (RootKey, bool) {
	for _, r := range s.roots {
		if hmac.Equal([]byte(r.fingerprint()), []byte(fingerprint)) {
			return r, true
		}
	}
	return RootKey{}, false
}

// seal encrypts under the root key that the database belongs to now. In a transaction that holds the lock of the revision
// it cannot come between a rekey and its end.
func (s *Store) seal(ctx context.Context, purpose, row string, plaintext []byte) ([]byte, error) {
	stored, err := s.fingerprint(ctx)
	if err != nil {
		return nil, err
	}
	root, ok := s.rootOf(stored)
	if !ok {
		return nil, ErrOtherKey
	}
	return root.Seal(purpose, row, plaintext)
}

// unseal decrypts what was sealed under any of the root keys.
func (s *Store) unseal(purpose, row string, sealed []byte) ([]byte, error) {
	for _, r := range s.roots {
		if r.sealed(sealed) {
			return r.Open(purpose, row, sealed)
		}
	}
	return nil, errDamaged
}

// HasRootKey reports whether a root key was ever used with this database.
func (s *Store) HasRootKey(ctx context.Context) (bool, error) {
	var n int64
	err := db.QueryRow(ctx, s.Write, []any{&n}, "SELECT count(*) FROM revision WHERE key_fingerprint IS NOT NULL")
	if err != nil {
		return false, fmt.Errorf("check the root key: %w", err)
	}
	return n > 0, nil
}
