package page

import (
	"net/http"
	"strings"

	"gatehouse/display"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
)

// API is an API as pages show it.
type API struct{ Name, Host string }

// NewAPI returns the view of a resource: its name and the host of its identifier, or the identifier when it has no
// name.
func NewAPI(identifier, name string) API {
	api := API{Name: display.NameOr(name, ""), Host: redirect.DestinationOf(identifier).Host}
	if api.Name == "" || api.Host == "" { // the identifier alone distinguishes it from others at the host, or is a URN
		api.Host = strings.TrimPrefix(identifier, "https://")
	}
	return api
}

// Scope is a scope, or a claim that was requested individually. A zero Scope stands for access to an API without a
// scope.
type Scope struct {
	Name        string
	Claim       string // the claim, when it is one
	Description string // the operator's
}

// NewScope returns the view of a scope, or of a claim under the name that a consent stores for it. description is the
// operator's.
func NewScope(name, description string) Scope {
	claim, ok := strings.CutPrefix(name, protocol.ClaimPrefix)
	if !ok {
		claim = ""
	}
	return Scope{Name: name, Claim: claim, Description: description}
}

// DescribeScope returns what a scope lets a client do.
func (p *Renderer) DescribeScope(r *http.Request, s Scope) string {
	switch {
	case s.Claim != "":
		return p.Text(r, "claim."+s.Claim)
	case s.Name == "":
		return p.Text(r, "consent.any_request")
	}
	key := "scope." + s.Name
	if s.Description != "" && s.Description == p.catalogue.Match().Text(key) { // the operator has not changed it
		return p.Text(r, key)
	}
	return display.NameOr(s.Description, s.Name)
}
