package migration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
)

// webhook is a service of the operator, which checks a name and password in its own way. The request is a POST with the
// JSON members username and password. The response has the status 200 and the member authenticated, and for a correct
// password the claims of the user: sub, preferred_username, email and others of OIDC Core §5.1.
type webhook struct{ httpServer }

// Authenticate implements Server.
func (w webhook) Authenticate(ctx context.Context, name, password string) (User, error) {
	ctx, cancel := context.WithTimeout(ctx, w.options.Timeout)
	defer cancel()
	request, err := json.Marshal(map[string]string{"username": name, "password": password})
	if err != nil {
		return User{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.options.URL, bytes.NewReader(request))
	if err != nil {
		return User{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+w.options.Secret)
	status, body, err := w.do(r)
	if err != nil {
		return User{}, err
	}
	if status != http.StatusOK {
		return User{}, statusError("webhook", status, "")
	}
	var response struct {
		Authenticated *bool `json:"authenticated"`
	}
	switch err := json.Unmarshal(body, &response); {
	case err != nil || response.Authenticated == nil:
		return User{}, errors.New("the response of the webhook has no member authenticated, which is true or false")
	case !*response.Authenticated:
		return User{}, ErrIncorrect
	}
	return parseClaims(body)
}
