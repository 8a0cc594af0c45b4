package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"

	"gatehouse/oauth/client"
	"gatehouse/oauth/fetch"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

const maxRequestObject = jwt.MaxSize

// requestObjectType is the typ of a request object (RFC 9101 §10.8). Clients of OpenID Connect send none, or JWT.
const requestObjectType = "oauth-authz-req+jwt"

const requestObjectDescription = "The request object must be a JWT signed with a registered key of the client and an " +
	"algorithm that the metadata lists and the client may use."

// requestObject returns the parameters of a request that is a signed JWT, by value or at a URI that the client
// registered (RFC 9101, OIDC Core §6). Only signed parameters count: an attacker could have added the others (RFC 9101
// §6.3).
func (s *Server) requestObject(ctx context.Context, form url.Values) (url.Values, error) {
	id := form.Get("client_id")
	if !client.IsWellFormedID(id) {
		return nil, protocol.NewError(protocol.InvalidRequest,
			"client_id is missing: it must also be sent outside the request object.")
	}
	c, err := s.Clients.Client(ctx, id)
	if cause := client.UnusableCause(c, err); cause != nil {
		return nil, s.unusableClientError(ctx, id, cause)
	}
	if err != nil {
		return nil, err
	}
	network := reqevent.FromContext(ctx).Network()
	failures := ratelimit.Count{Limit: ratelimit.RequestObjectFailure, Key: c.ID + " " + network}
	d := s.options.Limiter.Check(ctx, failures)
	err = protocol.LimitError(d, "Too many invalid request objects of this client. Wait, then try again.")
	if err != nil {
		return nil, err
	}
	token := form.Get("request")
	if form.Has("request_uri") {
		if form.Has("request") {
			return nil, protocol.NewError(protocol.InvalidRequest, "Send request or request_uri, not both.")
		}
		if token, err = s.fetchRequestObject(ctx, c, form.Get("request_uri")); err != nil {
			return nil, err
		}
	}
	t, err := s.Clients.VerifyJWT(ctx, c, c.RequestObjectAlg, token)
	if fetch.IsOverloaded(ctx, err) {
		return nil, protocol.UnavailableError(err)
	}
	if errors.Is(err, jwt.ErrInvalid) {
		s.options.Limiter.Count(ctx, failures)
	}
	if err != nil {
		return nil, requestObjectError(requestObjectDescription, err)
	}
	if !t.HasType("", jwt.TypeJWT, requestObjectType) {
		return nil, requestObjectError("typ of the request object must be "+requestObjectType+" or JWT.", nil)
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(t.Payload, &claims); err != nil {
		return nil, requestObjectError("The request object is not a JSON object.", err)
	}
	if err := s.checkRequestObject(c, claims); err != nil {
		return nil, err
	}
	return requestObjectParameters(claims)
}

func requestObjectError(description string, cause error) *protocol.Error {
	return protocol.NewError(protocol.InvalidRequestObject, description).WithCause(cause)
}

// fetchRequestObject fetches a request object from its URI. The client must have registered the URI, so that an
// untrusted link cannot make this server fetch anything.
func (s *Server) fetchRequestObject(ctx context.Context, c *storage.Client, uri string) (string, error) {
	registered := slices.ContainsFunc(c.RequestURIs, func(r string) bool {
		withoutFragment, _, _ := strings.Cut(r, "#")
		requested, _, _ := strings.Cut(uri, "#")
		return r == uri || withoutFragment == requested
	})
	if !registered {
		return "", protocol.NewError(protocol.InvalidRequestURI,
			"request_uri must be one that the client registered in request_uris.")
	}
	withoutFragment, _, _ := strings.Cut(uri, "#") // otherwise each fragment would be fetched and cached separately
	doc, err := s.fetch.Get(ctx, c.ID, withoutFragment, maxRequestObject)
	if fetch.IsOverloaded(ctx, err) {
		return "", protocol.UnavailableError(err)
	}
	if err != nil {
		return "", protocol.NewError(protocol.InvalidRequestURI,
			"The request object could not be fetched from the request_uri.").WithCause(err)
	}
	return string(bytes.TrimSpace(doc.Body)), nil
}

// checkRequestObject checks the claims that are about the object itself. A client assertion has a sub and no client_id,
// so neither is accepted as the other (RFC 9101 §10.8).
func (s *Server) checkRequestObject(c *storage.Client, claims map[string]json.RawMessage) error {
	var o struct {
		Issuer    string          `json:"iss"`
		Subject   string          `json:"sub"`
		Audience  jwt.Audience    `json:"aud"`
		ClientID  string          `json:"client_id"`
		Expires   jwt.NumericDate `json:"exp"`
		NotBefore jwt.NumericDate `json:"nbf"`
		IssuedAt  jwt.NumericDate `json:"iat"`
	}
	if err := jwt.UnmarshalExact(claims, &o); err != nil {
		return requestObjectError("A claim of the request object has the wrong type.", err)
	}
	now := s.store.Now()
	for _, check := range []struct {
		failed      bool
		description string
	}{
		{o.ClientID != c.ID, "client_id in the request object is missing or differs from the one outside it."},
		{claims["iss"] != nil && o.Issuer != c.ID, "iss of the request object must be the client_id."},
		{claims["aud"] != nil && !slices.Contains(o.Audience, s.options.Issuer),
			"aud of the request object must be the issuer of this server, " + s.options.Issuer + "."},
		{o.Subject == c.ID, "sub of the request object must not be the client_id."},
		{claims["request"] != nil || claims["request_uri"] != nil,
			"The request object must not contain request or request_uri."},
		{claims["exp"] != nil && !now.Before(o.Expires.Time().Add(jwt.Leeway)), "The request object has expired."},
		{o.NotBefore.Time().After(now.Add(jwt.Leeway)) || o.IssuedAt.Time().After(now.Add(jwt.Leeway)),
			"nbf or iat of the request object is in the future."},
	} {
		if check.failed {
			return requestObjectError(check.description, nil)
		}
	}
	return nil
}

// requestObjectClaims are the claims of the JWT itself, which are not parameters.
var requestObjectClaims = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// stringParameters are the parameters whose value in a request object must be a string (RFC 9101 §4). Values of another
// type are refused, because their JSON would be handled as a string that the client did not send.
var stringParameters = []string{
	"client_id", "response_type", "response_mode", "redirect_uri", "scope", "state", "nonce", "prompt", "display",
	"login_hint", "id_token_hint", "acr_values", "ui_locales", "claims_locales", "code_challenge", "code_challenge_method",
}

// requestObjectParameters returns the claims of a request object as parameters. Strings are unchanged, and omitted if
// empty, as in a query. claims is an object that stays JSON, max_age may be a number, and only resource may be a list
// (RFC 9101 §4, OIDC Core §6.1). Unknown members are ignored.
func requestObjectParameters(claims map[string]json.RawMessage) (url.Values, error) {
	out := url.Values{}
	for name, raw := range claims {
		if slices.Contains(requestObjectClaims, name) {
			continue
		}
		var one string
		var many []string
		switch {
		case name == "claims": // never a string with JSON
			out.Set(name, string(raw))
		case json.Unmarshal(raw, &one) == nil:
			if one != "" {
				out.Set(name, one)
			}
		case slices.Contains(stringParameters, name):
			return nil, requestObjectError("The parameter "+name+" in the request object must be a string.", nil)
		case name == "resource" && json.Unmarshal(raw, &many) == nil:
			out[name] = many
		default:
			out.Set(name, string(raw))
		}
		if strings.Contains(strings.Join(out[name], " ")+name, "\x00") {
			return nil, requestObjectError("The parameter "+params.Sanitize(name)+" contains a NUL character.", nil)
		}
	}
	return out, nil
}
