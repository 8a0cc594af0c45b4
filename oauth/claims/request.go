package claims

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/oauth/jwt"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// Request is the claims parameter of an authorization request (OIDC Core §5.5), or what of it a grant stores.
type Request struct {
	Userinfo map[string]*requestedClaim `json:"userinfo,omitempty"`
	IDToken  map[string]*requestedClaim `json:"id_token,omitempty"`

	attributes map[string]string // scopes of the attribute claims, by claim
}

// requestedClaim is how a claim is requested; nil: in the default manner (§5.5.1).
type requestedClaim struct {
	Essential bool              `json:"essential,omitempty"`
	Value     json.RawMessage   `json:"value,omitempty"`
	Values    []json.RawMessage `json:"values,omitempty"`
}

// accepts reports whether a value is one of the requested values, if there are any.
func (r *requestedClaim) accepts(value any) bool {
	if r == nil || len(r.Value) == 0 && len(r.Values) == 0 {
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
	return len(r.Value) > 0 && same(r.Value) || slices.ContainsFunc(r.Values, same)
}

const maxParameter = 4 << 10

// ParseRequest parses the claims parameter and returns invalid_request unless it is an object of the defined form.
// Unknown members are ignored (OIDC Core §5.5).
func ParseRequest(parameter string) (r Request, err error) {
	if parameter == "" {
		return Request{}, nil
	}
	if len(parameter) > maxParameter {
		return Request{}, protocol.NewError(protocol.InvalidRequest, "claims is larger than 4 KiB.")
	}
	refuse := func(err error) (Request, error) {
		return Request{}, protocol.NewError(
			protocol.InvalidRequest, "claims must be JSON of the form of OIDC Core section 5.5.",
		).WithCause(err)
	}
	if !utf8.ValidString(parameter) || strings.Contains(strings.ToLower(parameter), `\u0000`) {
		return refuse(errors.New("it has a NUL or is not UTF-8")) // which a database cannot store
	}
	if err := jwt.CheckJSONLimits([]byte(parameter), params.MaxValues); err != nil {
		return Request{}, protocol.NewError(protocol.InvalidRequest, "claims "+err.Error()+".")
	}
	top, err := objectMembers([]byte(parameter))
	if err != nil {
		return refuse(err)
	}
	for name, into := range map[string]*map[string]*requestedClaim{"userinfo": &r.Userinfo, "id_token": &r.IDToken} {
		if top[name] == nil {
			continue
		}
		if *into, err = parseRequestedClaims(top[name]); err != nil {
			return refuse(fmt.Errorf("%s: %w", name, err))
		}
	}
	return r, nil
}

// parseRequestedClaims parses the member userinfo or id_token of the claims parameter (OIDC Core §5.5.1).
func parseRequestedClaims(raw json.RawMessage) (map[string]*requestedClaim, error) {
	members, err := objectMembers(raw)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*requestedClaim, len(members))
	for name, raw := range members {
		if string(raw) == "null" {
			out[name] = nil
			continue
		}
		details, err := objectMembers(raw)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		c := &requestedClaim{Value: details["value"]}
		if v := string(details["essential"]); v != "" && v != "true" && v != "false" {
			return nil, fmt.Errorf("%q: essential is not a boolean", name)
		}
		c.Essential = string(details["essential"]) == "true"
		if v := details["values"]; v != nil && (v[0] != '[' || json.Unmarshal(v, &c.Values) != nil) {
			return nil, fmt.Errorf("%q: values is not an array", name)
		}
		out[name] = c
	}
	return out, nil
}

