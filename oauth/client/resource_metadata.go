package client

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"gatehouse/loopback"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// ResourceMetadataPath is where the metadata of resources is served: below it, the identifier without its scheme.
const ResourceMetadataPath = "/.well-known/oauth-protected-resource/"

const resourceMetadataLifetime = 5 * time.Minute

// ResourceMetadata is the metadata of a protected resource (RFC 9728 §2).
type ResourceMetadata struct {
	Resource             string   `json:"resource"`
	Name                 string   `json:"resource_name,omitempty"`
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
}

// MetadataOf returns the metadata of a resource, which names this server as its authorization server.
func (g *Registry) MetadataOf(r storage.Resource) ResourceMetadata {
	return ResourceMetadata{
		Resource: r.Identifier, Name: r.Name, AuthorizationServers: []string{g.options.Issuer}, Scopes: r.Scopes,
		BearerMethods: []string{"header"},
	}
}

// MetadataURL returns the URL at which this server serves the metadata of a resource.
func (g *Registry) MetadataURL(r storage.Resource) string {
	_, rest, _ := strings.Cut(r.Identifier, "://")
	return g.options.Issuer + ResourceMetadataPath + rest
}

// CheckPublished returns the reason why the metadata of a resource with the identifier cannot be served, or nil.
func CheckPublished(identifier string) error {
	u, err := url.Parse(identifier)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback.IsHost(u.Hostname())) {
		return errors.New("must be an https URL to have metadata; http is allowed on loopback only")
	}
	if u.User != nil || strings.Contains(identifier, "?") {
		return errors.New("must not have a query or a user to have metadata")
	}
	if p := u.EscapedPath(); p != "" && strings.TrimSuffix(p, "/") != strings.TrimSuffix(path.Clean(p), "/") {
		return errors.New("must not have empty path segments, . or .. to have metadata")
	}
	return nil
}

// ResourceMetadata serves GET /.well-known/oauth-protected-resource/… (RFC 9728 §3) for resources whose metadata is
// published. The last part of the URL is the identifier without its scheme, because resources are on other hosts than
// this server. Clients get the URL from the challenge of the resource (§5.1).
func (g *Registry) ResourceMetadata(w http.ResponseWriter, r *http.Request) error {
	all, err := g.store.Resources(r.Context())
	if err != nil {
		return protocol.UnavailableError(err)
	}
	_, rest, _ := strings.Cut(r.URL.EscapedPath(), ResourceMetadataPath)
	for _, scheme := range []string{"https://", "http://"} {
		canonical := storage.CanonicalResource(scheme + rest)
		for _, resource := range all {
			if resource.Canonical == canonical && resource.PublishMetadata {
				protocol.NewDocument(g.MetadataOf(resource), resourceMetadataLifetime).ServeHTTP(w, r)
				return nil
			}
		}
	}
	return protocol.NewError(protocol.InvalidRequest, "No metadata of a resource is published at this URL.").
		WithStatus(http.StatusNotFound)
}
