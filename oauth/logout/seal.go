package logout

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"time"

	"gatehouse/keyed"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/protocol"
)

const (
	sealedTTL     = 10 * time.Minute
	maxSealedSize = 16 << 10
)

// sealedRequest is a logout request in a URL or a form of this server.
type sealedRequest struct {
	Form    url.Values `json:"form"`
	Expires int64      `json:"exp"`
}

// Seal returns the parameters of a logout request encrypted, so that a URL and a form can carry them without revealing
// the ID token. It returns invalid_request when they are larger than 16 KiB.
func (p *Provider) Seal(form url.Values) (string, error) {
	request := sealedRequest{Form: url.Values{}, Expires: p.store.Now().Add(sealedTTL).Unix()}
	for _, name := range []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"} {
		if form.Has(name) {
			request.Form.Set(name, form.Get(name))
		}
	}
	plaintext, err := json.Marshal(request)
	if err != nil {
		return "", err
	}
	if len(plaintext) > maxSealedSize {
		return "", protocol.NewError(protocol.InvalidRequest, "The request is larger than 16 KiB.")
	}
	sealed, err := keyed.Seal(p.key, plaintext, "")
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

// Open returns the parameters that Seal encrypted, or invalid_request when they are damaged or have expired.
func (p *Provider) Open(sealed string) (url.Values, error) {
	expired := protocol.NewError(protocol.InvalidRequest, "The sign-out request has expired. Sign out again in the app.")
	raw, err := jwt.DecodeBase64(sealed)
	if err != nil {
		return nil, expired
	}
	plaintext, err := keyed.Open(p.key, raw, "")
	if err != nil {
		return nil, expired.WithCause(err)
	}
	var request sealedRequest
	if err := json.Unmarshal(plaintext, &request); err != nil || p.store.Now().Unix() >= request.Expires {
		return nil, expired
	}
	return request.Form, nil
}
