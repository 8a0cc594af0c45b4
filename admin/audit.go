package admin

import (
	"context"
	"errors"
	"strings"

	"github.com/google/uuid"

	"gatehouse/storage"
)

// AuditClientID returns the client_id of a client by client_id or name, for a filter of audit rows. Any other value is
// returned as it is: the client may be deleted, or a failed request named an unregistered one.
func (a *Admin) AuditClientID(ctx context.Context, idOrName string) (string, error) {
	if idOrName == "" {
		return "", nil
	}
	c, err := a.Client(ctx, idOrName)
	if errors.Is(err, storage.ErrNotFound) {
		return idOrName, nil
	}
	if err != nil {
		return "", err
	}
	return c.ID, nil
}

// AuditUserID returns the sub of a user by username, email address or sub, for audit rows. The user may be deleted if
// the sub is passed; otherwise AuditUserID returns storage.ErrNotFound.
func (a *Admin) AuditUserID(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	u, err := a.User(ctx, name)
	if _, invalid := uuid.Parse(name); invalid == nil && errors.Is(err, storage.ErrNotFound) {
		return strings.ToLower(name), nil
	}
	return u.ID, err
}
