package client

import (
	"context"
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
	"gatehouse/oauth/granttype"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// registrationResponse is the response to a registration (RFC 7591 §3.2.1, RFC 7592 §3).
type registrationResponse struct {
	Information
	AccessToken string `json:"registration_access_token"`
	URI         string `json:"registration_client_uri"`
}

const (
	invalidInitialAccessDescription = "The initial access token is unknown, expired or has no uses left."
	missingInitialAccessDescription = "An initial access token of the operator is required; " +
		"send it in the Authorization header with the scheme Bearer."
)

// Register serves POST /oauth2/register (RFC 7591 §3, OIDC Registration §3). Unless registration is open it requires an
// initial access token, of which each registration consumes one use.
func (g *Registry) Register(w http.ResponseWriter, r *http.Request) error {
	policy := g.options.Registration
	if !policy.IsEnabled() {
		return protocol.NewError(protocol.AccessDenied,
			"Dynamic client registration is disabled; contact the operator of this server.").WithStatus(http.StatusNotFound)
	}
	if r.Method != http.MethodPost {
		return protocol.MethodNotAllowedError(http.MethodPost, "Use POST.")
	}
	ctx, initialAccess := r.Context(), []byte(nil)
	if policy.Mode == registrationToken {
		var err error
		if initialAccess, err = g.checkInitialAccess(r); err != nil {
			return err
		}
	}
	body, err := readMetadata(w, r)
	if err != nil {
		return err
	}
	open, err := g.openScopes(ctx)
	if err != nil {
		return err
	}
	m, err := g.parseSelfRegistration(body, policy.Scopes, open)
	if err != nil {
		return err
	}
	if err := m.applyDefaultsAndValidate(); err != nil {
		return err
	}
	c, secret, err := g.newClient(ctx, &m)
	if err != nil {
		return err
	}
	token := g.format.New(credential.RegistrationAccess)
	c.RegistrationHash = credential.Hash(token)
	if err := g.createRegistered(ctx, c, initialAccess); err != nil {
		return err
	}
	reqevent.FromContext(ctx).ClientID = c.ID
	protocol.WriteJSON(w, http.StatusCreated, g.registrationResponse(c, open, secret, token))
	return nil
}

// createRegistered stores the client and, if there is one, consumes a use of the initial access token.
func (g *Registry) createRegistered(ctx context.Context, c *storage.Client, initialAccess []byte) error {
	err := g.store.Tx(ctx, func(tx *storage.Store) error {
		var detail map[string]any
		if initialAccess != nil {
			id, err := tx.ConsumeRegistrationToken(ctx, initialAccess)
			if err != nil {
				return err
			}
			detail = map[string]any{"registration_token": id}
			c.LastUsedAt = &c.CreatedAt // the operator allowed the registration, so it may stay unused for longer
		}
		return tx.CreateClient(ctx, c, detail)
	})
	if errors.Is(err, storage.ErrNotFound) {
		return protocol.BearerError(protocol.InvalidToken, invalidInitialAccessDescription)
	}
	return err
}

// checkInitialAccess returns the hash of a valid initial access token. The registration consumes it later.
func (g *Registry) checkInitialAccess(r *http.Request) ([]byte, error) {
	token, err := g.bearerToken(
		r, credential.InitialAccess, missingInitialAccessDescription, invalidInitialAccessDescription,
	)
	if err != nil {
		return nil, err
	}
	hash := credential.Hash(token)
	ok, err := g.store.HasRegistrationToken(r.Context(), hash)
	if err != nil {
		return nil, protocol.UnavailableError(err)
	}
	if !ok {
		return nil, protocol.BearerError(protocol.InvalidToken, invalidInitialAccessDescription)
	}
	return hash, nil
}

// bearerToken returns the bearer token of a registration request if it has the kind.
func (g *Registry) bearerToken(
	r *http.Request, kind credential.Kind, missingDescription, invalidDescription string,
) (string, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", protocol.MissingTokenError(missingDescription)
	}
	token := protocol.ParseBearer(headers[0])
	if !g.format.Valid(kind, token) {
		return "", protocol.BearerError(protocol.InvalidToken, invalidDescription)
	}
	return token, nil
}

