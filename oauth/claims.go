package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/oauth/jwt"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// standardClaim is a claim about a person (OIDC Core §5.1) and the scope that holds it (§5.4).
type standardClaim struct {
	name, scope string
	value       func(u *storage.User) any // nil when there is nothing to tell
}

var standardClaims = []standardClaim{
	{"name", "profile", func(u *storage.User) any { return text(u.Name) }},
	{"given_name", "profile", func(u *storage.User) any { return text(u.Profile.GivenName) }},
	{"family_name", "profile", func(u *storage.User) any { return text(u.Profile.FamilyName) }},
	{"middle_name", "profile", func(u *storage.User) any { return text(u.Profile.MiddleName) }},
	{"nickname", "profile", func(u *storage.User) any { return text(u.Profile.Nickname) }},
	{"preferred_username", "profile", func(u *storage.User) any { return text(u.Username) }},
	{"profile", "profile", func(u *storage.User) any { return text(u.Profile.Profile) }},
	{"picture", "profile", func(u *storage.User) any { return text(u.Profile.Picture) }},
	{"website", "profile", func(u *storage.User) any { return text(u.Profile.Website) }},
	{"gender", "profile", func(u *storage.User) any { return text(u.Profile.Gender) }},
	{"birthdate", "profile", func(u *storage.User) any { return text(u.Profile.Birthdate) }},
	{"zoneinfo", "profile", func(u *storage.User) any { return text(u.Profile.Zoneinfo) }},
	{"locale", "profile", func(u *storage.User) any { return text(u.Profile.Locale) }},
	{"updated_at", "profile", func(u *storage.User) any { return u.UpdatedAt.Unix() }},
	{"email", "email", func(u *storage.User) any { return text(u.Email) }},
	{"email_verified", "email", func(u *storage.User) any { return u.EmailVerifiedAt != nil }},
	{"address", "address", address},
	{"phone_number", "phone", func(u *storage.User) any { return text(u.Profile.PhoneNumber) }},
	{"phone_number_verified", "phone", func(u *storage.User) any {
		if u.Profile.PhoneNumber == "" {
			return nil
		}
		return u.PhoneVerifiedAt != nil
	}},
}

func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// addressClaim is the address with the lines of an envelope (OIDC Core §5.1.1).
type addressClaim struct {
	Formatted string `json:"formatted"`
	storage.Address
}

func address(u *storage.User) any {
	a := u.Profile.Address
	if a == (storage.Address{}) {
		return nil
	}
	var lines []string
	for _, line := range []string{a.Street, strings.TrimSpace(a.PostalCode + " " + a.Locality), a.Region, a.Country} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return addressClaim{strings.Join(lines, "\n"), a}
}

// ClaimNames lists the claims about a person that there are.
func ClaimNames() []string {
	out := make([]string, 0, len(standardClaims))
	for _, c := range standardClaims {
		out = append(out, c.name)
	}
	return out
}

// claimsRequest is the claims parameter (OIDC Core §5.5), and what of it a grant keeps.
type claimsRequest struct {
	Userinfo map[string]*wantedClaim `json:"userinfo,omitempty"`
	IDToken  map[string]*wantedClaim `json:"id_token,omitempty"`
}

// wantedClaim says how a claim is wanted; nil: in the default manner (§5.5.1).
type wantedClaim struct {
	Essential bool              `json:"essential,omitempty"`
	Value     json.RawMessage   `json:"value,omitempty"`
	Values    []json.RawMessage `json:"values,omitempty"`
}

// accepts reports whether a value is one of those asked for, where any is.
func (w *wantedClaim) accepts(value any) bool {
	if w == nil || len(w.Value) == 0 && len(w.Values) == 0 {
		return true
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return false
	}
	same := func(want json.RawMessage) bool {
		var compact bytes.Buffer
		return json.Compact(&compact, want) == nil && bytes.Equal(compact.Bytes(), raw)
	}
	return len(w.Value) > 0 && same(w.Value) || slices.ContainsFunc(w.Values, same)
}

const maxClaims = 4 << 10

