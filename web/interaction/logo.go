package interaction

import "net/http"

// ShowLogo serves GET /logo/{id}: the logo of a client, a picture from a third party. Nothing in it is executed.
func (p *Pages) ShowLogo(w http.ResponseWriter, r *http.Request) error {
	picture, contentType, err := p.oauth.Clients.Logo(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, _ = w.Write(picture) //nolint:gosec // it is a PNG, JPEG, GIF or WebP file, and sandboxed
	return nil
}
