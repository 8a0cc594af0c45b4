package oauth

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/params"
	"gatehouse/storage"
)

// Userinfo serves GET and POST /oauth2/userinfo (OIDC Core §5.3). The access token comes in the header or in the body of
// a form (RFC 6750 §2.1, §2.2), never in the query.
func (s *Server) Userinfo(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return &Error{Code: InvalidRequest, Description: "Send GET or POST.", status: http.StatusMethodNotAllowed, allow: "GET, POST", bearer: true}
	}
	token, err := bearer(r)
	if err != nil {
		return err
	}
	c, claims, err := s.userinfo(r.Context(), token)
	if err != nil {
		return err
	}
	if c.UserinfoAlg == "" {
		writeJSON(w, http.StatusOK, claims)
		return nil
	}
	claims["iss"], claims["aud"] = s.options.Issuer, c.ID
	signed, err := s.keys.signJWT(r.Context(), c.UserinfoAlg, "", claims)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwt")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(signed)) // a client that went away
	return nil
}

func (s *Server) userinfo(ctx context.Context, token string) (*storage.Client, map[string]any, error) {
	refuse := bearerError(InvalidToken, "The access token is invalid, expired or revoked, or is not meant for this endpoint.")
	claims, err := s.keys.verify(ctx, token)
	if errors.Is(err, accesstoken.ErrInvalid) {
		refuse.Err = err
		return nil, nil, refuse
	}
	if err != nil {
		return nil, nil, err
	}
	refuse.ClientID = claims.ClientID
	scopes := strings.Fields(claims.Scope)
	if claims.GrantID == "" || !slices.Contains(claims.Audience, s.options.Issuer) {
		return nil, nil, refuse
	}
	u, grant, err := s.store.UserByToken(ctx, storage.TokenRef{JTI: claims.JTI, ClientID: claims.ClientID, GrantID: claims.GrantID})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil, refuse
	}
	if err != nil {
		return nil, nil, unavailable(err)
	}
	if !slices.Contains(scopes, OpenID) {
		e := bearerError(InsufficientScope, "The access token does not have the scope openid.")
		e.ClientID, e.scope = claims.ClientID, OpenID
		return nil, nil, e
	}
	c, err := s.store.Client(ctx, claims.ClientID)
	if err != nil {
		return nil, nil, unavailable(err)
	}
	out := map[string]any{}
	addClaims(out, &u, scopes, grant.Scopes, keptClaims(grant.Claims).Userinfo)
	out["sub"] = s.Subject(c, u.ID)
	return c, out, nil
}

// bearer reads the one access token of a request to a protected resource (RFC 6750 §2).
func bearer(r *http.Request) (string, error) {
	query, err := params.Query(r)
	if err != nil {
		return "", bearerError(InvalidRequest, params.Text(err))
	}
	if query.Has("access_token") {
		return "", bearerError(InvalidRequest, "The access token must be in the Authorization header or the body, never in the URL.")
	}
	inBody := ""
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method == http.MethodPost && err == nil && kind == params.FormType {
		form, err := params.Form(r)
		if err != nil {
			return "", bearerError(InvalidRequest, params.Text(err))
		}
		inBody = form.Get("access_token")
	}
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 || len(headers) == 1 && inBody != "" {
		return "", bearerError(InvalidRequest, "Send the access token once, in the Authorization header or in the body.")
	}
	if len(headers) == 0 {
		if inBody == "" {
			return "", noAccessToken("")
		}
		return inBody, nil
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", noAccessToken("")
	}
	return token, nil
}

// noAccessToken returns the error of a request without an access token, whose challenge has no code (RFC 6750 §3.1).
func noAccessToken(description string) *Error {
	return &Error{Description: description, Err: errors.New("the request has no access token"), bearer: true}
}

// bearerError returns an error of a protected resource (RFC 6750 §3.1).
func bearerError(code, description string) *Error {
	return &Error{Code: code, Description: description, bearer: true}
}
