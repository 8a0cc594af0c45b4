package oauth

import (
	"context"
	"errors"
	"net/http"

	"gatehouse/storage"
)

const maxLogo = 256 << 10

// logoTypes are the pictures that are passed on. SVG is none of them: it can hold script.
var logoTypes = map[string]bool{"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true}

// Logo returns the client's logo, fetched by this server so that a page shows it without telling the app's server who
// looks at it. It returns storage.ErrNotFound when there is none that can be shown.
func (s *Server) Logo(ctx context.Context, clientID string) (body []byte, contentType string, err error) {
	if !plausibleID(clientID) {
		return nil, "", storage.ErrNotFound
	}
	c, err := s.store.Client(ctx, clientID)
	if err != nil {
		return nil, "", err
	}
	if c.LogoURI == "" || c.DisabledAt != nil {
		return nil, "", storage.ErrNotFound
	}
	doc, err := s.fetch.Get(ctx, c.ID, c.LogoURI, maxLogo)
	if err != nil {
		return nil, "", errors.Join(storage.ErrNotFound, err)
	}
	kind := http.DetectContentType(doc.Body) // what it is, not what it says it is
	if !logoTypes[kind] {
		return nil, "", storage.ErrNotFound
	}
	return doc.Body, kind, nil
}