// parseClaims parses the claims parameter and returns invalid_request unless it is an object of the defined form.
// Unknown members are ignored (OIDC Core §5.5).
func parseClaims(parameter string) (c claimsRequest, err error) {
	if parameter == "" {
		return c, nil
	}
	if len(parameter) > maxClaims {
		return c, protocol.NewError(protocol.InvalidRequest, "The claims parameter is larger than 4 KiB.")
	}
	refuse := func(err error) (claimsRequest, error) {
		return claimsRequest{}, protocol.NewError(protocol.InvalidRequest, "The claims parameter is not JSON of the form that OIDC Core section 5.5 describes.").WithCause(err)
	}
	if !utf8.ValidString(parameter) || strings.Contains(strings.ToLower(parameter), `\u0000`) {
		return refuse(errors.New("it has a NUL or is not UTF-8")) // which a database cannot store
	}
	if err := jwt.CheckJSONLimits([]byte(parameter), params.MaxValues); err != nil {
		return c, protocol.NewError(protocol.InvalidRequest, "The parameter claims "+err.Error()+".")
	}
	top, err := jsonMembers([]byte(parameter))
	if err != nil {
		return refuse(err)
	}
	for name, into := range map[string]*map[string]*wantedClaim{"userinfo": &c.Userinfo, "id_token": &c.IDToken} {
		if top[name] == nil {
			continue
		}
		if *into, err = parseWantedClaims(top[name]); err != nil {
			return refuse(fmt.Errorf("%s: %w", name, err))
		}
	}
	return c, nil
}

// parseWantedClaims parses the member userinfo or id_token of the claims parameter (OIDC Core §5.5.1).
func parseWantedClaims(raw json.RawMessage) (map[string]*wantedClaim, error) {
	members, err := jsonMembers(raw)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*wantedClaim, len(members))
	for name, raw := range members {
		if string(raw) == "null" {
			out[name] = nil
			continue
		}
		details, err := jsonMembers(raw)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		w := &wantedClaim{Value: details["value"]}
		if v := string(details["essential"]); v != "" && v != "true" && v != "false" {
			return nil, fmt.Errorf("%q: essential is not a boolean", name)
		}
		w.Essential = string(details["essential"]) == "true"
		if v := details["values"]; v != nil && (v[0] != '[' || json.Unmarshal(v, &w.Values) != nil) {
			return nil, fmt.Errorf("%q: values is not an array", name)
		}
		out[name] = w
	}
	return out, nil
}

// jsonMembers returns the members of a JSON object by their exact names. It returns an error for any other value and
// for a name that occurs twice.
func jsonMembers(raw []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	out := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string) // the decoder accepts no other type here
		if out[name] != nil {
			return nil, fmt.Errorf("%q occurs twice", name)
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		out[name] = v
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data after the JSON object")
	}
	return out, nil
}

// subject returns the subject that the request requires, or "" when it requires none (OIDC Core §3.1.2.2, §5.5.1). It
// returns invalid_request unless it is a single string: ignoring it would return tokens for any user.
func (c claimsRequest) subject() (string, error) {
	var demanded []string
	for _, w := range []*wantedClaim{c.IDToken["sub"], c.Userinfo["sub"]} {
		if w == nil {
			continue
		}
		values := w.Values
		if w.Value != nil {
			values = append(slices.Clone(values), w.Value)
		}
		for _, raw := range values {
			var sub string
			if err := json.Unmarshal(raw, &sub); err != nil || sub == "" {
				return "", protocol.NewError(protocol.InvalidRequest, "The value of the claim sub in the claims parameter must be a string that is not empty.")
			}
			if !slices.Contains(demanded, sub) {
				demanded = append(demanded, sub)
			}
		}
	}
	if len(demanded) > 1 {
		return "", protocol.NewError(protocol.InvalidRequest, "The claims parameter names more than one sub.")
	}
	return strings.Join(demanded, ""), nil
}

// claimWord is how a consent remembers a claim that was asked for by itself.
func claimWord(name string) string { return "claim:" + name }

// OptionalClaim reports whether a word stands for a claim whose scope a person may untick, and so the claim too.
func OptionalClaim(c *storage.Client, word string) bool {
	name, ok := ClaimOf(word)
	return ok && slices.ContainsFunc(standardClaims, func(s standardClaim) bool { return s.name == name && c.OptionalScopes.Has(s.scope) })
}

// ClaimOf is the claim that a word of a consent stands for.
func ClaimOf(word string) (name string, ok bool) { return strings.CutPrefix(word, "claim:") }

// askedByName lists, in the order of the standard, the words of the claims that are asked for by name and that none of
// the scopes holds. A claim of a scope that the client is not registered for is not asked for at all.
func (c claimsRequest) askedByName(client *storage.Client, scopes []string) []string {
	var out []string
	for _, s := range standardClaims {
		_, userinfo := c.Userinfo[s.name]
		_, idToken := c.IDToken[s.name]
		if (userinfo || idToken) && client.Scopes.Has(s.scope) && !slices.Contains(scopes, s.scope) {
			out = append(out, claimWord(s.name))
		}
	}
	return out
}

