package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/ory/fosite"

	"gatehouse/oauth/credential"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// presented is how a request says who its client is.
type presented struct {
	method     string // storage.AuthBasic, AuthPost, AuthPrivateKey or AuthNone
	id, secret string // with AuthPrivateKey the secret is the assertion
}

// authenticate is the client authentication of every endpoint (RFC 6749 §2.3): one method per request, and only the one
// the client is registered for. Whatever fails, the answer is the same, but for a client of allowed networks, whose developer
// needs to know; that such a client exists is no secret, and whether its secret is right is not told.
func (s *Server) authenticate(ctx context.Context, r *http.Request, form url.Values) (fosite.Client, error) {
	requestEvent := reqevent.From(ctx)
	p, err := present(r, form)
	if err != nil {
		requestEvent.ClaimedClientID = form.Get("client_id")
		return nil, err
	}
	requestEvent.ClaimedClientID = p.id
	c, reason, err := s.identify(ctx, p)
	if e := (*protocol.Error)(nil); errors.As(err, &e) && e.Code == protocol.InvalidClient {
		event := storage.Event{Type: storage.AuthenticationFailed, ClientID: e.ClientID, Claimed: true, Detail: map[string]any{"reason": reason, "method": p.method, "path": r.URL.Path}}
		if reason == otherAddress {
			event.Type = storage.AddressRefused
		}
		s.recordFailure(ctx, event)
		if e.Err == nil {
			e.Err = errors.New(reason)
		}
	}
	if err != nil {
		return nil, err
	}
	requestEvent.ClientID = c.ID
	return fositeClient{c}, nil
}

// otherAddress is the reason why a client with the right secret is refused.
const otherAddress = "the right secret, from an address that the client may not come from"

// identify finds the client and checks its credentials. The reason of a refusal is for the log and the audit log alone.
func (s *Server) identify(ctx context.Context, p presented) (c *storage.Client, reason string, err error) {
	refuse := protocol.NewError(protocol.InvalidClient, "Client authentication failed: unknown client, invalid credentials, or a method that the client is not registered for.")
	if p.method == storage.AuthBasic {
		refuse.WithChallenge(protocol.Basic)
	}
	if !plausibleID(p.id) {
		return nil, "an impossible client_id", refuse
	}
	refuse.ClientID = p.id
	var hash []byte
	if (p.method == storage.AuthBasic || p.method == storage.AuthPost) && s.format.Valid(credential.ClientSecret, p.secret) {
		hash = credential.Hash(p.secret)
	}
	c, err = s.store.Client(ctx, p.id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, "an unknown client", refuse
	}
	if err != nil {
		return nil, "", protocol.Unavailable(err) // a database that is away is not a wrong secret
	}
	switch {
	case c.DisabledAt != nil:
		return nil, "the client is disabled", refuse
	case c.AuthMethod != p.method:
		return nil, "the client is registered for " + c.AuthMethod, refuse
	case !mayComeFrom(ctx, c):
		// The answer is the same whether the secret is right, so that whoever stole it does not learn that; the record is not.
		refuse.Description = "This client may not authenticate from this address; its operator allows certain networks alone."
		if (p.method == storage.AuthBasic || p.method == storage.AuthPost) && c.HasSecret(hash, s.store.Now()) {
			return nil, otherAddress, refuse
		}
		return nil, "wrong credentials from an address that the client may not come from", refuse
	case p.method == storage.AuthPrivateKey:
		if err := s.checkAssertionLimits(ctx, c); err != nil {
			return nil, "", err
		}
		reason, err := s.checkAssertion(ctx, c, p.secret)
		if e := (*protocol.Error)(nil); errors.As(err, &e) {
			return nil, "", e // a fault of ours
		}
		if reason != "" {
			refuse.Description, refuse.Err = "The client_assertion was refused: "+reason+".", err
			return nil, "the assertion: " + reason, refuse
		}
	case p.method != storage.AuthNone && !c.HasSecret(hash, s.store.Now()):
		return nil, "a wrong secret", refuse
	}
	return c, "", nil
}

// plausibleID reports whether an id could be one of ours: short, plain ASCII, and no credential of ours that somebody put in the
// wrong place. Anything else is refused before it reaches the database, a limit or a log.
func plausibleID(id string) bool {
	return id != "" && !strings.HasPrefix(id, "gate_") && len(id) <= 100 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// present reads the credentials, and refuses more than one method in one request.
func present(r *http.Request, form url.Values) (presented, error) {
	headers := r.Header.Values("Authorization")
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		if len(headers) > 0 || form.Has("client_secret") {
			return presented{}, protocol.NewError(protocol.InvalidRequest, "Use one client authentication method: an assertion, the Authorization header or a secret in the body.")
		}
		id, err := assertedID(form)
		if err != nil {
			return presented{}, err
		}
		return presented{storage.AuthPrivateKey, id, form.Get("client_assertion")}, nil
	}
	if len(headers) == 0 {
		if form.Has("client_secret") {
			return presented{storage.AuthPost, form.Get("client_id"), form.Get("client_secret")}, nil
		}
		if !form.Has("client_id") {
			return presented{}, protocol.NewError(protocol.InvalidClient, "No client authentication: send it as HTTP Basic, client_id and client_secret in the body, or a client_assertion.")
		}
		return presented{storage.AuthNone, form.Get("client_id"), ""}, nil
	}
	if len(headers) > 1 || form.Has("client_secret") {
		return presented{}, protocol.NewError(protocol.InvalidRequest, "Use one client authentication method: the Authorization header or the body, not both.")
	}
	id, secret, ok := basic(headers[0])
	if !ok {
		return presented{}, protocol.NewError(protocol.InvalidClient, "The Authorization header is not valid HTTP Basic with form-encoded client_id and client_secret.").WithChallenge(protocol.Basic)
	}
	if form.Has("client_id") && form.Get("client_id") != id {
		return presented{}, protocol.NewError(protocol.InvalidRequest, "The client_id in the body is not the one in the Authorization header.")
	}
	return presented{storage.AuthBasic, id, secret}, nil
}

// maxBasic is the largest encoded Basic credential: an id and a secret have at most 100 characters each.
const maxBasic = 2 << 10

// basic decodes the Basic scheme, whose two parts are form-encoded first (RFC 6749 §2.3.1).
func basic(header string) (id, secret string, ok bool) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") || len(encoded) > maxBasic {
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

// client reads a request to a protocol endpoint and authenticates its client.
func (s *Server) client(r *http.Request) (*storage.Client, url.Values, error) {
	form, err := params.Form(r)
	if err != nil {
		return nil, nil, err
	}
	if err := params.CheckListLengths(form); err != nil {
		return nil, nil, err
	}
	c, err := s.provider.AuthenticateClient(r.Context(), withForm(r, form), form)
	if err != nil {
		return nil, nil, err
	}
	return c.(fositeClient).Client, form, nil
}
