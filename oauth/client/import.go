package client

import (
	"context"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"gatehouse/identity/passwordhash"
	"gatehouse/oauth/credential"
	"gatehouse/storage"
)

// maxSecret is the size of an imported secret.
const maxSecret = 200 // bytes

// importedID are the ids that an imported client can have: unreserved characters of URLs.
var importedID = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,255}$`)

// Imported is a client of another server. Only an import can supply the client_id and the secret.
type Imported struct {
	ID         string
	Secret     string // in clear
	SecretHash string // or its hash, in a notation of passwordhash
	NoSecret   bool   // the export has none, so that one has to be generated afterwards
	Disabled   bool
	Metadata   Metadata
}

// Import registers a client with its id and secret. It returns storage.ErrConflict when a client has the id,
// storage.ErrIDOfUser when it is the sub of a user, and a protocol error when the metadata is invalid. With dryRun it
// only returns the error.
func (g *Registry) Import(ctx context.Context, i Imported, dryRun bool) error {
	m := i.Metadata
	if !importedID.MatchString(i.ID) || strings.HasPrefix(i.ID, credential.Prefix) {
		return invalid("the client_id must have 1 to 255 letters, digits and characters of -._~")
	}
	if err := m.applyDefaultsAndValidate(); err != nil {
		return err
	}
	now := g.store.Now()
	c := &storage.Client{ID: i.ID, Epoch: 1, CreatedAt: now, UpdatedAt: now}
	copyToRecord(c, &m)
	if i.Disabled {
		c.DisabledAt = &now
	}
	var err error
	if c.Sector, err = g.resolveSector(ctx, c, &m); err != nil {
		return err
	}
	if isSecretMethod(c.AuthMethod) && !i.NoSecret {
		secret, err := g.importedSecret(i)
		if err != nil {
			return err
		}
		c.Secrets = []storage.ClientSecret{secret}
	}
	return g.store.Tx(ctx, func(tx *storage.Store) error {
		if err := tx.CheckImportedClientID(ctx, c.ID); err != nil || dryRun {
			return err
		}
		if _, err := tx.CreateMissingScopes(ctx, c.Scopes); err != nil {
			return err
		}
		return tx.CreateClient(ctx, c, map[string]any{"imported": true})
	})
}

// importedSecret returns the row of a secret: one of Gatehouse's form as such, any other with a slow hash.
func (g *Registry) importedSecret(i Imported) (storage.ClientSecret, error) {
	row := storage.ClientSecret{ID: uuid.NewString(), ClientID: i.ID, Hash: []byte{}, CreatedAt: g.store.Now()}
	switch {
	case i.SecretHash != "":
		h, err := passwordhash.Parse(i.SecretHash)
		if err != nil {
			return row, invalid("the client secret: %w", err)
		}
		if h.Kind().IsWeak() {
			return row, invalid("the client secret has a hash of the weak kind %s", h.Kind())
		}
		row.SlowHash = h.String()
	case len(i.Secret) > maxSecret || i.Secret == "":
		return row, invalid("the client secret must have 1 to %d bytes", maxSecret)
	case g.format.Valid(credential.ClientSecret, i.Secret):
		row.Hash = credential.Hash(i.Secret)
	default:
		row.SlowHash = hashSecret(i.Secret)
	}
	return row, nil
}
