package oauth

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"gatehouse/oauth/credential"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

func (r Registration) open() bool { return r.Mode == RegistrationToken || r.Mode == RegistrationOpen }

// registered is the answer to a registration (RFC 7591 §3.2.1, RFC 7592 §3).
type registered struct {
	ClientInformation
	AccessToken string `json:"registration_access_token"`
	URI         string `json:"registration_client_uri"`
}

const (
	errInitialAccess      = "The initial access token is unknown, expired or used up."
	errRegistrationAccess = "The registration access token is not the one of this client."
)

// Register serves POST /oauth2/register (RFC 7591 §3, OIDC Registration §3). Where registration is not open to everyone, an
// initial access token is needed, of which each registration takes one use.
func (s *Server) Register(w http.ResponseWriter, r *http.Request) error {
	if !s.options.Registration.open() {
		return protocol.NewError(protocol.AccessDenied, "Dynamic client registration is disabled; ask the operator of this server.").WithStatus(http.StatusNotFound)
	}
	if r.Method != http.MethodPost {
		return protocol.MethodNotAllowed(http.MethodPost, "Use POST.")
	}
	ctx, hash := r.Context(), []byte(nil)
	if s.options.Registration.Mode == RegistrationToken {
		var err error
		if hash, err = s.initialAccess(r); err != nil {
			return err
		}
	}
	body, err := jsonBody(w, r)
	if err != nil {
		return err
	}
	m, err := s.selfDescribed(body, s.options.Registration.Scopes)
	if err != nil {
		return err
	}
	if err := m.complete(); err != nil {
		return err
	}
	c, secret, err := s.newClient(ctx, &m)
	if err != nil {
		return err
	}
	token := s.format.New(credential.RegistrationAccess)
	c.RegistrationHash = credential.Hash(token)
	err = s.store.Tx(ctx, func(tx *storage.Store) error {
		event := storage.Event{Type: storage.ClientRegistered, Scopes: c.Scopes.String()}
		if hash != nil {
			id, err := tx.ConsumeRegistrationToken(ctx, hash)
			if err != nil {
				return err
			}
			event.Detail = map[string]any{"registration_token": id}
			c.LastUsedAt = &c.CreatedAt // the operator allowed the registration, so it may stay unused for longer
		}
		return tx.CreateClient(ctx, c, event)
	})
	if errors.Is(err, storage.ErrNotFound) {
		return protocol.BearerError(protocol.InvalidToken, errInitialAccess)
	}
	if err != nil {
		return err
	}
	reqevent.From(ctx).ClientID = c.ID
	protocol.WriteJSON(w, http.StatusCreated, s.registered(c, secret, token))
	return nil
}

// initialAccess is the hash of a good initial access token. It is used up later, with the registration.
func (s *Server) initialAccess(r *http.Request) ([]byte, error) {
	token, err := s.presentedToken(r, credential.InitialAccess, "Send an initial access token, which whoever runs this server gives out, in the Authorization header, after Bearer.", errInitialAccess)
	if err != nil {
		return nil, err
	}
	hash := credential.Hash(token)
	ok, err := s.store.HasRegistrationToken(r.Context(), hash)
	if err != nil {
		return nil, protocol.Unavailable(err)
	}
	if !ok {
		return nil, protocol.BearerError(protocol.InvalidToken, errInitialAccess)
	}
	return hash, nil
}

// presentedToken is the bearer token of a registration request, of the right kind.
func (s *Server) presentedToken(r *http.Request, kind credential.Kind, missing, refusal string) (string, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", protocol.NoAccessToken(missing)
	}
	token := protocol.ParseBearer(headers[0])
	if !s.format.Valid(kind, token) {
		return "", protocol.BearerError(protocol.InvalidToken, refusal)
	}
	return token, nil
}

