package page

import (
	"encoding/hex"
	"net/url"

	"gatehouse/keyed"
)

// FormToken returns the token that binds a form to its action and to the session that it was shown to, so that another
// site cannot make a browser submit it, or submit it for another action (RFC 9700 §4.7).
func (p *Renderer) FormToken(parts ...string) string {
	return hex.EncodeToString(keyed.MAC(p.options.FormKey, parts...)[:16])
}

// HasFormToken reports whether a submitted form has the token of these parts.
func (p *Renderer) HasFormToken(form url.Values, parts ...string) bool {
	return keyed.Equal([]byte(form.Get("form_token")), []byte(p.FormToken(parts...)))
}
