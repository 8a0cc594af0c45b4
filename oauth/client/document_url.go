package client

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"gatehouse/display"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// maxDocumentURL is the longest client_id that is the URL of a document.
const maxDocumentURL = 500

// DocumentPolicy decides which clients may use the URL of a client ID metadata document as their client_id.
type DocumentPolicy struct {
	Mode  string   // off, list or open
	Hosts []string // hosts, or URLs of documents or, ending in a slash, of what is below
}

// The modes of client ID metadata documents; any other is off.
const (
	documentsList = "list"
	documentsOpen = "open"
)

// IsEnabled reports whether a document can be used without registration in advance.
func (p DocumentPolicy) IsEnabled() bool {
	return p.Mode == documentsOpen || p.Mode == documentsList && len(p.Hosts) > 0
}

// allows reports whether the document at the URL may be used. preregistered reports whether the operator registered
// its client in advance, which has the same effect as listing its URL.
func (p DocumentPolicy) allows(id string, preregistered bool) bool {
	return p.Mode == documentsOpen || p.Mode == documentsList && (preregistered || p.isListed(id))
}

// isListed reports whether the operator trusts the document at the URL.
func (p DocumentPolicy) isListed(id string) bool {
	host := redirect.DestinationOf(id).Host
	return slices.ContainsFunc(p.Hosts, func(item string) bool {
		switch {
		case !strings.Contains(item, "/"):
			return host != "" && strings.EqualFold(item, host)
		case strings.HasSuffix(item, "/"):
			return strings.HasPrefix(id, item)
		}
		return id == item
	})
}

// IsTrusted reports whether pages may show a client without a warning: the operator registered it, vouched for it, or
// trusts the host of its document.
func (g *Registry) IsTrusted(c *storage.Client) bool {
	return !c.IsUnverified() || c.Vouched || c.Preregistered ||
		c.IsDocument() && g.options.ClientDocuments.isListed(c.ID)
}

// AllowsDocument reports whether the policy still allows the document that the client was made from, if there is one.
func (g *Registry) AllowsDocument(c *storage.Client) bool {
	return !c.IsDocument() || g.options.ClientDocuments.allows(c.ID, c.Preregistered)
}

// AllowsDocumentURL reports whether a request with the URL of a document as its client_id can create a client.
func (g *Registry) AllowsDocumentURL(id string) bool {
	return g.options.ClientDocuments.allows(id, false)
}

// AnnouncesDocuments reports whether the metadata of the server announces that clients can use their documents. It
// depends on the settings alone: a client that was registered in advance is no reason for others to send their URLs.
func (g *Registry) AnnouncesDocuments() bool { return g.options.ClientDocuments.IsEnabled() }

// isURL reports whether a client_id is meant to be the URL of a document. IDs that this server generates never are.
func isURL(id string) bool {
	return strings.HasPrefix(id, "https://") || strings.HasPrefix(id, "http://")
}

// checkDocumentURL returns invalid_client with the reason why a client_id cannot be the URL of a document
// (draft-ietf-oauth-client-id-metadata-document §3), or the policy does not allow it. Nothing is fetched.
func (g *Registry) checkDocumentURL(id string, preregistered bool) error {
	refuse := func(reason string) error { return documentError("The client_id " + reason) }
	u, err := url.Parse(id)
	switch {
	case err != nil || u.Host == "" || strings.ContainsAny(id, ` "\<>^`+"`{|}"):
		return refuse("is not a valid URL.")
	case strings.Contains(id, "#"):
		return refuse("must not have a fragment.")
	case u.User != nil:
		return refuse("must not have a user name or password.")
	case u.EscapedPath() == "":
		return refuse("must have a path, like https://app.example/client.json.")
	case hasEncodedSlash(u.EscapedPath()): // a server may decode it, and serve what is not below the prefix of the list
		return refuse("must not have an encoded slash or backslash in its path.")
	case hasDotSegment(u.EscapedPath()):
		return refuse("must not have the path segments . and ..")
	}
	_, notAddress := netip.ParseAddr(u.Hostname())
	if err := redirect.CheckHost(id); err != nil && notAddress != nil {
		return refuse(err.Error() + ".")
	}
	if !g.options.ClientDocuments.allows(id, preregistered) {
		return refuse("is the URL of a client ID metadata document, and this server does not accept those of its host. " +
			"The operator can allow it with GATEHOUSE_CLIENT_DOCUMENTS and GATEHOUSE_CLIENT_DOCUMENT_HOSTS.")
	}
	if err := g.clientDocuments.Check(id); err != nil || redirect.CheckHost(id) != nil {
		return documentError(unreachableDescription).WithCause(err)
	}
	return nil
}

func hasEncodedSlash(escapedPath string) bool {
	path := strings.ToLower(escapedPath)
	return strings.Contains(path, "%2f") || strings.Contains(path, "%5c")
}

func hasDotSegment(escapedPath string) bool {
	for segment := range strings.SplitSeq(escapedPath, "/") {
		segment = strings.ReplaceAll(strings.ToLower(segment), "%2e", ".")
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// documentError returns invalid_client with a description for the developer of the client.
func documentError(description string) *protocol.Error {
	return protocol.NewError(protocol.InvalidClient, strings.Map(func(r rune) rune {
		if r == '"' || r == '\\' || !display.IsVisibleASCII(string(r)) && r != ' ' {
			return '_'
		}
		return r
	}, description))
}
