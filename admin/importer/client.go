package importer

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gatehouse/oauth/client"
	"gatehouse/oauth/granttype"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// addClient imports a client. Redirect URIs with a wildcard are left out and listed, because Gatehouse compares them
// exactly.
func (im *Importer) addClient(ctx context.Context, location string, c client.Imported) error {
	im.report.Clients.Read++
	if im.options.Clients == nil {
		im.report.Clients.Skipped++
		return nil
	}
	m := &c.Metadata
	if m.GrantTypes != nil && len(m.GrantTypes) == 0 { // an empty list would be that of authorization codes
		im.report.Clients.Skipped++
		im.report.fix("client %s was not imported: none of its grant types is supported", c.ID)
		return nil
	}
	var left, leftLogout client.List
	m.RedirectURIs, left = withoutWildcards(m.RedirectURIs)
	m.PostLogoutRedirectURIs, leftLogout = withoutWildcards(m.PostLogoutRedirectURIs)
	if granttype.HasUsers(m.GrantTypes) && len(m.RedirectURIs) == 0 {
		im.report.Clients.Invalid++
		reason := "it has no redirect URI"
		if len(left) > 0 {
			reason += " without a wildcard (" + strings.Join(left, ", ") + ")"
		}
		im.report.problem(location, reason+"; add exact ones to the export, or create the client with them "+
			"(`gatehouse client create`)")
		return nil
	}
	err := im.options.Clients.Import(ctx, c, im.options.DryRun)
	var e *protocol.Error
	switch {
	case err == nil:
		im.report.Clients.Created++
		im.clientIDs[c.ID] = true
		im.fixWildcards(c.ID, "redirect URI", left)
		im.fixWildcards(c.ID, "post-logout redirect URI", leftLogout)
		if c.NoSecret {
			im.report.fix("client %s: the export has no secret: run `gatehouse client rotate-secret %[1]s`", c.ID)
		}
	case errors.Is(err, storage.ErrConflict):
		im.report.Clients.Unchanged++
	case errors.Is(err, storage.ErrIDOfUser):
		im.report.Clients.Conflicts++
		im.report.problem(location, storage.ErrIDOfUser.Error())
	case errors.As(err, &e) && e.Code != protocol.ServerError:
		im.report.Clients.Invalid++
		im.report.problem(location, e.Description)
	default:
		return err
	}
	return nil
}

// invalidClient reports a client that cannot be decoded.
func (im *Importer) invalidClient(location string, err error) {
	im.report.Clients.Read++
	im.report.Clients.Invalid++
	im.report.problem(location, err.Error())
}

// withoutWildcards returns the URIs without a wildcard, and the others.
func withoutWildcards(uris client.List) (exact, wildcards client.List) {
	for _, uri := range uris {
		if strings.Contains(uri, "*") {
			wildcards = append(wildcards, uri)
		} else {
			exact = append(exact, uri)
		}
	}
	return exact, wildcards
}

// fixWildcards lists the URIs that an imported client does not have.
func (im *Importer) fixWildcards(id, what string, uris client.List) {
	for _, uri := range uris {
		im.report.fix("client %s: the %s %s has a wildcard: register each URI (`gatehouse client update %[1]s`)", id, what,
			uri)
	}
}

// grantTypes returns the supported ones, and counts the others as lost. It returns nil for an empty list, for which the
// default applies.
func (im *Importer) grantTypes(names []string) (out client.List) {
	if len(names) > 0 {
		out = client.List{}
	}
	for _, name := range names {
		switch name {
		case granttype.AuthorizationCode, granttype.RefreshToken, granttype.ClientCredentials:
			out = append(out, name)
		default:
			im.report.lose("grant type %s of a client", name)
		}
	}
	return out
}

// keycloakClient is a client of a realm.
type keycloakClient struct {
	ClientID         string            `json:"clientId"`
	Name             string            `json:"name"`
	Enabled          *bool             `json:"enabled"`
	Protocol         string            `json:"protocol"`
	Authenticator    string            `json:"clientAuthenticatorType"`
	Secret           string            `json:"secret"`
	RootURL          string            `json:"rootUrl"`
	RedirectURIs     []string          `json:"redirectUris"`
	Public           bool              `json:"publicClient"`
	BearerOnly       bool              `json:"bearerOnly"`
	ConsentRequired  bool              `json:"consentRequired"`
	Standard         *bool             `json:"standardFlowEnabled"`
	Implicit         bool              `json:"implicitFlowEnabled"`
	DirectGrants     bool              `json:"directAccessGrantsEnabled"`
	ServiceAccounts  bool              `json:"serviceAccountsEnabled"`
	Attributes       map[string]string `json:"attributes"`
	DefaultScopes    []string          `json:"defaultClientScopes"`
	OptionalScopes   []string          `json:"optionalClientScopes"`
	ProtocolMappers  []any             `json:"protocolMappers"`
	FullScopeAllowed *bool             `json:"fullScopeAllowed"`
}

