package client

import (
	"context"
	"errors"
	"net/http"

	"gatehouse/storage"
)

// maxLogo is the size of the largest logo that is served (decision 75).
const maxLogo = 24 << 10

// isLogoType reports whether a logo of the media type is served. SVG is not, because it can contain scripts.
func isLogoType(mediaType string) bool {
	switch mediaType {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
		return true
	}
	return false
}

// Logo returns the client's logo. This server fetches it, so that the client's server does not learn who views a page
// with it. It returns storage.ErrNotFound when there is none that can be shown.
func (g *Registry) Logo(ctx context.Context, clientID string) (body []byte, mediaType string, err error) {
	if !IsWellFormedID(clientID) {
		return nil, "", storage.ErrNotFound
	}
	c, err := g.store.Client(ctx, clientID)
	if err != nil {
		return nil, "", err
	}
	if c.LogoURI == "" || c.DisabledAt != nil || c.IsDocument() && !g.IsTrusted(c) {
		return nil, "", storage.ErrNotFound
	}
	doc, err := g.options.Documents.Get(ctx, c.ID, c.LogoURI, maxLogo)
	if err != nil {
		return nil, "", errors.Join(storage.ErrNotFound, err)
	}
	mediaType = http.DetectContentType(doc.Body) // the header of the response is not trusted
	if !isLogoType(mediaType) {
		return nil, "", storage.ErrNotFound
	}
	return doc.Body, mediaType, nil
}
