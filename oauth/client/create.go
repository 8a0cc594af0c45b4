package client

import (
	"context"
	"time"

	"github.com/google/uuid"

	"gatehouse/oauth/credential"
	"gatehouse/storage"
)

// Create registers a client with a generated ID and, if it authenticates by one, a generated secret, which is in the
// result and nowhere else. Scopes that do not exist are created and returned too. It returns a protocol error when the
// metadata is invalid.
func (g *Registry) Create(ctx context.Context, m Metadata) (Information, []string, error) {
	if err := m.applyDefaultsAndValidate(); err != nil {
		return Information{}, nil, err
	}
	c, secret, err := g.newClient(ctx, &m)
	if err != nil {
		return Information{}, nil, err
	}
	var added []string
	err = g.store.Tx(ctx, func(tx *storage.Store) error {
		var err error
		if added, err = tx.CreateMissingScopes(ctx, c.Scopes); err != nil {
			return err
		}
		if err := checkNewGroups(ctx, tx, &storage.Client{}, c); err != nil {
			return err
		}
		return tx.CreateClient(ctx, c, nil)
	})
	if err != nil {
		return Information{}, nil, err
	}
	return InformationOf(c).withSecret(secret), added, nil
}

// newClient returns the record of valid metadata, with a generated ID and, if the client authenticates by one, a
// generated secret.
func (g *Registry) newClient(ctx context.Context, m *Metadata) (c *storage.Client, secret string, err error) {
	now := g.store.Now()
	c = &storage.Client{ID: "gc" + credential.Random(20), Epoch: 1, CreatedAt: now, UpdatedAt: now}
	copyToRecord(c, m)
	if c.Sector, err = g.resolveSector(ctx, c, m); err != nil {
		return nil, "", err
	}
	if isSecretMethod(c.AuthMethod) {
		secret = g.format.New(credential.ClientSecret)
		c.Secrets = []storage.ClientSecret{
			{ID: uuid.NewString(), ClientID: c.ID, Hash: credential.Hash(secret), CreatedAt: now},
		}
	}
	return c, secret, nil
}

// RotateSecret adds a secret and returns it. The others stay valid for overlap; without it they become invalid
// immediately, and every token that the client has is revoked. It returns storage.ErrNotFound or a protocol error for
// a client without secrets.
func (g *Registry) RotateSecret(ctx context.Context, id string, overlap time.Duration) (Information, error) {
	c, err := g.store.Client(ctx, id)
	if err != nil {
		return Information{}, err
	}
	if !isSecretMethod(c.AuthMethod) {
		return Information{}, invalid("The client has no secret; it authenticates with %s.", c.AuthMethod)
	}
	now := g.store.Now()
	secret := g.format.New(credential.ClientSecret)
	row := &storage.ClientSecret{ID: uuid.NewString(), ClientID: id, Hash: credential.Hash(secret), CreatedAt: now}
	if err := g.store.AddClientSecret(ctx, row, overlap); err != nil {
		return Information{}, err
	}
	return InformationOf(c).withSecret(secret), nil
}
