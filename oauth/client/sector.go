package client

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"gatehouse/oauth/fetch"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

const maxSectorDocument = 64 << 10

// resolveSector checks that this server can fetch what it is to fetch, and returns the sector of the client's
// pairwise subjects (OIDC Core §8.1): a host, or "" with public subjects.
func (g *Registry) resolveSector(ctx context.Context, c *storage.Client, m *Metadata) (string, error) {
	if err := g.checkFetchedURIs(m); err != nil {
		return "", err
	}
	if c.IsDocument() {
		return sectorOfDocument(c.ID, m), nil
	}
	if m.SectorIdentifierURI != "" {
		return g.checkSectorDocument(ctx, m)
	}
	if m.SubjectType != storage.SubjectPairwise {
		return "", nil
	}
	return sectorOfRedirectURIs(c.ID, m.RedirectURIs)
}

// checkFetchedURIs checks the URIs that this server itself sends requests to.
func (g *Registry) checkFetchedURIs(m *Metadata) error {
	for _, f := range []struct {
		member string
		uris   []string
	}{
		{"jwks_uri", []string{m.JWKSURI}}, {"sector_identifier_uri", []string{m.SectorIdentifierURI}},
		{"logo_uri", []string{m.LogoURI}}, {"backchannel_logout_uri", []string{m.BackchannelLogoutURI}},
		{"request_uris", m.RequestURIs},
	} {
		for _, uri := range f.uris {
			if uri == "" {
				continue
			}
			if f.member != "request_uris" && strings.Contains(uri, "#") {
				return invalid("%s must not have a fragment.", f.member)
			}
			if err := redirect.CheckHost(uri); err != nil {
				return invalid("%s %w.", f.member, err)
			}
			if err := g.options.Documents.Check(uri); err != nil {
				return protocol.NewError(protocol.InvalidClientMetadata,
					f.member+" must be an https URL of a server with a public address, without user information.").WithCause(err)
			}
		}
	}
	return nil
}

// checkSectorDocument fetches the sector document, which allows redirect URIs of several hosts and must list every one
// (OIDC Registration §5). It returns the host of the document.
func (g *Registry) checkSectorDocument(ctx context.Context, m *Metadata) (string, error) {
	// Counted for the caller, because the client may have been created only for this request.
	owner := "registration from " + reqevent.FromContext(ctx).Address
	doc, err := g.options.Documents.GetUncached(ctx, owner, m.SectorIdentifierURI, maxSectorDocument)
	if fetch.IsOverloaded(ctx, err) {
		return "", protocol.UnavailableError(err)
	}
	if err != nil {
		return "", protocol.NewError(protocol.InvalidClientMetadata, "sector_identifier_uri could not be fetched.").
			WithCause(err)
	}
	var listed []string
	if err := json.Unmarshal(doc.Body, &listed); err != nil {
		return "", invalid("The document at sector_identifier_uri must be a JSON array of redirect URIs.")
	}
	has := make(map[string]bool, len(listed))
	for _, uri := range listed {
		has[uri] = true
	}
	if slices.ContainsFunc(m.RedirectURIs, func(uri string) bool { return !has[uri] }) {
		return "", invalid("The document at sector_identifier_uri must list every one of redirect_uris.")
	}
	return hostname(m.SectorIdentifierURI), nil
}

// sectorOfRedirectURIs returns the one host of the redirect URIs. A client with only loopback and private-scheme
// redirect URIs, whose host proves nothing, has a sector of its own.
func sectorOfRedirectURIs(clientID string, redirectURIs []string) (string, error) {
	var host string
	native := 0
	for _, uri := range redirectURIs {
		if !strings.HasPrefix(uri, "https://") {
			native++
			continue
		}
		if h := hostname(uri); host == "" || h == host {
			host = h
			continue
		}
		return "", invalid("Pairwise subjects require redirect_uris of one host, or a sector_identifier_uri that lists them.")
	}
	switch {
	case native == 0 && host != "":
		return host, nil
	case native == len(redirectURIs) && native > 0:
		return "client " + clientID, nil
	}
	return "", invalid("Pairwise subjects require redirect_uris; https ones together with native ones " +
		"require a sector_identifier_uri that lists them.")
}

func hostname(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