// keycloakOwnScopes are client scopes that add claims of Keycloak's tokens and are no scopes of OAuth.
var keycloakOwnScopes = []string{
	"acr", "basic", "microprofile-jwt", "organization", "role_list", "roles", "saml_organization", "service_account",
	"web-origins",
}

// keycloakClients imports the clients of a realm but those of Keycloak's own pages.
func (im *Importer) keycloakClients(ctx context.Context, clients []keycloakClient) error {
	for _, k := range clients {
		switch {
		case slices.Contains(keycloakOwnClients, k.ClientID):
			continue
		case k.Protocol == "saml" || k.BearerOnly:
			im.report.Clients.Read++
			im.report.Clients.Skipped++
			if k.BearerOnly {
				im.report.fix("client %s is an API: create it with `gatehouse resource create`", k.ClientID)
			} else {
				im.report.lose("SAML client")
			}
			continue
		}
		if err := im.addClient(ctx, "client "+k.ClientID, im.fromKeycloak(k)); err != nil {
			return err
		}
	}
	return nil
}

func (im *Importer) fromKeycloak(k keycloakClient) client.Imported {
	c := client.Imported{ID: k.ClientID, Secret: k.Secret, Disabled: k.Enabled != nil && !*k.Enabled}
	m := &c.Metadata
	m.ClientName, m.SkipConsent = k.Name, !k.ConsentRequired
	if strings.HasPrefix(m.ClientName, "${") { // a message of Keycloak
		m.ClientName = ""
	}
	m.RedirectURIs, m.GrantTypes = absoluteURIs(k.RootURL, k.RedirectURIs), client.List{}
	if k.Standard == nil || *k.Standard {
		m.GrantTypes = append(m.GrantTypes, granttype.AuthorizationCode, granttype.RefreshToken)
	} else {
		m.RedirectURIs = nil
	}
	if k.ServiceAccounts {
		m.GrantTypes = append(m.GrantTypes, granttype.ClientCredentials)
	}
	if k.Implicit {
		im.report.lose("implicit flow of a client")
	}
	if k.DirectGrants {
		im.report.lose("direct access grants of a client (passwords are entered at Gatehouse only)")
	}
	if len(k.ProtocolMappers) > 0 {
		im.report.lose("protocol mappers of a client")
	}
	for _, scope := range append(k.DefaultScopes, k.OptionalScopes...) {
		if !slices.Contains(keycloakOwnScopes, scope) && !slices.Contains(m.Scope, scope) {
			m.Scope = append(m.Scope, scope)
		}
	}
	if granttype.HasUsers(m.GrantTypes) && !slices.Contains(m.Scope, protocol.ScopeOpenID) {
		m.Scope = append(m.Scope, protocol.ScopeOpenID)
	}
	switch {
	case k.Public:
		m.TokenEndpointAuthMethod = storage.AuthNone
	case k.Authenticator == "client-jwt" && k.Attributes["jwks.url"] != "":
		m.TokenEndpointAuthMethod, m.JWKSURI = storage.AuthPrivateKey, k.Attributes["jwks.url"]
	case k.Authenticator == "" || k.Authenticator == "client-secret":
		m.TokenEndpointAuthMethod = storage.AuthBasic
		c.NoSecret = k.Secret == "" || k.Secret == "**********" // of an export of the administration pages
	default: // a secret from before the client used keys must not be valid again
		m.TokenEndpointAuthMethod, c.Secret, c.NoSecret = storage.AuthBasic, "", true
		im.report.lose("authentication of a client by %s", k.Authenticator)
	}
	m.BackchannelLogoutURI = k.Attributes["backchannel.logout.url"]
	logout := strings.Split(k.Attributes["post.logout.redirect.uris"], "##")
	if i := slices.Index(logout, "+"); i >= 0 {
		logout = slices.Concat(slices.Delete(logout, i, i+1), m.RedirectURIs)
	}
	logout = slices.DeleteFunc(logout, func(uri string) bool { return uri == "" || uri == "-" })
	m.PostLogoutRedirectURIs = absoluteURIs(k.RootURL, logout)
	return c
}

// absoluteURIs prepends the root URL of a client to paths.
func absoluteURIs(root string, uris []string) (out client.List) {
	for _, uri := range uris {
		if strings.HasPrefix(uri, "/") {
			uri = strings.TrimSuffix(root, "/") + uri
		}
		out = append(out, uri)
	}
	return out
}
