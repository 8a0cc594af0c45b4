package page

import (
	"net/http"
	"strings"
)

// policy is the Content-Security-Policy of every page.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; base-uri 'none'; " +
	"frame-ancestors 'none'"

// SetHeaders sets the headers of every page. The forms of a page can only be submitted to this server.
func SetHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy+"; form-action 'self'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// AllowFormRedirects removes form-action from the policy of a page whose form can redirect to a client. Chromium
// applies form-action to every redirect that follows a form, including the client's, and their destinations are
// unknown.
func AllowFormRedirects(h http.Header) { h.Set("Content-Security-Policy", policy) }

// AllowSources adds what a page may load from other servers to its policy: scripts, frames, styles and requests. Such a
// script runs in the origin of the server. It can open no window with another page, and use no passkey.
func AllowSources(h http.Header, sources string) {
	extended := strings.NewReplacer(
		"style-src 'self'", "style-src 'self' "+sources, "script-src 'self'", "script-src 'self' "+sources,
	).Replace(policy)
	h.Set("Content-Security-Policy", extended+"; frame-src "+sources+"; connect-src "+sources+"; form-action 'self'; "+
		"sandbox allow-scripts allow-forms allow-same-origin")
	h.Set("Permissions-Policy", "publickey-credentials-get=(), publickey-credentials-create=()")
}

// SeeOther sends status 303: the browser continues with GET, so that it never forwards a form with a password
// (RFC 9700 §4.12).
func SeeOther(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// Redirect is returned by a handler, in place of an error, to send the browser to another page of this server.
type Redirect struct{ Path string }

// Error returns the path.
func (r *Redirect) Error() string { return "redirect to " + r.Path }

// RedirectTo returns a Redirect to a path below that of the issuer. Headers that the handler has set, such as cookies,
// are sent with it.
func RedirectTo(path string) error { return &Redirect{path} }

// WriteRedirect sends the browser to the page of a Redirect.
func (p *Renderer) WriteRedirect(w http.ResponseWriter, r *Redirect) { SeeOther(w, p.Path(r.Path)) }