// objectMembers returns the members of a JSON object by their exact names. It returns an error for any other value and
// for a name that occurs twice.
func objectMembers(raw []byte) (map[string]json.RawMessage, error) {
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

// Subject returns the subject that the request requires, or "" when it requires none (OIDC Core §3.1.2.2, §5.5.1). It
// returns invalid_request unless it is a single string: ignoring it would return tokens for any user.
func (r Request) Subject() (string, error) {
	var required []string
	for _, c := range []*requestedClaim{r.IDToken["sub"], r.Userinfo["sub"]} {
		if c == nil {
			continue
		}
		values := c.Values
		if c.Value != nil {
			values = append(slices.Clone(values), c.Value)
		}
		for _, raw := range values {
			var sub string
			if err := json.Unmarshal(raw, &sub); err != nil || sub == "" {
				return "", protocol.NewError(
					protocol.InvalidRequest, "The value of sub in claims must be a string that is not empty.",
				)
			}
			if !slices.Contains(required, sub) {
				required = append(required, sub)
			}
		}
	}
	if len(required) > 1 {
		return "", protocol.NewError(protocol.InvalidRequest, "claims must not name more than one sub.")
	}
	return strings.Join(required, ""), nil
}

// ACR returns the acr values that the request names for the ID token, and whether it accepts no other (OIDC Core
// §5.5.1.1). A value that is no string is never met.
func (r Request) ACR() (values []string, essential bool) {
	c := r.IDToken["acr"]
	if c == nil {
		return nil, false
	}
	raw := c.Values
	if len(c.Value) > 0 {
		raw = append([]json.RawMessage{c.Value}, raw...)
	}
	for _, v := range raw {
		acr := ""
		_ = json.Unmarshal(v, &acr) // leaves it empty, which is no acr
		values = append(values, acr)
	}
	return values, c.Essential && len(values) > 0
}

// consentValue returns what a consent stores for a claim that was requested by name.
func consentValue(name string) string { return protocol.ClaimPrefix + name }

// ClaimName returns the claim that a permission of a consent is for.
func ClaimName(permission string) (name string, ok bool) {
	return strings.CutPrefix(permission, protocol.ClaimPrefix)
}

// IsOptional reports whether a permission is for a claim of a scope that the user may refuse, and so may be refused.
func IsOptional(c *storage.Client, permission string) bool {
	name, ok := ClaimName(permission)
	return ok && slices.ContainsFunc(standardClaims, func(s standardClaim) bool {
		return s.name == name && c.OptionalScopes.Has(s.scope)
	})
}

// ConsentValues returns, in the order of the standard, the permissions of the claims that are requested by name and in
// none of the scopes. A claim of a scope that is not registered for the client is not requested.
func (r Request) ConsentValues(client *storage.Client, scopes []string) []string {
	var out []string
	for _, s := range standardClaims {
		_, userinfo := r.Userinfo[s.name]
		_, idToken := r.IDToken[s.name]
		if (userinfo || idToken) && client.Scopes.Has(s.scope) && !slices.Contains(scopes, s.scope) {
			out = append(out, consentValue(s.name))
		}
	}
	return out
}

// Granted returns what a grant stores of the request: the claims that are in a granted scope or were granted by name.
// It is "" when there are none.
func (r Request) Granted(scopes, permissions []string) string {
	granted := func(requested map[string]*requestedClaim) map[string]*requestedClaim {
		out := map[string]*requestedClaim{}
		for _, s := range standardClaims {
			if c, ok := requested[s.name]; ok &&
				(slices.Contains(scopes, s.scope) || slices.Contains(permissions, consentValue(s.name))) {
				out[s.name] = c
			}
		}
		for name, scope := range r.attributes {
			if c, ok := requested[name]; ok && slices.Contains(scopes, scope) {
				out[name] = c
			}
		}
		return out
	}
	stored := Request{Userinfo: granted(r.Userinfo), IDToken: granted(r.IDToken)}
	if len(stored.Userinfo) == 0 && len(stored.IDToken) == 0 {
		return ""
	}
	b, err := json.Marshal(stored)
	if err != nil {
		return "" // what was parsed from JSON can be written as JSON
	}
	return string(b)
}

// storedRequest returns what a grant stored with Granted.
func storedRequest(stored string) Request {
	var r Request
	if stored == "" || json.Unmarshal([]byte(stored), &r) != nil {
		return Request{}
	}
	return r
}
