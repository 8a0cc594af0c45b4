package sample

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// api is a protected resource (RFC 6750). It only checks signatures and does not call the authorization server for a
// request: it accepts a revoked access token until it expires.
type api struct {
	*app
	audience string

	mu   sync.Mutex
	keys oidc.KeySet
}

func newAPI(a *app) http.Handler {
	p := &api{app: a, audience: a.config.URL + "/api"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/notes", p.list)
	return mux
}

// claims has the claims of an access token that the API uses (RFC 9068 §2.2).
type claims struct {
	Issuer   string          `json:"iss"`
	Audience json.RawMessage `json:"aud"`
	Expires  int64           `json:"exp"`
	Scope    string          `json:"scope"`
	Subject  string          `json:"sub"`
}

var errToken = errors.New("invalid_token")

// verify validates an access token (RFC 9068 §4): type, signature, issuer, audience, expiry.
func (p *api) verify(ctx context.Context, token string) (*claims, error) {
	keys, err := p.keySet(ctx)
	if err != nil {
		return nil, err
	}
	head, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	var header struct {
		Type string `json:"typ"`
	}
	if err != nil || json.Unmarshal(raw, &header) != nil || header.Type != "at+jwt" {
		return nil, errToken
	}
	payload, err := keys.VerifySignature(ctx, token)
	if err != nil {
		return nil, errToken
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, errToken
	}
	var one string
	var many []string
	if json.Unmarshal(c.Audience, &one) == nil {
		many = []string{one}
	} else if json.Unmarshal(c.Audience, &many) != nil {
		return nil, errToken
	}
	if c.Issuer != p.config.Issuer || !slices.Contains(many, p.audience) || time.Now().Unix() >= c.Expires {
		return nil, errToken
	}
	return &c, nil
}

// keySet returns the issuer's JWKS, which is fetched again for a token with an unknown kid.
func (p *api) keySet(ctx context.Context) (oidc.KeySet, error) {
	m, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), p.config.Client), m.JWKSURI)
	}
	return p.keys, nil
}

// list returns the notes to a caller whose token has the scope notes.read.
func (p *api) list(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="notes"`)
		http.Error(w, "send an access token", http.StatusUnauthorized)
		return
	}
	c, err := p.verify(r.Context(), token)
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="notes", error="invalid_token", `+
			`error_description="The access token is invalid, expired or not intended for this API."`)
		http.Error(w, "invalid token", http.StatusUnauthorized)
		return
	}
	if !slices.Contains(strings.Fields(c.Scope), "notes.read") {
		w.Header().Set("WWW-Authenticate", `Bearer realm="notes", error="insufficient_scope", scope="notes.read"`)
		http.Error(w, "insufficient scope", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"sub": c.Subject, "notes": p.notes}) // the client disconnected
}