// kept is what a grant keeps of the request: the claims that a granted scope holds or that were allowed by name. It is
// "" when that is nothing.
func (c claimsRequest) kept(granted, words []string) string {
	allowed := func(wanted map[string]*wantedClaim) map[string]*wantedClaim {
		out := map[string]*wantedClaim{}
		for _, s := range standardClaims {
			if w, ok := wanted[s.name]; ok && (slices.Contains(granted, s.scope) || slices.Contains(words, claimWord(s.name))) {
				out[s.name] = w
			}
		}
		return out
	}
	k := claimsRequest{Userinfo: allowed(c.Userinfo), IDToken: allowed(c.IDToken)}
	if len(k.Userinfo) == 0 && len(k.IDToken) == 0 {
		return ""
	}
	b, err := json.Marshal(k)
	if err != nil {
		return "" // what was read as JSON is written as JSON
	}
	return string(b)
}

// keptClaims reads what a grant kept.
func keptClaims(stored string) claimsRequest {
	var c claimsRequest
	if stored == "" || json.Unmarshal([]byte(stored), &c) != nil {
		return claimsRequest{}
	}
	return c
}

// addClaims puts into out what the token's scopes hold and what was allowed by name. A claim that the grant got with its
// scope needs that scope in the token too, or a narrowed token would tell what it was narrowed of.
func addClaims(out map[string]any, u *storage.User, scopes, granted []string, wanted map[string]*wantedClaim) {
	for _, s := range standardClaims {
		w, named := wanted[s.name]
		if !slices.Contains(scopes, s.scope) && (!named || slices.Contains(granted, s.scope)) {
			continue
		}
		if v := s.value(u); v != nil && w.accepts(v) {
			out[s.name] = v
		}
	}
}

// Subject is what the client knows the person as: their id or, with pairwise subjects, a value of its sector alone
// (OIDC Core §8.1), which stays the same for ever.
func (s *Server) Subject(c *storage.Client, userID string) string {
	if !c.IsPairwise() {
		return userID
	}
	return base64url(mac(s.pairwiseKey, c.Sector, userID))
}

// sid is what the client knows a browser session as. Each client gets its own, so that two of them cannot tell by it
// that they have the same person.
func (s *Server) sid(c *storage.Client, sessionID string) string {
	return base64url(mac(s.sidKey, c.ID, sessionID)[:16])
}

// idTokenClaims are the claims of every ID token (OIDC Core §2). Nonce is empty on a refresh (§12.2).
type idTokenClaims struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        string   `json:"aud"`
	AuthorizedParty string   `json:"azp"`
	IssuedAt        int64    `json:"iat"`
	ExpiresAt       int64    `json:"exp"`
	AuthTime        int64    `json:"auth_time"`
	ACR             string   `json:"acr"`
	AMR             []string `json:"amr"`
	SessionID       string   `json:"sid"`
	AccessTokenHash string   `json:"at_hash"`
	Nonce           string   `json:"nonce,omitempty"`
}

// idTokenClaims returns what the ID token of a person's grant says, to be marshalled: the claims of every ID token, and those of the
// person that are wanted there.
func (s *Server) idTokenClaims(ctx context.Context, c *storage.Client, g storage.Grant, scopes []string, at string) (any, error) {
	now := s.store.Now()
	claims := &idTokenClaims{
		Issuer: s.options.Issuer, Subject: s.Subject(c, g.UserID), Audience: c.ID, AuthorizedParty: c.ID,
		IssuedAt: now.Unix(), ExpiresAt: now.Add(s.options.IDTokenTTL).Unix(), AuthTime: g.AuthTime.Unix(),
		ACR: g.ACR, AMR: g.AMR, SessionID: s.sid(c, g.SessionID), AccessTokenHash: at, Nonce: g.Nonce,
	}
	wanted := keptClaims(g.Claims).IDToken
	if !c.IDTokenClaims && len(wanted) == 0 {
		return claims, nil
	}
	u, err := s.store.User(ctx, g.UserID)
	if err != nil {
		return nil, err
	}
	personal := map[string]any{}
	addClaims(personal, &u, scopes, g.Scopes, wanted)
	if !c.IDTokenClaims { // of the scopes' claims only those that are wanted here
		maps.DeleteFunc(personal, func(name string, _ any) bool { _, ok := wanted[name]; return !ok })
	}
	if len(personal) == 0 {
		return claims, nil
	}
	one, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	two, err := json.Marshal(personal)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(append(append(one[:len(one)-1], ','), two[1:]...)), nil
}
