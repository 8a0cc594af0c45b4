package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"

	"gatehouse/oauth/fetch"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

const (
	maxDocument = 10 << 10

	// How long a document is current, whatever the response allows.
	minDocumentTTL = 5 * time.Minute
	maxDocumentTTL = 24 * time.Hour
	// documentGrace is how long after that a client can still authenticate while its document cannot be fetched.
	documentGrace = 24 * time.Hour
)

// One description for everything that prevents the connection, so that it does not disclose which servers exist in the
// network of this server.
const unreachableDescription = "The document at the client_id could not be fetched: its server must have a public " +
	"address, use https with a valid certificate, and respond within 5 seconds."

// Client returns the client of an authorization request. If the client_id is the URL of a client ID metadata document,
// the document is fetched unless the stored one is current. It returns storage.ErrNotFound, or a protocol error when
// the document cannot be used.
func (g *Registry) Client(ctx context.Context, id string) (*storage.Client, error) {
	c, err := g.store.Client(ctx, id)
	switch {
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return nil, protocol.UnavailableError(err)
	case !isURL(id), err == nil && (!c.IsDocument() || c.DisabledAt != nil):
		return c, err
	}
	if err := g.checkDocumentURL(id, c != nil && c.Preregistered); err != nil {
		return nil, err
	}
	if c != nil {
		d, err := g.store.ClientDocument(ctx, id)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, protocol.UnavailableError(err)
		}
		if err == nil && g.store.Now().Before(d.ExpiresAt) {
			return c, nil
		}
	}
	if err := g.checkFetchLimits(ctx, c != nil); err != nil {
		return nil, err
	}
	return g.fetchClient(ctx, id)
}

// refreshedClient returns the client that authenticates with its document, which is fetched again when it is no longer
// current. While that fails, the client stays as it is for a day. It returns a protocol error otherwise.
func (g *Registry) refreshedClient(ctx context.Context, c *storage.Client) (*storage.Client, error) {
	if !g.AllowsDocument(c) {
		return nil, documentError("The policy on client ID metadata documents no longer allows the client.")
	}
	d, err := g.store.ClientDocument(ctx, c.ID)
	if err != nil {
		return nil, protocol.UnavailableError(err)
	}
	now := g.store.Now()
	if now.Before(d.ExpiresAt) || c.DisabledAt != nil {
		return c, nil
	}
	if err = g.checkFetchLimits(ctx, true); err == nil {
		refreshed, fetchErr := g.fetchClient(ctx, c.ID)
		if fetchErr == nil {
			return refreshed, nil
		}
		err = fetchErr
	}
	if now.Before(d.ExpiresAt.Add(documentGrace)) {
		return c, nil
	}
	return nil, err
}

// ErrNoDocument is returned for a client that was not made from a client ID metadata document.
var ErrNoDocument = errors.New("the client has no client ID metadata document")

// RefreshDocument fetches the document of a client immediately, also while the stored one is current. It returns the
// members of the client that changed, or storage.ErrNotFound, ErrNoDocument, or a protocol error when the document
// cannot be used; the client then stays as it is.
func (g *Registry) RefreshDocument(ctx context.Context, id string) (changed []string, err error) {
	before, err := g.store.Client(ctx, id)
	if err != nil {
		return nil, err
	}
	if !before.IsDocument() {
		return nil, ErrNoDocument
	}
	if err := g.checkDocumentURL(id, before.Preregistered); err != nil {
		return nil, err
	}
	stored, err := g.store.ClientDocument(ctx, id)
	if err != nil {
		return nil, err
	}
	after, err := g.loadDocument(ctx, id, stored, "") // without the ETag, which an operator may mistrust
	if err != nil {
		return nil, err
	}
	different, _, _, err := differentMembers(InformationOf(before).Metadata, InformationOf(after).Metadata)
	for _, m := range different {
		changed = append(changed, m.name)
	}
	return changed, err
}