// jsonBody reads the body of a registration, which is a JSON object.
func jsonBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, protocol.NewError(protocol.InvalidClientMetadata, "Send the client metadata as application/json.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, params.MaxBodySize))
	if err != nil {
		return nil, protocol.NewError(protocol.InvalidClientMetadata, "The client metadata is larger than 64 KiB or could not be read.").WithCause(err)
	}
	if err := jwt.CheckJSONLimits(body, maxItems); err != nil {
		return nil, protocol.NewError(protocol.InvalidClientMetadata, "The client metadata "+err.Error()+".")
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil || object == nil || !utf8.Valid(body) {
		return nil, protocol.NewError(protocol.InvalidClientMetadata, "The client metadata is not a JSON object in UTF-8.").WithCause(err)
	}
	return body, nil
}

// selfDescribed reads what a client says of itself. Members that only the operator may set are ignored, scopes that it may
// not have are left out (RFC 7591 §2), and it may use the flows of people alone.
func (s *Server) selfDescribed(body []byte, allowed []string) (Metadata, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return Metadata{}, wrongType(err)
	}
	for name, raw := range members {
		if strings.HasPrefix(name, "gatehouse_") || string(raw) == `""` || string(raw) == "[]" {
			delete(members, name)
		}
	}
	own, err := json.Marshal(members)
	if err != nil {
		return Metadata{}, err
	}
	m, err := ParseMetadata(own)
	if err != nil {
		return Metadata{}, err
	}
	m.forgetOwn() // whatever way it came in
	if slices.Contains(m.GrantTypes, protocol.GrantClientCredentials) {
		return Metadata{}, protocol.NewError(protocol.InvalidClientMetadata, "The grant type client_credentials is for clients that the operator registers.")
	}
	if uri := m.InitiateLoginURI; uri != "" && !strings.HasPrefix(uri, "https://") {
		return Metadata{}, protocol.NewError(protocol.InvalidClientMetadata, "initiate_login_uri must be https.")
	}
	if uri := m.InitiateLoginURI; uri != "" && !slices.ContainsFunc(m.RedirectURIs, func(r string) bool { return sameOrigin(r, uri) }) {
		return Metadata{}, protocol.NewError(protocol.InvalidClientMetadata, "initiate_login_uri must have the host and port of one of redirect_uris.")
	}
	if len(m.Scope) == 0 {
		m.Scope = slices.Clone(allowed)
	}
	m.Scope = slices.DeleteFunc(m.Scope, func(name string) bool { return !slices.Contains(allowed, name) })
	m.RequirePKCE = ptr(s.options.Registration.RequirePKCE || m.TokenEndpointAuthMethod == storage.AuthNone)
	m.TokenEndpointAudience = true // it may know no more than OpenID Connect, which says so
	return m, nil
}

// sameOrigin reports whether a browser goes to the same https host and port for both URIs.
func sameOrigin(a, b string) bool {
	host := redirect.DestinationOf(a).Host
	return host != "" && host == redirect.DestinationOf(b).Host && strings.HasPrefix(a, "https://") && strings.HasPrefix(b, "https://")
}

// registered is the record in the words of the standard, without the operator's settings.
func (s *Server) registered(c *storage.Client, secret, token string) registered {
	info := withSecret(Information(c), secret)
	info.forgetOwn()
	info.DisabledAt, info.SelfRegistered = nil, false
	return registered{info, token, s.options.Issuer + "/oauth2/register/" + c.ID}
}

