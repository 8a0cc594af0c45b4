package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/oauth/client"
	"gatehouse/oauth/granttype"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// Client returns the client with a client_id, else the only client of an operator with that name. Self-registered
// clients are not found by name, because third parties choose those names. It returns storage.ErrNotFound when there
// is none.
func (a *Admin) Client(ctx context.Context, idOrName string) (*storage.Client, error) {
	return findClient(ctx, a.store, idOrName)
}

func findClient(ctx context.Context, store *storage.Store, idOrName string) (*storage.Client, error) {
	c, err := store.Client(ctx, idOrName)
	if !errors.Is(err, storage.ErrNotFound) {
		return c, err
	}
	named, err := store.ClientsByName(ctx, idOrName)
	if err != nil {
		return nil, err
	}
	var byOperator, bySelf []string // client_ids, by who set the name
	for _, c := range named {
		if c.IsUnverified() && !c.OperatorMembers.Has("client_name") {
			bySelf = append(bySelf, c.ID)
		} else {
			byOperator = append(byOperator, c.ID)
		}
	}
	switch {
	case len(byOperator) == 1:
		return store.Client(ctx, byOperator[0])
	case len(byOperator) > 1:
		return nil, fmt.Errorf("%d clients are named %q; pass a client_id: %s",
			len(byOperator), idOrName, strings.Join(byOperator, ", "))
	case len(bySelf) > 0:
		return nil, fmt.Errorf("a client that set its name itself is not found by the name; pass its client_id: %s",
			strings.Join(bySelf, ", "))
	}
	return nil, storage.ErrNotFound
}

// Clients returns a page of clients, sorted by name. Each word of a search is the beginning of a word of the name or
// owner, or of the client_id.
func (a *Admin) Clients(ctx context.Context, l List) (Page[storage.Client], error) {
	return readPage(ctx, l, a.store.ClientPage)
}

// allClients returns all clients, sorted by name.
func (a *Admin) allClients(ctx context.Context) ([]storage.Client, error) {
	page, err := a.Clients(ctx, List{})
	return page.Items, err
}

// CreateClient registers a client and the scopes of it that do not exist yet, which it returns. The information has the
// secret, which is not stored.
func (a *Admin) CreateClient(
	ctx context.Context, m client.Metadata,
) (info client.Information, newScopes []string, err error) {
	return a.clients.Create(ctx, m)
}

// CreateClientFromDocument registers the client of the client ID metadata document at a URL in advance. The members of
// the patch take precedence over the document.
func (a *Admin) CreateClientFromDocument(
	ctx context.Context, url string, patch []byte,
) (info client.Information, newScopes []string, err error) {
	return a.clients.CreateFromDocument(ctx, url, patch)
}

// UpdateClient changes the members of the client's metadata that are in the patch; null removes a member. It returns
// the scopes that did not exist before. Removing scopes, resources or audiences revokes the client's tokens and grants.
func (a *Admin) UpdateClient(
	ctx context.Context, id string, patch []byte,
) (info client.Information, newScopes []string, err error) {
	return a.clients.Update(ctx, id, patch)
}

// RotateClientSecret adds a secret, which the information has, and lets the earlier ones expire after the overlap. With
// an overlap of 0 it also revokes the client's tokens.
func (a *Admin) RotateClientSecret(ctx context.Context, id string, overlap time.Duration) (client.Information, error) {
	return a.clients.RotateSecret(ctx, id, overlap)
}

// VouchForClient marks a client that registered itself or uses a document as checked by the operator. It returns
// ErrNotSelfRegistered for another client.
func (a *Admin) VouchForClient(ctx context.Context, id string) error {
	c, err := a.store.Client(ctx, id)
	if err != nil {
		return err
	}
	if !c.IsUnverified() || c.Preregistered {
		return ErrNotSelfRegistered
	}
	_, _, err = a.clients.Update(ctx, id, []byte(`{"gatehouse_vouched":true}`))
	return err
}

