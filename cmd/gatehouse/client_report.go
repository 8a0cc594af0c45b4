package main

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"gatehouse/admin"
	"gatehouse/display"
	"gatehouse/oauth/client"
)

// reportNewScopes reports the scopes that a command registered because they did not exist.
func (p *program) reportNewScopes(names []string) {
	if len(names) > 0 {
		p.notice("registered new scopes: " + strings.Join(names, ", ") +
			"; describe them for users with `gatehouse scope update NAME --description …`")
	}
}

// reportRemovedScopes reports which scopes a client had and no longer has.
func (p *program) reportRemovedScopes(before, after []string) {
	removed := slices.DeleteFunc(slices.Clone(before), func(name string) bool { return slices.Contains(after, name) })
	if len(removed) > 0 {
		p.notice("removed scopes: " + strings.Join(removed, ", ") + "; all tokens and grants of the client are revoked")
	}
}

// restoresMember reports whether a member of the patch is null.
func restoresMember(patch []byte) bool {
	var members map[string]any
	if json.Unmarshal(patch, &members) != nil {
		return false
	}
	return slices.Contains(slices.Collect(maps.Values(members)), nil)
}

// warnAboutClient reports what is valid and probably not intended.
func (p *program) warnAboutClient(ctx context.Context, a *admin.Admin, info client.Information) error {
	addScopes := "; to add scopes: gatehouse client update " + info.ClientID + " --scope …"
	text := map[admin.ClientWarning]string{
		admin.ClientWithoutName:           "the client has no client_name; users see its client_id",
		admin.ClientWithoutScope:          "the client has no scope; as the introspector of an API it needs none" + addScopes,
		admin.SignInWithoutScope:          "the client has no scope and cannot request any, not even openid" + addScopes,
		admin.ClaimScopesWithoutOpenID:    "the scopes profile, email, address and phone have no effect without openid",
		admin.OfflineAccessWithoutRefresh: "offline_access has no effect without the grant type refresh_token",
		admin.DocumentsNotAnnounced: "the metadata of this server does not announce documents, and many clients " +
			"then register themselves instead; list the document in GATEHOUSE_CLIENT_DOCUMENT_HOSTS to announce it",
	}
	warnings, unknownResources, err := a.ClientWarnings(ctx, info)
	for _, w := range warnings {
		p.notice(display.Escape(text[w]))
	}
	for _, id := range unknownResources {
		p.notice(display.Escape("there is no resource " + id + " yet; register it with `gatehouse resource create`"))
	}
	return err
}
