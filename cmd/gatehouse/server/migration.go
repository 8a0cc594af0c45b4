package server

import (
	"fmt"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/identity/migration"
)

// oldServer returns the old server whose users move here. The settings were validated.
func oldServer(m config.Migration) (identity.Migration, error) {
	if m.Kind == "" || m.Kind == "off" {
		return identity.Migration{}, nil
	}
	client, err := migration.New(migration.Options{
		Kind: m.Kind, URL: m.URL, UserinfoURL: m.UserinfoURL, ClientID: m.ClientID, Secret: m.Secret, Timeout: m.Timeout,
		Base: m.LDAPBase, Filter: m.LDAPFilter, IDAttribute: m.LDAPID,
	})
	if err != nil {
		return identity.Migration{}, fmt.Errorf("GATEHOUSE_MIGRATION: %w", err)
	}
	return identity.Migration{
		Server: client, Source: m.Source, Until: *m.Until, Groups: m.Groups, MatchedGroups: m.MatchedGroups,
	}, nil
}