// ErrNotSelfRegistered is returned when the operator vouches for a client that the operator registered.
var ErrNotSelfRegistered = errors.New("the operator registered this client, so users are not warned of it")

// RefreshClientDocument fetches the client ID metadata document of a client immediately. It returns the members of the
// client that changed.
func (a *Admin) RefreshClientDocument(ctx context.Context, id string) (changed []string, err error) {
	return a.clients.RefreshDocument(ctx, id)
}

// DisableClient refuses the client until it is enabled, and revokes its tokens and grants permanently.
func (a *Admin) DisableClient(ctx context.Context, id string) error {
	return a.store.DisableClient(ctx, id)
}

// EnableClient accepts a disabled client and its secrets again.
func (a *Admin) EnableClient(ctx context.Context, id string) error {
	return a.store.EnableClient(ctx, id)
}

// DeleteClient deletes the client with its secrets and consents. It returns ErrDocumentAllowed for a client that would
// be created again at the next request.
func (a *Admin) DeleteClient(ctx context.Context, id string) error {
	c, err := a.store.Client(ctx, id)
	if err != nil {
		return err
	}
	if c.IsDocument() && a.clients.AllowsDocumentURL(c.ID) {
		return ErrDocumentAllowed
	}
	return a.store.DeleteClient(ctx, id)
}

// ErrDocumentAllowed is returned for the deletion of a client whose document the policy accepts without registration in
// advance.
var ErrDocumentAllowed = errors.New("the next request with this client_id would create the client again, without " +
	"what you have set for it: disable it, or first change GATEHOUSE_CLIENT_DOCUMENT_HOSTS, or " +
	"GATEHOUSE_CLIENT_DOCUMENTS if it is open")

// A ClientWarning is a valid property of a client that is probably not intended.
type ClientWarning int

// The warnings about clients.
const (
	ClientWithoutName           ClientWarning = iota // users see its client_id
	ClientWithoutScope                               // and it has no sign-in
	SignInWithoutScope                               // so that it cannot request openid either
	ClaimScopesWithoutOpenID                         // scopes of user claims have no effect
	OfflineAccessWithoutRefresh                      // it has no grant type refresh_token
	DocumentsNotAnnounced                            // clients do not learn from the server that they can use documents
)

// ClientWarnings returns the warnings about a client and its resources that are not registered.
func (a *Admin) ClientWarnings(
	ctx context.Context, info client.Information,
) (warnings []ClientWarning, unknownResources []string, err error) {
	if info.ClientName == info.ClientID {
		warnings = append(warnings, ClientWithoutName)
	}
	if len(info.Scope) == 0 {
		if granttype.HasUsers(info.GrantTypes) {
			warnings = append(warnings, SignInWithoutScope)
		} else {
			warnings = append(warnings, ClientWithoutScope)
		}
	}
	claimScopes := []string{protocol.ScopeProfile, protocol.ScopeEmail, protocol.ScopeAddress, protocol.ScopePhone}
	hasClaimScope := slices.ContainsFunc(info.Scope, func(name string) bool { return slices.Contains(claimScopes, name) })
	if hasClaimScope && !slices.Contains(info.Scope, protocol.ScopeOpenID) {
		warnings = append(warnings, ClaimScopesWithoutOpenID)
	}
	canRefresh := slices.Contains(info.GrantTypes, granttype.RefreshToken)
	if slices.Contains(info.Scope, protocol.ScopeOfflineAccess) && !canRefresh {
		warnings = append(warnings, OfflineAccessWithoutRefresh)
	}
	if info.Preregistered && !a.clients.AnnouncesDocuments() {
		warnings = append(warnings, DocumentsNotAnnounced)
	}
	if info.Resources == nil {
		return warnings, nil, nil
	}
	registered, err := a.store.Resources(ctx)
	for _, id := range *info.Resources {
		if _, ok := registered[id]; !ok {
			unknownResources = append(unknownResources, id)
		}
	}
	return warnings, unknownResources, err
}
