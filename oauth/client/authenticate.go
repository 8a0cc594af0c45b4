package client

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
)

// credentials are what a request sends to authenticate its client.
type credentials struct {
	method     string // storage.AuthBasic, AuthPost, AuthPrivateKey or AuthNone
	id, secret string // with AuthPrivateKey the secret is the assertion
}

// hasSecret reports whether the method is one with a client secret.
func (c credentials) hasSecret() bool { return isSecretMethod(c.method) }

func isSecretMethod(method string) bool {
	return method == storage.AuthBasic || method == storage.AuthPost
}

// Authenticate returns the client that a request with these parameters authenticates (RFC 6749 §2.3): by one method per
// request, and only the one that the client is registered for. Every failure is invalid_client with the same
// description, with two exceptions for developers: an invalid assertion, and a client with allowed networks, whose
// existence is no secret and whose response does not depend on the secret.
func (g *Registry) Authenticate(ctx context.Context, r *http.Request, form url.Values) (*storage.Client, error) {
	requestEvent := reqevent.FromContext(ctx)
	sent, err := readCredentials(r, form)
	if err != nil {
		requestEvent.ClaimedClientID = form.Get("client_id")
		return nil, err
	}
	requestEvent.ClaimedClientID = sent.id
	c, reason, err := g.verifyCredentials(ctx, sent)
	if e := (*protocol.Error)(nil); errors.As(err, &e) && e.Code == protocol.InvalidClient {
		event := audit.Event{
			Type: audit.AuthenticationFailed, ClientID: e.ClientID, Claimed: true,
			Detail: map[string]any{"reason": reason, "method": sent.method, "path": r.URL.Path},
		}
		if reason == validSecretElsewhere {
			event.Type = audit.AddressRefused
			g.options.Log.WarnContext(ctx, "valid client secret from a network that is not allowed",
				slog.String("client_id", e.ClientID))
		}
		g.options.RecordFailure(ctx, event)
		if e.Err == nil {
			e.Err = errors.New(reason)
		}
	}
	if err != nil {
		return nil, err
	}
	requestEvent.ClientID = c.ID
	return c, nil
}

// validSecretElsewhere is the reason why a client with a valid secret is refused.
const validSecretElsewhere = "valid secret from a network that is not allowed"

const (
	authenticationDescription = "Client authentication failed: unknown client, invalid credentials, " +
		"or a method that the client is not registered for."
	networkDescription = "The client may not authenticate from this address; " +
		"gatehouse_allowed_networks does not include it."
)

// verifyCredentials returns the client if its credentials are valid. The reason of a failure is for the log and the
// audit log only.
func (g *Registry) verifyCredentials(
	ctx context.Context, sent credentials,
) (c *storage.Client, reason string, err error) {
	challenge := ""
	if sent.method == storage.AuthBasic {
		challenge = protocol.Basic
	}
	refusal := protocol.NewError(protocol.InvalidClient, authenticationDescription).WithChallenge(challenge)
	if !IsWellFormedID(sent.id) {
		return nil, "malformed client_id", refusal
	}
	refusal.ClientID = sent.id
	var hash []byte
	if sent.hasSecret() && g.format.Valid(credential.ClientSecret, sent.secret) {
		hash = credential.Hash(sent.secret)
	}
	c, err = g.store.Client(ctx, sent.id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, "unknown client", refusal
	}
	if err != nil {
		return nil, "", protocol.UnavailableError(err) // an unreachable database does not make a secret invalid
	}
	if c.IsDocument() {
		c, err = g.refreshedClient(ctx, c)
		if isDocumentError(err) {
			return nil, "its metadata document cannot be used", refusal.WithCause(err)
		}
		if err != nil {
			return nil, "", err
		}
	}
	switch {
	case c.DisabledAt != nil:
		return nil, "the client is disabled", refusal
	case c.AuthMethod != sent.method && !canUseAssertion(c, sent.method):
		return nil, "the client is registered for " + c.AuthMethod, refusal
	case !isAllowedNetwork(ctx, c):
		// The response does not depend on the secret, so that an attacker does not learn whether a stolen one is valid.
		refusal.Description = networkDescription
		if sent.hasSecret() && c.HasSecret(hash, g.store.Now()) {
			return nil, validSecretElsewhere, refusal
		}
		return nil, "invalid credentials from a network that is not allowed", refusal
	case sent.method == storage.AuthPrivateKey:
		reason, err := g.verifyAssertion(ctx, c, sent.secret)
		if reason == "" {
			return c, "", err
		}
		refusal.Description, refusal.Err = "The client_assertion is invalid: "+reason+".", err
		return nil, "client_assertion: " + reason, refusal
	case sent.method == storage.AuthNone:
		return c, "", nil
	}
	ok, err := g.hasSecret(ctx, c, sent.secret, hash)
	if err == nil && !ok {
		return nil, "invalid secret", refusal
	}
	return c, "", err
}

// readCredentials returns the credentials of a request, or an error when it uses more than one method.
func readCredentials(r *http.Request, form url.Values) (credentials, error) {
	headers := r.Header.Values("Authorization")
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		if len(headers) > 0 || form.Has("client_secret") {
			return credentials{}, protocol.NewError(protocol.InvalidRequest,
				"Use one client authentication method: client_assertion, the Authorization header or client_secret.")
		}
		id, err := assertionIssuer(form)
		if err != nil {
			return credentials{}, err
		}
		return credentials{storage.AuthPrivateKey, id, form.Get("client_assertion")}, nil
	}
	if len(headers) == 0 {
		if form.Has("client_secret") {
			return credentials{storage.AuthPost, form.Get("client_id"), form.Get("client_secret")}, nil
		}
		if !form.Has("client_id") {
			return credentials{}, protocol.NewError(protocol.InvalidClient,
				"Client authentication is required: HTTP Basic, client_id and client_secret in the body, or client_assertion.")
		}
		return credentials{storage.AuthNone, form.Get("client_id"), ""}, nil
	}
	if len(headers) > 1 || form.Has("client_secret") {
		return credentials{}, protocol.NewError(protocol.InvalidRequest,
			"Use one client authentication method: the Authorization header or client_secret in the body, not both.")
	}
	id, secret, ok := parseBasic(headers[0])
	if !ok {
		return credentials{}, protocol.NewError(
			protocol.InvalidClient,
			"The Authorization header is not valid HTTP Basic with form-encoded client_id and client_secret.",
		).WithChallenge(protocol.Basic)
	}
	if form.Has("client_id") && form.Get("client_id") != id {
		return credentials{}, protocol.NewError(protocol.InvalidRequest,
			"client_id in the body must be the client_id of the Authorization header.")
	}
	return credentials{storage.AuthBasic, id, secret}, nil
}

// maxBasic is the largest encoded Basic credential: an id has at most 255 characters that are not escaped, and a secret
// 200 bytes.
const maxBasic = 2 << 10

// parseBasic decodes the Basic scheme, whose two parts are form-encoded first (RFC 6749 §2.3.1).
func parseBasic(header string) (id, secret string, ok bool) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, protocol.Basic) || len(encoded) > maxBasic {
		return "", "", false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", false
	}
	user, password, ok := strings.Cut(string(raw), ":")
	if !ok {
		return "", "", false
	}
	id, err1 := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	return id, secret, err1 == nil && err2 == nil
}
