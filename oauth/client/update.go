package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"gatehouse/oauth/granttype"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// Update changes the members of the patch (RFC 7396). Removing scopes or resources from the client revokes its tokens
// and grants. It returns scopes that were created, storage.ErrNotFound, or a protocol error when the metadata is
// invalid.
func (g *Registry) Update(ctx context.Context, id string, patch []byte) (Information, []string, error) {
	return g.update(ctx, id, operatorChange(patch))
}

// operatorChange returns the change of the members of a patch by the operator.
func operatorChange(patch []byte) metadataChange {
	return metadataChange{patch: patch, newMetadata: func(c *storage.Client) (Metadata, error) {
		m, changes := InformationOf(c).Metadata, patch
		if c.IsDocument() {
			var err error
			if changes, err = withoutRestoredMembers(patch); err != nil {
				return Metadata{}, err
			}
		}
		if err := m.merge(changes); err != nil {
			return Metadata{}, err
		}
		if m.usesCodes() != c.GrantTypes.Has(granttype.AuthorizationCode) &&
			!bytes.Contains(patch, []byte(`"response_types"`)) {
			m.ResponseTypes = nil
		}
		return m, nil
	}}
}

// metadataChange is a change of a client.
type metadataChange struct {
	newMetadata func(c *storage.Client) (Metadata, error) // returns the new metadata
	byClient    bool                                      // the client changes its own registration (RFC 7592)
	patch       []byte                                    // of the operator
	preregister bool                                      // the operator registers the client of a document in advance
}

// metadata returns the new metadata of the client, validated.
func (u metadataChange) metadata(c *storage.Client) (Metadata, error) {
	m, err := u.newMetadata(c)
	if err == nil {
		err = m.applyDefaultsAndValidate()
	}
	if err == nil && m.isPublic() != c.IsPublic() && !u.preregister {
		err = invalid("A public client cannot become confidential, nor a confidential one public; register a new client.")
	}
	if err == nil && c.IsDocument() && u.removesScope() {
		err = invalid("The scopes of a client with a document are the operator's; scope must not be null.")
	}
	if err == nil && c.IsDocument() && isSecretMethod(m.TokenEndpointAuthMethod) {
		err = invalid("A client with a document has no secret; token_endpoint_auth_method must be none or private_key_jwt.")
	}
	return m, err
}

// removesScope reports whether the patch removes the member scope, and not only scopes.
func (u metadataChange) removesScope() bool {
	var patch struct {
		Scope json.RawMessage `json:"scope"`
	}
	return json.Unmarshal(u.patch, &patch) == nil && isNull(patch.Scope)
}

// errConcurrentChange is returned when a client's record changed between reading it and changing it.
var errConcurrentChange = errors.New("the client was changed concurrently")

// update changes a client. Documents are fetched before the transaction; if the record changed in the meantime in a
// way that affects them, it starts again.
func (g *Registry) update(ctx context.Context, id string, u metadataChange) (Information, []string, error) {
	for range 3 {
		c, err := g.store.Client(ctx, id)
		if err != nil {
			return Information{}, nil, err
		}
		m, err := u.metadata(c)
		if err != nil {
			return Information{}, nil, err
		}
		sector, err := g.resolveSector(ctx, c, &m)
		if err != nil {
			return Information{}, nil, err
		}
		info, added, err := g.writeUpdate(ctx, id, u, &m, sector)
		if !errors.Is(err, errConcurrentChange) {
			return info, added, err
		}
	}
	return Information{}, nil, protocol.UnavailableError(errConcurrentChange)
}

// writeUpdate stores the update in one transaction. checked is the metadata that sector was found for.
func (g *Registry) writeUpdate(
	ctx context.Context, id string, u metadataChange, checked *Metadata, sector string,
) (info Information, added []string, err error) {
	err = g.store.Tx(ctx, func(tx *storage.Store) error {
		return tx.UpdateClient(ctx, id, func(c *storage.Client) (update storage.ClientUpdate, err error) {
			m, err := u.metadata(c)
			if err != nil {
				return update, err
			}
			if !slices.Equal(m.sectorInputs(), checked.sectorInputs()) {
				return update, errConcurrentChange
			}
			before := *c
			copyToRecord(c, &m)
			c.Sector = sector
			if u.byClient {
				err = restrictSelfUpdate(ctx, tx, &before, c)
			} else {
				added, err = tx.CreateMissingScopes(ctx, c.Scopes)
			}
			if err == nil {
				err = checkNewGroups(ctx, tx, &before, c)
			}
			if err != nil {
				return update, err
			}
			if c.IsUnverified() && isDescribedDifferently(&before, c) {
				c.DescribedAt = new(g.store.Now())
			}
			if c.IsDocument() {
				if err := u.setOperatorMembers(ctx, tx, c); err != nil {
					return update, err
				}
			}
			info = InformationOf(c)
			update.RevokeTokens = isNarrowed(&before, c)
			update.Detail, err = changedMembers(InformationOf(&before).Metadata, info.Metadata, u.byClient)
			if u.preregister && err == nil {
				update.Detail["preregistered"] = true
			}
			return update, err
		})
	})
	return info, added, err
}

// setOperatorMembers stores which members of a client with a document the operator has set. If the patch restores a
// value of the document, the document is fetched again at the next use.
func (u metadataChange) setOperatorMembers(ctx context.Context, tx *storage.Store, c *storage.Client) error {
	if u.preregister && c.Preregistered {
		return storage.ErrConflict
	}
	c.Preregistered = c.Preregistered || u.preregister
	names, restored := operatorMembers(c, u.patch)
	c.OperatorMembers = names
	if !restored {
		return nil
	}
	c.DocumentHash = make([]byte, sha256.Size) // that of no document
	return tx.ExpireClientDocument(ctx, c.ID)
}

