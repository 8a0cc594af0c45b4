package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/storage"
)

// passwordGrant is a server with the resource owner password credentials grant (RFC 6749 §4.3) and a userinfo endpoint
// (OIDC Core §5.3). Its tokens are not stored.
type passwordGrant struct{ httpServer }

// Authenticate implements Server.
func (p passwordGrant) Authenticate(ctx context.Context, name, password string) (User, error) {
	ctx, cancel := context.WithTimeout(ctx, p.options.Timeout)
	defer cancel()
	token, err := p.token(ctx, name, password)
	if err != nil {
		return User{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.options.UserinfoURL, nil)
	if err != nil {
		return User{}, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	status, body, err := p.do(r)
	if err != nil {
		return User{}, err
	}
	if status != http.StatusOK {
		return User{}, statusError("userinfo endpoint", status, "")
	}
	return parseClaims(body)
}

// token returns an access token of a user.
func (p passwordGrant) token(ctx context.Context, name, password string) (string, error) {
	form := url.Values{
		"grant_type": {"password"}, "username": {name}, "password": {password}, "scope": {"openid profile email"},
	}
	if p.options.Secret == "" { // a public client
		form.Set("client_id", p.options.ClientID)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.options.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.options.Secret != "" {
		r.SetBasicAuth(url.QueryEscape(p.options.ClientID), url.QueryEscape(p.options.Secret))
	}
	status, body, err := p.do(r)
	if err != nil {
		return "", err
	}
	var response struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(body, &response); err != nil && status < http.StatusInternalServerError {
		return "", fmt.Errorf("the response of the token endpoint of the old server (status %d) is not valid JSON", status)
	}
	switch {
	case status == http.StatusOK && response.Token != "" && strings.EqualFold(response.Type, "Bearer"):
		return response.Token, nil
	case (status == http.StatusBadRequest || status == http.StatusUnauthorized) && response.Error == "invalid_grant":
		return "", ErrIncorrect
	}
	return "", statusError("token endpoint", status, response.Error)
}

// claims are the members of a userinfo response, and of the response of a webhook.
type claims struct {
	Sub           string          `json:"sub"`
	Username      string          `json:"preferred_username"`
	Email         string          `json:"email"`
	EmailVerified any             `json:"email_verified"` // some servers return a string
	Name          string          `json:"name"`
	Groups        json.RawMessage `json:"groups"`
	storage.Profile
}

// maxID is the maximum length of the id of a user (OIDC Core §2).
const maxID = 255

// parseClaims returns the user whose claims are a JSON object.
func parseClaims(body []byte) (User, error) {
	var c claims
	if err := json.Unmarshal(body, &c); err != nil {
		return User{}, fmt.Errorf("the user of the old server: %w", withoutValue(err))
	}
	if c.Sub == "" || len(c.Sub) > maxID {
		return User{}, fmt.Errorf("the user of the old server has no sub of 1 to %d characters", maxID)
	}
	u := User{ID: c.Sub, Username: c.Username, Email: c.Email, Name: c.Name, Profile: c.Profile}
	u.EmailVerified = c.EmailVerified == true || c.EmailVerified == "true"
	if json.Unmarshal(c.Groups, &u.Groups) != nil {
		u.Groups = nil // a claim of another meaning
	}
	return u, nil
}

// withoutValue returns an error of package json that does not have the value, which may be personal.
func withoutValue(err error) error {
	var invalid *json.UnmarshalTypeError
	if errors.As(err, &invalid) {
		return fmt.Errorf("the claim %q has another type than %s", invalid.Field, invalid.Type)
	}
	return errors.New("the response is not valid JSON")
}