// checkFetchLimits counts a fetch that the network of the request causes, and refuses it when too many of its fetches
// failed. Failures of one network do not prevent another from using the same document, nor the network itself from
// using a stored one: any website can make its visitors request documents that fail.
func (g *Registry) checkFetchLimits(ctx context.Context, isStored bool) error {
	const description = "Too many client ID metadata documents were requested from your network. Retry later."
	network := reqevent.FromContext(ctx).Network()
	if !isStored {
		failures := ratelimit.Count{Limit: ratelimit.ClientDocumentFailure, Key: network}
		if err := protocol.LimitError(g.options.Limiter.Check(ctx, failures), description); err != nil {
			return err
		}
	}
	fetches := ratelimit.Count{Limit: ratelimit.ClientDocument, Key: network}
	return protocol.LimitError(g.options.Limiter.Count(ctx, fetches), description)
}

// fetchClient fetches the document at id, stores the client that it describes and returns it. Concurrent calls share
// one fetch, and a document that another call has fetched in the meantime is used. A failure counts for the network of
// each caller.
func (g *Registry) fetchClient(ctx context.Context, id string) (*storage.Client, error) {
	isListed := g.options.ClientDocuments.isListed(id)
	c, err := g.fetches.share(ctx, id, isListed, func(ctx context.Context) (*storage.Client, error) {
		d, err := g.store.ClientDocument(ctx, id)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, protocol.UnavailableError(err)
		}
		if err == nil && g.store.Now().Before(d.ExpiresAt) {
			return g.store.Client(ctx, id)
		}
		return g.loadDocument(ctx, id, d, d.ETag)
	})
	if isDocumentError(err) {
		g.options.Limiter.Count(ctx, ratelimit.Count{
			Limit: ratelimit.ClientDocumentFailure, Key: reqevent.FromContext(ctx).Network(),
		})
	}
	return c, err
}

// loadDocument fetches a document, unless it still has the ETag, stores the client that it describes and returns it.
// stored is the stored state of the document, empty if there is none.
func (g *Registry) loadDocument(
	ctx context.Context, id string, stored storage.ClientDocument, etag string,
) (*storage.Client, error) {
	d, err := g.fetchDocument(ctx, id, etag)
	if err != nil {
		return nil, err
	}
	if d.hash == nil {
		err = g.store.RenewClientDocument(ctx, stored, d.state)
	} else {
		err = g.storeDocument(ctx, stored, d)
	}
	if err != nil {
		return nil, err
	}
	return g.store.Client(ctx, id)
}

// document is a document that was fetched.
type document struct {
	state    storage.ClientDocument
	hash     []byte // SHA-256; nil: the document has not changed
	metadata Metadata
}

// fetchDocument fetches a document, or returns no hash if it still has the ETag.
func (g *Registry) fetchDocument(ctx context.Context, id, etag string) (document, error) {
	owner := reqevent.FromContext(ctx).Network()
	doc, err := g.clientDocuments.Revalidate(ctx, owner, id, maxDocument, etag)
	if err != nil {
		return document{}, fetchError(ctx, err)
	}
	now := g.store.Now()
	d := document{state: storage.ClientDocument{
		ClientID: id, ETag: doc.ETag, FetchedAt: now,
		ExpiresAt: now.Add(min(max(doc.TTL, minDocumentTTL), maxDocumentTTL)),
	}}
	if len(d.state.ETag) > 200 {
		d.state.ETag = "" // fetched without a condition the next time
	}
	if doc.NotModified {
		return d, nil
	}
	if kind, _, err := mime.ParseMediaType(doc.Type); err != nil ||
		kind != "application/json" && (!strings.HasPrefix(kind, "application/") || !strings.HasSuffix(kind, "+json")) {
		return document{}, documentError("The document at the client_id must have the Content-Type application/json.")
	}
	if d.metadata, err = g.parseDocument(ctx, id, doc.Body); err != nil {
		return document{}, describeDocumentError(err, "is not valid")
	}
	hash := sha256.Sum256(doc.Body)
	d.hash = hash[:]
	return d, nil
}

// fetchError returns the protocol error of a failed fetch.
func fetchError(ctx context.Context, err error) error {
	var status fetch.StatusError
	switch {
	case fetch.IsOverloaded(ctx, err):
		return protocol.UnavailableError(err)
	case errors.As(err, &status):
		return documentError(fmt.Sprintf(
			"The document at the client_id has status %d; it must be 200, without a redirect.", int(status),
		)).WithCause(err)
	case errors.Is(err, fetch.ErrTooLarge):
		return documentError("The document at the client_id is larger than 10 KiB.").WithCause(err)
	}
	return documentError(unreachableDescription).WithCause(err)
}

