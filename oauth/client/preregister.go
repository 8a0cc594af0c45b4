package client

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"

	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// CreateFromDocument registers the client of a client ID metadata document in advance. The members of the patch are
// those of the operator, which take precedence over the document (draft-ietf-oauth-client-id-metadata-document §6.9).
// The document may be outside the list of the policy. A client that was already created from the document stays, with
// its consents; a patch that removes scopes, resources or audiences revokes its tokens and grants. It returns the
// scopes that were created, storage.ErrConflict when the client was registered in advance before, or a protocol error
// when the document or the metadata cannot be used.
func (g *Registry) CreateFromDocument(ctx context.Context, id string, patch []byte) (Information, []string, error) {
	if !isURL(id) {
		return Information{}, nil, documentError("The client_id must be an https URL.")
	}
	if err := g.checkDocumentURL(id, true); err != nil {
		return Information{}, nil, err
	}
	_, err := g.store.Client(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		info, added, err := g.createFromDocument(ctx, id, patch)
		if !errors.Is(err, storage.ErrConflict) {
			return info, added, err
		}
		// Another process has just made it from the document.
	} else if err != nil {
		return Information{}, nil, err
	}
	change := operatorChange(patch)
	change.preregister = true
	return g.update(ctx, id, change)
}

func (g *Registry) createFromDocument(
	ctx context.Context, id string, patch []byte,
) (info Information, added []string, err error) {
	d, err := g.fetchDocument(ctx, id, "")
	if err != nil {
		return Information{}, nil, err
	}
	change := operatorChange(patch)
	change.preregister = true
	if d.metadata, err = change.metadata(g.newDocumentClient(d)); err != nil {
		return Information{}, nil, err
	}
	if err := g.checkFetchedURIs(&d.metadata); err != nil {
		return Information{}, nil, err
	}
	c := g.newDocumentClient(d)
	c.Preregistered = true
	c.OperatorMembers, _ = operatorMembers(c, patch)
	err = g.store.Tx(ctx, func(tx *storage.Store) error {
		var err error
		if added, err = tx.CreateMissingScopes(ctx, c.Scopes); err != nil {
			return err
		}
		if err := checkNewGroups(ctx, tx, &storage.Client{}, c); err != nil {
			return err
		}
		return tx.CreateDocumentClient(ctx, c, d.state)
	})
	if err != nil {
		return Information{}, nil, err
	}
	return InformationOf(c), added, nil
}

// isDocumentMember reports whether the value of a member is that of the document unless the operator sets it. Scopes
// are the operator's from the beginning, like the members that no document can set.
func isDocumentMember(name string) bool {
	return slices.ContainsFunc(members(), func(m member) bool {
		return m.name == name && !m.isOperator && m.record != nil && name != "scope"
	})
}

// keyMembers exclude each other, so setting or restoring one applies to both.
var keyMembers = []string{"jwks", "jwks_uri"}

const methodMember = "token_endpoint_auth_method"

// withoutRestoredMembers returns the patch without the members that it sets to null to restore the value of the
// document.
func withoutRestoredMembers(patch []byte) ([]byte, error) {
	changes := map[string]json.RawMessage{}
	if err := json.Unmarshal(patch, &changes); err != nil {
		return nil, protocol.NewError(protocol.InvalidClientMetadata, "The client metadata must be a JSON object.")
	}
	for name, value := range changes {
		if isDocumentMember(name) && isNull(value) {
			delete(changes, name)
		}
	}
	if setsKeys(changes) {
		for _, name := range keyMembers {
			if changes[name] == nil {
				changes[name] = json.RawMessage("null")
			}
		}
	}
	return json.Marshal(changes)
}

// setsKeys reports whether a patch has keys, or the URL of keys.
func setsKeys(patch map[string]json.RawMessage) bool {
	return slices.ContainsFunc(keyMembers, func(name string) bool { return patch[name] != nil && !isNull(patch[name]) })
}

// operatorMembers returns the members of the document that the operator has set after the patch, sorted. restored
// reports whether the patch restores a value of the document.
func operatorMembers(c *storage.Client, patch []byte) (names storage.Strings, restored bool) {
	changes := map[string]json.RawMessage{}
	if json.Unmarshal(patch, &changes) != nil {
		return c.OperatorMembers, false
	}
	_, hasKeys := changes[keyMembers[0]]
	_, hasURI := changes[keyMembers[1]]
	switch {
	case setsKeys(changes):
		// With the method, or a document that changes to none would make the keys ineffective.
		for _, name := range append(keyMembers, methodMember) {
			changes[name] = json.RawMessage("true") // only whether it is null matters
		}
	case hasKeys || hasURI:
		for _, name := range keyMembers {
			changes[name] = json.RawMessage("null")
		}
	}
	names = slices.Clone(c.OperatorMembers)
	for name, value := range changes {
		i := slices.Index(names, name)
		switch {
		case !isDocumentMember(name):
		case !isNull(value) && i < 0:
			names = append(names, name)
		case isNull(value) && i >= 0:
			names, restored = slices.Delete(names, i, i+1), true
		}
	}
	slices.Sort(names)
	return names, restored
}

// restoreOperatorMembers replaces the members that the operator has set with the operator's values, and validates the
// result.
func (m *Metadata) restoreOperatorMembers(names []string, operator *Metadata) error {
	if len(names) == 0 {
		return nil
	}
	target, source := reflect.ValueOf(m).Elem(), reflect.ValueOf(operator).Elem()
	for _, f := range members() {
		if slices.Contains(names, f.name) {
			target.FieldByIndex(f.index).Set(source.FieldByIndex(f.index))
		}
	}
	m.ResponseTypes = nil // those of the grant types
	return m.applyDefaultsAndValidate()
}