// readMetadata reads the body of a registration, which is a JSON object.
func readMetadata(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, invalid("Content-Type must be application/json.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, params.MaxBodySize))
	if err != nil {
		return nil, protocol.NewError(
			protocol.InvalidClientMetadata, "The client metadata is larger than 64 KiB or could not be read.",
		).WithCause(err)
	}
	if err := jwt.CheckJSONLimits(body, maxArrayItems); err != nil {
		return nil, invalid("The client metadata %w.", err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil || object == nil || !utf8.Valid(body) {
		return nil, protocol.NewError(protocol.InvalidClientMetadata, "The client metadata must be a JSON object in UTF-8.").
			WithCause(err)
	}
	return body, nil
}

// maxArrayItems is the longest array of a registration, of any member.
const maxArrayItems = 200

// parseSelfRegistration reads the metadata that a client registers for itself. Members that only the operator may set
// are ignored, and what a self-registered client cannot have is left out of lists, so that the response shows what was
// registered (RFC 7591 §2, §3.2.1).
//
// allowed are the scopes that it may register, and open those that every self-registered client may request.
func (g *Registry) parseSelfRegistration(body []byte, allowed, open []string) (Metadata, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil {
		return Metadata{}, wrongTypeError(err)
	}
	for name, raw := range object {
		if strings.HasPrefix(name, operatorPrefix) || string(raw) == `""` || string(raw) == "[]" {
			delete(object, name)
		}
	}
	accepted, err := json.Marshal(object)
	if err != nil {
		return Metadata{}, err
	}
	m, err := ParseMetadata(accepted)
	if err != nil {
		return Metadata{}, err
	}
	if err := m.removeUnsupported(); err != nil {
		return Metadata{}, err
	}
	if uri := m.InitiateLoginURI; uri != "" && !strings.HasPrefix(uri, "https://") {
		return Metadata{}, invalid("initiate_login_uri must use https.")
	}
	if uri := m.InitiateLoginURI; uri != "" &&
		!slices.ContainsFunc(m.RedirectURIs, func(r string) bool { return redirect.IsSameOrigin(r, uri) }) {
		return Metadata{}, invalid("initiate_login_uri must have the host and port of one of redirect_uris.")
	}
	if err := m.useNativeForPrivateSchemes(); err != nil {
		return Metadata{}, err
	}
	m.Scope = selectScopes(m.Scope, allowed, open)
	m.OperatorMetadata = OperatorMetadata{
		RequirePKCE:           new(g.options.Registration.RequirePKCE || m.isPublic()),
		TokenEndpointAudience: true, // OIDC Core §9, which is all that such a client may implement, has it
	}
	return m, nil
}

// removeUnsupported removes the grant types and response types that a self-registered client cannot have. It returns
// invalid_client_metadata if none of a list remains.
func (m *Metadata) removeUnsupported() error {
	grantTypes := slices.DeleteFunc(slices.Clone(m.GrantTypes), func(name string) bool {
		return !granttype.IsSupported(name) || slices.Contains(granttype.OperatorOnly(), name)
	})
	if len(m.GrantTypes) > 0 && len(grantTypes) == 0 {
		return invalid("None of grant_types is available to a client that registers itself; use %s.",
			oneOf(granttype.OfUsers()))
	}
	responseTypes := slices.DeleteFunc(slices.Clone(m.ResponseTypes), func(name string) bool { return name != "code" })
	if len(m.ResponseTypes) > 0 && len(responseTypes) == 0 {
		return invalid("None of response_types is supported; use code.")
	}
	m.GrantTypes, m.ResponseTypes = grantTypes, responseTypes
	return nil
}

// selectScopes returns those of the requested scopes that a self-registered client may register: all allowed ones if it
// requested none, or none that it can have.
func selectScopes(requested ScopeList, allowed, open []string) ScopeList {
	isIn := func(list []string) func(string) bool {
		return func(name string) bool { return slices.Contains(list, name) }
	}
	if !slices.ContainsFunc(requested, isIn(allowed)) && !slices.ContainsFunc(requested, isIn(open)) {
		return slices.Clone(allowed)
	}
	return slices.DeleteFunc(requested, func(name string) bool { return !slices.Contains(allowed, name) })
}

// openScopes returns the scopes of the resources that are open to self-registered clients, sorted.
func (g *Registry) openScopes(ctx context.Context) (open []string, err error) {
	resources, err := g.store.Resources(ctx)
	if err != nil {
		return nil, protocol.UnavailableError(err)
	}
	for _, r := range resources {
		if r.OpenToApps {
			open = append(open, r.Scopes...)
		}
	}
	open = slices.DeleteFunc(open, protocol.IsStandardScope)
	slices.Sort(open)
	return slices.Compact(open), nil
}

// registrationResponse returns the client in the form of RFC 7591 §3.2.1, without what only the operator sees. Its
// scope includes the open scopes: it lists what the client can request, because some clients request just that.
func (g *Registry) registrationResponse(
	c *storage.Client, open []string, secret, token string,
) registrationResponse {
	info := InformationOf(c).withSecret(secret)
	info.OperatorMetadata, info.DisabledAt, info.SelfRegistered = OperatorMetadata{}, nil, false
	info.Scope = slices.Clone(info.Scope) // the cached record has the same array
	for _, name := range open {
		if !slices.Contains(info.Scope, name) {
			info.Scope = append(info.Scope, name)
		}
	}
	return registrationResponse{info, token, g.options.Issuer + "/oauth2/register/" + c.ID}
}

// CreateInitialAccessToken creates an initial access token and returns it; only its hash is stored.
func (g *Registry) CreateInitialAccessToken(
	ctx context.Context, note string, uses int64, ttl time.Duration,
) (string, storage.RegistrationToken, error) {
	token, now := g.format.New(credential.InitialAccess), g.store.Now()
	row := storage.RegistrationToken{
		ID: uuid.NewString(), Hash: credential.Hash(token), Note: note, UsesLeft: uses,
		CreatedAt: now, ExpiresAt: now.Add(ttl),
	}
	err := g.store.CreateRegistrationToken(ctx, &row)
	return token, row, err
}