// describeDocumentError returns the error of invalid metadata as one of the document. problem continues a sentence
// about the document.
func describeDocumentError(err error, problem string) error {
	e := (*protocol.Error)(nil)
	if !errors.As(err, &e) || e.Code != protocol.InvalidClientMetadata && e.Code != protocol.InvalidRedirectURI {
		return err
	}
	return documentError("The document at the client_id " + problem + ". " + e.Description).WithCause(e)
}

// isDocumentError reports whether a document cannot be used, and not a fault or a limit.
func isDocumentError(err error) bool {
	e := (*protocol.Error)(nil)
	return errors.As(err, &e) && e.Code == protocol.InvalidClient
}

// storeDocument stores the client that a document describes: a new one, or a change of the one made from it before.
// stored is the state of the document before the fetch.
func (g *Registry) storeDocument(ctx context.Context, stored storage.ClientDocument, d document) error {
	id := d.state.ClientID
	before, err := g.store.Client(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		err = g.store.CreateDocumentClient(ctx, g.newDocumentClient(d), d.state)
		if errors.Is(err, storage.ErrConflict) {
			return nil // another process has just stored it
		}
		return err
	case err != nil:
		return err
	case bytes.Equal(before.DocumentHash, d.hash):
		return g.store.RenewClientDocument(ctx, stored, d.state)
	}
	return g.store.Tx(ctx, func(tx *storage.Store) error {
		err := tx.UpdateClient(ctx, id, func(c *storage.Client) (storage.ClientUpdate, error) {
			return g.applyDocument(c, d.metadata, d.hash)
		})
		if err != nil {
			return err
		}
		return tx.RenewClientDocument(ctx, stored, d.state)
	})
}

// newDocumentClient returns the record of a client that a document describes.
func (g *Registry) newDocumentClient(d document) *storage.Client {
	now := g.store.Now()
	c := &storage.Client{ID: d.state.ClientID, CreatedAt: now, UpdatedAt: now, DocumentHash: d.hash}
	c.Epoch = now.UnixMilli() // later than that of a deleted client with this URL, whose tokens stay revoked
	copyToRecord(c, &d.metadata)
	c.Sector = sectorOfDocument(c.ID, &d.metadata)
	return c
}

// applyDocument changes a client to the metadata of its document. What only the operator can set, the scopes, and the
// members that the operator has set stay as they are. After a change of what users agreed to, of the redirect URIs, of
// the authentication method or of the keys, stored consent no longer skips the consent page; grants stay valid.
func (g *Registry) applyDocument(c *storage.Client, m Metadata, hash []byte) (storage.ClientUpdate, error) {
	before := *c
	earlier := InformationOf(&before).Metadata
	m.OperatorMetadata, m.Scope = earlier.OperatorMetadata, earlier.Scope
	if err := m.restoreOperatorMembers(c.OperatorMembers, &earlier); err != nil {
		return storage.ClientUpdate{}, describeDocumentError(err, "conflicts with what the operator set for the client")
	}
	copyToRecord(c, &m)
	c.DocumentHash, c.Sector = hash, sectorOfDocument(c.ID, &m)
	if isDescribedDifferently(&before, c) || !slices.Equal(before.RedirectURIs, c.RedirectURIs) ||
		before.AuthMethod != c.AuthMethod || before.JWKS != c.JWKS || before.JWKSURI != c.JWKSURI {
		c.DescribedAt = new(g.store.Now())
	}
	endTrustOfDescription(&before, c)
	detail, err := changedMembers(earlier, InformationOf(c).Metadata, true)
	if err != nil {
		return storage.ClientUpdate{}, err
	}
	detail["document"] = true
	return storage.ClientUpdate{RevokeTokens: isNarrowed(&before, c), Detail: detail}, nil
}

// sectorOfDocument returns the sector of pairwise subjects: the host of the client_id, which is what the document
// proves.
func sectorOfDocument(id string, m *Metadata) string {
	if m.SubjectType != storage.SubjectPairwise {
		return ""
	}
	return hostname(id)
}