// maxOwnValues is how many bytes of values the audit event has of a change that a client made itself: the log grows
// without a sign-in.
const maxOwnValues = 1000

// differentMembers returns the members in which two descriptions differ, and all members of both in JSON.
func differentMembers(before, after Metadata) (
	different []member, old, current map[string]json.RawMessage, err error,
) {
	if old, err = jsonObject(before); err != nil {
		return nil, nil, nil, err
	}
	if current, err = jsonObject(after); err != nil {
		return nil, nil, nil, err
	}
	for _, m := range members() {
		if !bytes.Equal(old[m.name], current[m.name]) {
			different = append(different, m)
		}
	}
	return different, old, current, nil
}

// changedMembers returns the detail of an audit event: the names of the members that changed, and the values of some.
func changedMembers(before, after Metadata, byClient bool) (map[string]any, error) {
	different, old, current, err := differentMembers(before, after)
	if err != nil {
		return nil, err
	}
	changed, was, now := []string{}, map[string]json.RawMessage{}, map[string]json.RawMessage{}
	size, omitted := 0, []string{}
	for _, m := range different {
		changed = append(changed, m.name)
		if !m.auditsValues {
			continue
		}
		if size += len(old[m.name]) + len(current[m.name]); byClient && size > maxOwnValues {
			omitted = append(omitted, m.name)
			continue
		}
		was[m.name], now[m.name] = old[m.name], current[m.name] // nil: absent
	}
	detail := map[string]any{"changed": changed}
	if len(was) > 0 {
		detail["was"], detail["now"] = was, now
	}
	if len(omitted) > 0 {
		detail["too_large"] = omitted
	}
	return detail, nil
}

// restrictSelfUpdate restricts what a client may change in its own registration. It cannot move to another sector,
// where it would learn the subjects of that sector's users; it cannot have scopes that were deleted; and the consent
// page is skipped, and does not warn, only for the description that the operator trusted.
func restrictSelfUpdate(ctx context.Context, tx *storage.Store, before, after *storage.Client) error {
	if changesSubjects(before, after) {
		return invalid(
			"A client cannot change its subject_type or, with pairwise subjects, the host of its sector; register a new client.",
		)
	}
	scopes, err := tx.Scopes(ctx)
	if err != nil {
		return err
	}
	for _, list := range []*storage.Strings{&before.Scopes, &after.Scopes, &after.OptionalScopes, after.DefaultScopes} {
		if list != nil {
			*list = slices.DeleteFunc(slices.Clone(*list), func(name string) bool { _, ok := scopes[name]; return !ok })
		}
	}
	endTrustOfDescription(before, after)
	return nil
}

// endTrustOfDescription shows the consent page and its warning again when the client, and not the operator, changed
// what the operator trusted: its description, where responses can be sent, or how it authenticates.
func endTrustOfDescription(before, after *storage.Client) {
	isNew := func(uri string) bool { return !slices.Contains(before.RedirectURIs, uri) }
	if isDescribedDifferently(before, after) || before.AuthMethod != after.AuthMethod ||
		slices.ContainsFunc(after.RedirectURIs, isNew) {
		after.SkipConsent, after.Vouched = false, false
	}
}

// sectorInputs returns what the result of resolveSector depends on.
func (m *Metadata) sectorInputs() []string {
	return append([]string{
		m.SectorIdentifierURI, m.SubjectType, m.JWKSURI, m.LogoURI, m.BackchannelLogoutURI, strings.Join(m.RequestURIs, " "),
	}, m.RedirectURIs...)
}

// isDescribedDifferently reports whether the client is described differently from what users allowed: by its name, its
// pages, the URL of its logo, the destinations of responses, or the link on the account page.
func isDescribedDifferently(before, after *storage.Client) bool {
	destinations := func(c *storage.Client) (out []redirect.Destination) {
		for _, uri := range c.RedirectURIs {
			out = append(out, redirect.DestinationOf(uri))
		}
		return out
	}
	old := destinations(before)
	return before.Name != after.Name || before.URI != after.URI || before.LogoURI != after.LogoURI ||
		before.PolicyURI != after.PolicyURI || before.TosURI != after.TosURI ||
		before.InitiateLoginURI != after.InitiateLoginURI ||
		slices.ContainsFunc(destinations(after), func(d redirect.Destination) bool { return !slices.Contains(old, d) })
}

// isNarrowed reports whether the client lost a scope, resource or audience that issued tokens may have, or its subjects
// change (OIDC Core §12.2 requires that a refreshed ID token has the same).
func isNarrowed(before, after *storage.Client) bool {
	lost := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(item string) bool { return !slices.Contains(b, item) })
	}
	if after.Resources != nil && (before.Resources == nil || lost(*before.Resources, *after.Resources)) {
		return true
	}
	if changesSubjects(before, after) {
		return true
	}
	return lost(before.Scopes, after.Scopes) || lost(before.Audience, after.Audience) ||
		before.Resources != nil && after.Resources == nil
}

// changesSubjects reports whether users have other subjects at the client than before.
func changesSubjects(before, after *storage.Client) bool {
	return before.SubjectType != after.SubjectType ||
		after.SubjectType == storage.SubjectPairwise && before.Sector != after.Sector
}
