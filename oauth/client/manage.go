package client

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"gatehouse/keyed"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

const (
	invalidRegistrationAccessDescription = "The registration access token is not the one of this client."
	missingRegistrationAccessDescription = "The registration access token of the client is required; " +
		"send it in the Authorization header with the scheme Bearer."
)

// Manage serves GET, PUT and DELETE /oauth2/register/{client_id}: a client reads, changes or deletes its own
// registration with its registration access token (RFC 7592 §2).
func (g *Registry) Manage(w http.ResponseWriter, r *http.Request) error {
	c, token, err := g.authenticateRegistration(r)
	if err != nil {
		return err
	}
	open, err := g.openScopes(r.Context())
	if err != nil {
		return err
	}
	switch r.Method {
	case http.MethodGet:
		protocol.WriteJSON(w, http.StatusOK, g.registrationResponse(c, open, "", token))
		return nil
	case http.MethodPut:
		c, err = g.replaceRegistration(w, r, c, open)
		if errors.Is(err, storage.ErrNotFound) { // the client was deleted in the meantime
			return protocol.BearerError(protocol.InvalidToken, invalidRegistrationAccessDescription)
		}
		if err != nil {
			return err
		}
		protocol.WriteJSON(w, http.StatusOK, g.registrationResponse(c, open, "", token))
		return nil
	case http.MethodDelete:
		err := g.store.DeleteClient(r.Context(), c.ID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return protocol.MethodNotAllowedError("GET, PUT, DELETE", "Use GET, PUT or DELETE.")
}

// authenticateRegistration returns the client of the path if the token belongs to it. An unknown client and an invalid
// token have the same error (RFC 7592 §2.1).
func (g *Registry) authenticateRegistration(r *http.Request) (*storage.Client, string, error) {
	refusal := protocol.BearerError(protocol.InvalidToken, invalidRegistrationAccessDescription)
	token, err := g.bearerToken(
		r, credential.RegistrationAccess, missingRegistrationAccessDescription, invalidRegistrationAccessDescription,
	)
	if err != nil {
		return nil, "", err
	}
	id := r.PathValue("id")
	if !IsWellFormedID(id) {
		return nil, "", refusal
	}
	c, err := g.store.Client(r.Context(), id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, "", refusal
	}
	if err != nil {
		return nil, "", protocol.UnavailableError(err)
	}
	if c.RegistrationHash == nil || c.DisabledAt != nil ||
		!keyed.Equal(c.RegistrationHash, credential.Hash(token)) {
		return nil, "", refusal
	}
	reqevent.FromContext(r.Context()).ClientID = c.ID
	return c, token, nil
}

// replaceRegistration replaces the metadata of a client by the body: members that are absent are removed, and those of
// the operator stay (RFC 7592 §2.2).
func (g *Registry) replaceRegistration(
	w http.ResponseWriter, r *http.Request, c *storage.Client, open []string,
) (*storage.Client, error) {
	body, err := readMetadata(w, r)
	if err != nil {
		return nil, err
	}
	if err := g.checkReplacement(body, c); err != nil {
		return nil, err
	}
	change := metadataChange{byClient: true, newMetadata: func(c *storage.Client) (Metadata, error) {
		m, err := g.parseSelfRegistration(body, c.Scopes, open) // a scope that the operator removed stays removed
		if err != nil {
			return Metadata{}, err
		}
		usesSecret := m.TokenEndpointAuthMethod == "" || isSecretMethod(m.TokenEndpointAuthMethod)
		if usesSecret && !isSecretMethod(c.AuthMethod) {
			return Metadata{}, invalid(
				"A client without a secret cannot change to a token_endpoint_auth_method with one; register a new client.",
			)
		}
		m.OperatorMetadata = InformationOf(c).OperatorMetadata
		m.OptionalScopes = onlyRegistered(m.OptionalScopes, m.Scope)
		if m.DefaultScopes != nil {
			m.DefaultScopes = new(onlyRegistered(*m.DefaultScopes, m.Scope))
		}
		return m, nil
	}}
	if _, _, err = g.update(r.Context(), c.ID, change); err != nil {
		return nil, err
	}
	return g.store.Client(r.Context(), c.ID)
}

// checkReplacement checks the members that are about the registration itself (RFC 7592 §2.2).
func (g *Registry) checkReplacement(body []byte, c *storage.Client) error {
	var about struct {
		ClientID string          `json:"client_id"`
		Secret   *string         `json:"client_secret"`
		Token    json.RawMessage `json:"registration_access_token"`
		URI      json.RawMessage `json:"registration_client_uri"`
		Expires  json.RawMessage `json:"client_secret_expires_at"`
		Issued   json.RawMessage `json:"client_id_issued_at"`
	}
	if err := json.Unmarshal(body, &about); err != nil {
		return wrongTypeError(err)
	}
	switch {
	case about.ClientID != c.ID:
		return invalid("client_id is required and must be the client_id of the URL.")
	case about.Token != nil || about.URI != nil || about.Expires != nil || about.Issued != nil:
		return invalid(
			"Remove registration_access_token, registration_client_uri, client_secret_expires_at and client_id_issued_at.",
		)
	case about.Secret != nil && !c.HasSecret(credential.Hash(*about.Secret), g.store.Now()):
		return invalid("client_secret must be the current secret of the client; it cannot be changed.")
	}
	return nil
}

// onlyRegistered returns the scopes of the list that the client still has.
func onlyRegistered(list List, scopes ScopeList) List {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return !slices.Contains(scopes, name) })
}