// RegisteredClient serves GET, PUT and DELETE /oauth2/register/{client_id}: a client reads, changes or removes its own
// registration with its registration access token (RFC 7592 §2).
func (s *Server) RegisteredClient(w http.ResponseWriter, r *http.Request) error {
	c, token, err := s.registeredClient(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	switch r.Method {
	case http.MethodGet:
		protocol.WriteJSON(w, http.StatusOK, s.registered(c, "", token))
		return nil
	case http.MethodPut:
		if c, err = s.replaceRegistration(w, r, c); err != nil {
			return err
		}
		protocol.WriteJSON(w, http.StatusOK, s.registered(c, "", token))
		return nil
	case http.MethodDelete:
		if err := s.store.DeleteClient(ctx, c.ID, storage.Event{Type: storage.ClientDeleted}); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return protocol.MethodNotAllowed("GET, PUT, DELETE", "Use GET, PUT or DELETE.")
}

// registeredClient is the client of the path, if the token is its own. An unknown client and a wrong token are refused
// alike (RFC 7592 §2.1).
func (s *Server) registeredClient(r *http.Request) (*storage.Client, string, error) {
	refuse := protocol.BearerError(protocol.InvalidToken, errRegistrationAccess)
	token, err := s.presentedToken(r, credential.RegistrationAccess, "Send the registration access token of this client in the Authorization header, after Bearer.", errRegistrationAccess)
	if err != nil {
		return nil, "", err
	}
	id := r.PathValue("id")
	if !plausibleID(id) {
		return nil, "", refuse
	}
	c, err := s.store.Client(r.Context(), id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, "", refuse
	}
	if err != nil {
		return nil, "", protocol.Unavailable(err)
	}
	if c.RegistrationHash == nil || c.DisabledAt != nil || subtle.ConstantTimeCompare(c.RegistrationHash, credential.Hash(token)) != 1 {
		return nil, "", refuse
	}
	reqevent.From(r.Context()).ClientID = c.ID
	return c, token, nil
}

// replaceRegistration serves the PUT: what the body leaves out is taken away, and what the operator has set stays
// (RFC 7592 §2.2).
func (s *Server) replaceRegistration(w http.ResponseWriter, r *http.Request, c *storage.Client) (*storage.Client, error) {
	body, err := jsonBody(w, r)
	if err != nil {
		return nil, err
	}
	var about struct {
		ClientID string          `json:"client_id"`
		Secret   *string         `json:"client_secret"`
		Token    json.RawMessage `json:"registration_access_token"`
		URI      json.RawMessage `json:"registration_client_uri"`
		Expires  json.RawMessage `json:"client_secret_expires_at"`
		Issued   json.RawMessage `json:"client_id_issued_at"`
	}
	if err := json.Unmarshal(body, &about); err != nil {
		return nil, wrongType(err)
	}
	switch {
	case about.ClientID != c.ID:
		return nil, protocol.NewError(protocol.InvalidClientMetadata, "The member client_id must be there and be the one of the address.")
	case about.Token != nil || about.URI != nil || about.Expires != nil || about.Issued != nil:
		return nil, protocol.NewError(protocol.InvalidClientMetadata, "Leave out registration_access_token, registration_client_uri, client_secret_expires_at and client_id_issued_at.")
	case about.Secret != nil && !c.HasSecret(credential.Hash(*about.Secret), s.store.Now()):
		return nil, protocol.NewError(protocol.InvalidClientMetadata, "The client_secret is not the one of this client; a new one cannot be chosen.")
	}
	_, _, err = s.changeClient(r.Context(), c.ID, true, func(c *storage.Client) (Metadata, error) {
		m, err := s.selfDescribed(body, c.Scopes) // what the operator took away stays away
		if err != nil {
			return Metadata{}, err
		}
		secret := func(method string) bool {
			return method == "" || method == storage.AuthBasic || method == storage.AuthPost
		}
		if secret(m.TokenEndpointAuthMethod) && !secret(c.AuthMethod) {
			return Metadata{}, protocol.NewError(protocol.InvalidClientMetadata, "A client without a secret cannot change to authenticating by one; register a new one.")
		}
		own := Information(c).Metadata
		m.Owner, m.SkipConsent, m.DefaultScopes, m.OptionalScopes, m.Audience, m.Resources = own.Owner, own.SkipConsent, own.DefaultScopes, own.OptionalScopes, own.Audience, own.Resources
		m.OptionalScopes, m.OptionalScopesSelected = among(m.OptionalScopes, m.Scope), own.OptionalScopesSelected
		if m.DefaultScopes != nil {
			m.DefaultScopes = ptr(among(*m.DefaultScopes, m.Scope))
		}
		m.AccessTokenTTL, m.RefreshIdleTTL, m.RefreshMaxTTL, m.RefreshGrace, m.RefreshRotation = own.AccessTokenTTL, own.RefreshIdleTTL, own.RefreshMaxTTL, own.RefreshGrace, own.RefreshRotation
		m.RequirePKCE, m.IDTokenClaims, m.TokenEndpointAudience = own.RequirePKCE, own.IDTokenClaims, own.TokenEndpointAudience
		m.AllowedNetworks = own.AllowedNetworks
		return m, nil
	})
	if err != nil {
		return nil, err
	}
	return s.store.Client(r.Context(), c.ID)
}

// among is the part of a list that the client still has.
func among(list List, scopes Words) List {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return !slices.Contains(scopes, name) })
}

// CreateInitialAccess makes an initial access token and returns it this once.
func (s *Server) CreateInitialAccess(ctx context.Context, note string, uses int64, life time.Duration) (string, storage.RegistrationToken, error) {
	token, now := s.format.New(credential.InitialAccess), s.store.Now()
	row := storage.RegistrationToken{ID: uuid.NewString(), Hash: credential.Hash(token), Note: note, UsesLeft: uses, CreatedAt: now, ExpiresAt: now.Add(life)}
	err := s.store.CreateRegistrationToken(ctx, &row, storage.Event{Type: storage.RegistrationOpened})
	return token, row, err
}
