package admin

import (
	"context"
	"time"

	"gatehouse/oauth/keyring"
)

// KeyInformation is a signing key without the key itself.
type KeyInformation struct {
	KID       string     `json:"kid"`
	Algorithm string     `json:"alg"`
	Stage     string     `json:"stage"`
	CreatedAt time.Time  `json:"created_at"`
	ActiveAt  time.Time  `json:"active_at"`
	RetiresAt *time.Time `json:"retires_at,omitempty"`
	RemovedAt *time.Time `json:"removed_at,omitempty"`
}

// SigningKeys returns the signing keys with their stages.
func (a *Admin) SigningKeys(ctx context.Context) ([]KeyInformation, error) {
	keys, err := a.store.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	all := []KeyInformation{}
	for _, k := range keys {
		all = append(all, KeyInformation{
			k.ID, k.Algorithm, keyring.Stage(k, a.store.Now()), k.CreatedAt, k.ActiveAt, k.RetiresAt, k.RemovedAt,
		})
	}
	return all, nil
}

// RotateSigningKeys publishes new signing keys, which sign once every API has them. With now, for a leaked key, they
// sign immediately and every token signed before is refused. It returns keyring.ErrRotating during a rotation.
func (a *Admin) RotateSigningKeys(ctx context.Context, now bool) error {
	return a.keyring.Rotate(ctx, now)
}
