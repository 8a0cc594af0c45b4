package importer

import (
	"context"
	"encoding/json"
	"strings"

	"gatehouse/oauth/client"
	"gatehouse/storage"
)

// hydraClient is a client of Ory Hydra: of its API and command line, or a row of its table hydra_client as JSON, which
// alone has the hash of the secret.
type hydraClient struct {
	ClientID     string    `json:"client_id"`
	RowID        string    `json:"id"`
	Secret       string    `json:"client_secret"`
	Name         string    `json:"client_name"`
	RedirectURIs hydraList `json:"redirect_uris"`
	GrantTypes   hydraList `json:"grant_types"`
	Scope        string    `json:"scope"`
	Owner        string    `json:"owner"`
	PolicyURI    string    `json:"policy_uri"`
	TosURI       string    `json:"tos_uri"`
	ClientURI    string    `json:"client_uri"`
	LogoURI      string    `json:"logo_uri"`
	Contacts     hydraList `json:"contacts"`
	JWKS         any       `json:"jwks"`
	JWKSURI      string    `json:"jwks_uri"`
	Method       string    `json:"token_endpoint_auth_method"`
	SubjectType  string    `json:"subject_type"`
	PostLogout   hydraList `json:"post_logout_redirect_uris"`
	Backchannel  string    `json:"backchannel_logout_uri"`
	SkipConsent  bool      `json:"skip_consent"`
	Audience     hydraList `json:"audience"`
}

// hydraList is an array, or a column that has one as JSON or separated by vertical bars.
type hydraList []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *hydraList) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) == nil {
		*l = list
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if text == "" {
		return nil
	}
	if json.Unmarshal([]byte(text), &list) != nil {
		list = strings.Split(text, "|")
	}
	*l = list
	return nil
}

// hydra imports clients of Ory Hydra. Their ids stay; the hash of a secret is verified at its first use, and then
// replaced.
func (im *Importer) hydra(ctx context.Context, files []string) error {
	p, err := im.newProgress(files, 1)
	if err != nil {
		return err
	}
	return im.eachFile(files, p, func(in *input) error {
		return eachObject(in, "items", func(entry int, h hydraClient, invalid error) error {
			if h.ClientID == "" {
				h.ClientID = h.RowID
			}
			location := in.at("entry %d (%s)", entry, h.ClientID)
			if invalid != nil {
				im.invalidClient(location, invalid)
				return nil
			}
			return im.addClient(ctx, location, im.fromHydra(h))
		})
	})
}

func (im *Importer) fromHydra(h hydraClient) client.Imported {
	c := client.Imported{ID: h.ClientID}
	switch {
	case h.Secret == "":
		c.NoSecret = true
	case strings.HasPrefix(h.Secret, "$"):
		c.SecretHash = h.Secret
	default:
		c.Secret = h.Secret
	}
	m := &c.Metadata
	m.ClientName, m.ClientURI, m.PolicyURI, m.TosURI, m.LogoURI = h.Name, h.ClientURI, h.PolicyURI, h.TosURI, h.LogoURI
	m.RedirectURIs, m.PostLogoutRedirectURIs = client.List(h.RedirectURIs), client.List(h.PostLogout)
	m.Contacts, m.Audience, m.Owner = client.List(h.Contacts), client.List(h.Audience), h.Owner
	m.GrantTypes = im.grantTypes(h.GrantTypes)
	m.SkipConsent, m.BackchannelLogoutURI, m.SubjectType = h.SkipConsent, h.Backchannel, h.SubjectType
	for _, scope := range strings.Fields(h.Scope) {
		if scope == "offline" { // Hydra's older name
			scope = "offline_access"
		}
		m.Scope = append(m.Scope, scope)
	}
	if h.Method != "" {
		m.TokenEndpointAuthMethod = h.Method
	}
	if m.TokenEndpointAuthMethod == storage.AuthNone || m.TokenEndpointAuthMethod == storage.AuthPrivateKey {
		c.NoSecret = false
	}
	if m.TokenEndpointAuthMethod == storage.AuthPrivateKey {
		m.JWKSURI = h.JWKSURI
		if keys, err := json.Marshal(h.JWKS); h.JWKSURI == "" && h.JWKS != nil && err == nil {
			m.JWKS = keys
		}
	}
	return c
}
