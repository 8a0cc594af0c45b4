package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// CreateClient registers a client with a generated id and, if confidential, a generated secret, which is in the answer
// and nowhere else. Scopes that do not exist are registered and returned too. The error is an *protocol.Error when the metadata
// is at fault.
func (s *Server) CreateClient(ctx context.Context, m Metadata) (ClientInformation, []string, error) {
	if err := m.complete(); err != nil {
		return ClientInformation{}, nil, err
	}
	c, secret, err := s.newClient(ctx, &m)
	if err != nil {
		return ClientInformation{}, nil, err
	}
	var added []string
	err = s.store.Tx(ctx, func(tx *storage.Store) error {
		var err error
		if added, err = tx.CreateMissingScopes(ctx, c.Scopes); err != nil {
			return err
		}
		return tx.CreateClient(ctx, c, storage.Event{Type: storage.ClientCreated, Scopes: c.Scopes.String()})
	})
	if err != nil {
		return ClientInformation{}, nil, err
	}
	return withSecret(Information(c), secret), added, nil
}

// newClient makes the record of complete metadata, with a generated id and, where the client authenticates by one, a
// generated secret.
func (s *Server) newClient(ctx context.Context, m *Metadata) (c *storage.Client, secret string, err error) {
	now := s.store.Now()
	c = &storage.Client{ID: "gc" + credential.Random(20), Epoch: 1, CreatedAt: now, UpdatedAt: now}
	m.fill(c)
	if c.Sector, err = s.sector(ctx, c.ID, m); err != nil {
		return nil, "", err
	}
	if c.AuthMethod == storage.AuthBasic || c.AuthMethod == storage.AuthPost {
		secret = s.format.New(credential.ClientSecret)
		c.Secrets = []storage.ClientSecret{{ID: uuid.NewString(), ClientID: c.ID, Hash: credential.Hash(secret), CreatedAt: now}}
	}
	return c, secret, nil
}

// withSecret adds a secret that has just been made.
func withSecret(info ClientInformation, secret string) ClientInformation {
	if secret != "" {
		info.ClientSecret, info.SecretExpiresAt = secret, ptr(int64(0))
	}
	return info
}

const maxSectorDocument = 64 << 10

// sector is the host that the client's pairwise subjects are made for (OIDC Core §8.1), "" with public ones. A sector
// document, which vouches for redirect URIs of several hosts, is fetched and must list every one (OIDC Registration §5).
// So must everything be fetchable that this server is to fetch.
func (s *Server) sector(ctx context.Context, clientID string, m *Metadata) (string, error) {
	for name, list := range map[string][]string{
		"jwks_uri": {m.JWKSURI}, "sector_identifier_uri": {m.SectorIdentifierURI}, "logo_uri": {m.LogoURI},
		"backchannel_logout_uri": {m.BackchannelLogoutURI}, "request_uris": m.RequestURIs,
	} {
		for _, uri := range list {
			if uri == "" {
				continue
			}
			if name != "request_uris" && strings.Contains(uri, "#") {
				return "", protocol.NewError(protocol.InvalidClientMetadata, "The "+name+" has a fragment; leave out # and what follows.")
			}
			if err := redirect.CheckHost(uri); err != nil {
				return "", protocol.NewError(protocol.InvalidClientMetadata, "The "+name+" "+err.Error()+".")
			}
			if err := s.fetch.Check(uri); err != nil {
				return "", protocol.NewError(protocol.InvalidClientMetadata, "The "+name+" must be an https URL of a server on a public address, without user part.").WithCause(err)
			}
		}
	}
	if m.SectorIdentifierURI != "" {
		// On the account of whoever asks: the client may have been made up a moment ago.
		doc, err := s.fetch.GetUncached(ctx, "registration from "+reqevent.From(ctx).Address, m.SectorIdentifierURI, maxSectorDocument)
		if overloaded(ctx, err) {
			return "", protocol.Unavailable(err)
		}
		if err != nil {
			return "", protocol.NewError(protocol.InvalidClientMetadata, "The sector_identifier_uri could not be fetched.").WithCause(err)
		}
		var listed []string
		if err := json.Unmarshal(doc.Body, &listed); err != nil {
			return "", protocol.NewError(protocol.InvalidClientMetadata, "The document at sector_identifier_uri is not a JSON array of redirect URIs.")
		}
		has := make(map[string]bool, len(listed))
		for _, uri := range listed {
			has[uri] = true
		}
		if slices.ContainsFunc(m.RedirectURIs, func(uri string) bool { return !has[uri] }) {
			return "", protocol.NewError(protocol.InvalidClientMetadata, "The document at sector_identifier_uri does not list every one of redirect_uris.")
		}
		return hostname(m.SectorIdentifierURI), nil
	}
	if m.SubjectType != storage.SubjectPairwise {
		return "", nil
	}
	var host string
	own := 0
	for _, uri := range m.RedirectURIs {
		if !strings.HasPrefix(uri, "https://") { // a loopback address or an app's own scheme: its host proves nothing
			own++
			continue
		}
		if h := hostname(uri); host == "" || h == host {
			host = h
			continue
		}
		return "", protocol.NewError(protocol.InvalidClientMetadata, "Pairwise subjects need redirect_uris of one host, or a sector_identifier_uri that lists them.")
	}
	switch {
	case own == 0 && host != "":
		return host, nil
	case own == len(m.RedirectURIs) && own > 0:
		return "client " + clientID, nil // a sector of its own
	}
	return "", protocol.NewError(protocol.InvalidClientMetadata, "Pairwise subjects need redirect_uris, and those of a host and of a device together a sector_identifier_uri that lists them.")
}

func hostname(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// UpdateClient changes what the patch has (RFC 7396). Taking scopes or resources away from the client makes its tokens
// and grants useless. It returns scopes that were registered, or storage.ErrNotFound.
func (s *Server) UpdateClient(ctx context.Context, id string, patch []byte) (ClientInformation, []string, error) {
	return s.changeClient(ctx, id, false, func(c *storage.Client) (Metadata, error) {
		m := Information(c).Metadata
		if err := m.Merge(patch); err != nil {
			return Metadata{}, err
		}
		if slices.Contains(m.GrantTypes, protocol.GrantAuthorizationCode) != c.GrantTypes.Has(protocol.GrantAuthorizationCode) && !bytes.Contains(patch, []byte(`"response_types"`)) {
			m.ResponseTypes = nil
		}
		return m, nil
	})
}

// changeClient gives the client the metadata that next makes of its record. What has to be fetched is fetched before the
// transaction; when the record changed meanwhile in what that hangs on, it begins anew. bySelf tells a client that changes
// its own registration from the operator.
func (s *Server) changeClient(ctx context.Context, id string, bySelf bool, next func(c *storage.Client) (Metadata, error)) (ClientInformation, []string, error) {
	for range 3 {
		c, err := s.store.Client(ctx, id)
		if err != nil {
			return ClientInformation{}, nil, err
		}
		m, err := changedMetadata(c, next)
		if err != nil {
			return ClientInformation{}, nil, err
		}
		sector, err := s.sector(ctx, id, &m)
		if err != nil {
			return ClientInformation{}, nil, err
		}
		info, added, err := s.writeClient(ctx, id, bySelf, next, &m, sector)
		if !errors.Is(err, errMoved) {
			return info, added, err
		}
	}
	return ClientInformation{}, nil, protocol.Unavailable(errMoved)
}

// errMoved says that a client's record is not what it was a moment ago.
var errMoved = errors.New("the client was changed meanwhile")

func changedMetadata(c *storage.Client, next func(c *storage.Client) (Metadata, error)) (Metadata, error) {
	m, err := next(c)
	if err == nil {
		err = m.complete()
	}
	if err == nil && (m.TokenEndpointAuthMethod == storage.AuthNone) != c.IsPublic() {
		err = protocol.NewError(protocol.InvalidClientMetadata, "A public client cannot become confidential or the reverse; register a new one.")
	}
	return m, err
}

func (s *Server) writeClient(ctx context.Context, id string, bySelf bool, next func(c *storage.Client) (Metadata, error), checked *Metadata, sector string) (info ClientInformation, added []string, err error) {
	event := storage.Event{Type: storage.ClientUpdated, Detail: map[string]any{}} // filled in once it is known
	err = s.store.Tx(ctx, func(tx *storage.Store) error {
		return tx.UpdateClient(ctx, id, event, func(c *storage.Client) (bool, error) {
			m, err := changedMetadata(c, next)
			if err != nil {
				return false, err
			}
			if !slices.Equal(m.fetched(), checked.fetched()) {
				return false, errMoved
			}
			before := *c
			m.fill(c)
			c.Sector = sector
			if bySelf {
				err = s.keepWithin(ctx, tx, &before, c)
			} else {
				added, err = tx.CreateMissingScopes(ctx, c.Scopes)
			}
			if err != nil {
				return false, err
			}
			if c.IsSelfRegistered() && differs(&before, c) {
				c.DescribedAt = ptr(s.store.Now())
			}
			info = Information(c)
			clear(event.Detail)
			return narrowed(&before, c), tellChanges(event.Detail, Information(&before).Metadata, info.Metadata)
		})
	})
	return info, added, err
}

// tellChanges says in an audit row which members changed and, of those that decide who may come from where and get what, what
// they were and are.
func tellChanges(detail map[string]any, before, after Metadata) error {
	var was, is map[string]json.RawMessage
	for to, m := range map[*map[string]json.RawMessage]Metadata{&was: before, &is: after} {
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, to); err != nil {
			return err
		}
	}
	changed, old, now := []string{}, map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for _, name := range memberNames() {
		if bytes.Equal(was[name], is[name]) {
			continue
		}
		changed = append(changed, name)
		if slices.Contains([]string{"scope", "redirect_uris", "grant_types", "token_endpoint_auth_method", "jwks_uri", "gatehouse_allowed_networks", "gatehouse_skip_consent", "gatehouse_require_pkce"}, name) {
			old[name], now[name] = was[name], is[name] // nil: it was not there
		}
	}
	detail["changed"] = changed
	if len(old) > 0 {
		detail["was"], detail["now"] = old, now
	}
	return nil
}

// keepWithin bounds what a client may make of itself. It cannot become another sector's, or it would learn by which subject
// others know its people; scopes that are gone stay gone; and what the operator vouched for was the client as it was.
func (s *Server) keepWithin(ctx context.Context, tx *storage.Store, before, after *storage.Client) error {
	if otherSubjects(before, after) {
		return protocol.NewError(protocol.InvalidClientMetadata, "A registered client keeps its subject_type and, if that is pairwise, the host that its subjects are made for; register a new one.")
	}
	known, err := tx.Scopes(ctx)
	if err != nil {
		return err
	}
	for _, list := range []*storage.Strings{&before.Scopes, &after.Scopes, &after.OptionalScopes, after.DefaultScopes} {
		if list != nil {
			*list = slices.DeleteFunc(slices.Clone(*list), func(name string) bool { _, ok := known[name]; return !ok })
		}
	}
	after.SkipConsent = after.SkipConsent && !differs(before, after)
	return nil
}

// fetched is what sector depends on.
func (m *Metadata) fetched() []string {
	return append([]string{m.SectorIdentifierURI, m.SubjectType, m.JWKSURI, m.LogoURI, m.BackchannelLogoutURI, strings.Join(m.RequestURIs, " ")}, m.RedirectURIs...)
}

// differs reports whether the client looks different from what users allowed: its name, its pages, the URL of its
// logo, the destinations of responses, or the link on the account page.
func differs(before, after *storage.Client) bool {
	hosts := func(c *storage.Client) (out []redirect.Destination) {
		for _, uri := range c.RedirectURIs {
			out = append(out, redirect.DestinationOf(uri))
		}
		return out
	}
	known := hosts(before)
	return before.Name != after.Name || before.URI != after.URI || before.LogoURI != after.LogoURI || before.PolicyURI != after.PolicyURI || before.TosURI != after.TosURI ||
		before.InitiateLoginURI != after.InitiateLoginURI ||
		slices.ContainsFunc(hosts(after), func(host redirect.Destination) bool { return !slices.Contains(known, host) })
}

// narrowed reports whether the client lost a scope, resource or audience that tokens out may have, or the subjects in them
// would be others from now on (OIDC Core §12.2 wants a refreshed ID token to have the same).
func narrowed(before, after *storage.Client) bool {
	lost := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(item string) bool { return !slices.Contains(b, item) })
	}
	if after.Resources != nil && (before.Resources == nil || lost(*before.Resources, *after.Resources)) {
		return true
	}
	if otherSubjects(before, after) {
		return true
	}
	return lost(before.Scopes, after.Scopes) || lost(before.Audience, after.Audience) || before.Resources != nil && after.Resources == nil
}

// otherSubjects reports whether people have other subjects at the client than before.
func otherSubjects(before, after *storage.Client) bool {
	return before.SubjectType != after.SubjectType || after.SubjectType == storage.SubjectPairwise && before.Sector != after.Sector
}

// RotateSecret adds a secret and returns it. The others stay valid for overlap; with none they end at once, and every
// token the client has with them.
func (s *Server) RotateSecret(ctx context.Context, id string, overlap time.Duration) (ClientInformation, error) {
	c, err := s.store.Client(ctx, id)
	if err != nil {
		return ClientInformation{}, err
	}
	if c.AuthMethod != storage.AuthBasic && c.AuthMethod != storage.AuthPost {
		return ClientInformation{}, protocol.NewError(protocol.InvalidClientMetadata, "The client does not authenticate by a secret but by "+c.AuthMethod+".")
	}
	now := s.store.Now()
	secret := s.format.New(credential.ClientSecret)
	row := &storage.ClientSecret{ID: uuid.NewString(), ClientID: id, Hash: credential.Hash(secret), CreatedAt: now}
	event := storage.Event{Type: storage.ClientSecretAdded, Detail: map[string]any{"overlap_seconds": int64(overlap / time.Second)}}
	if err := s.store.AddClientSecret(ctx, row, ptr(now.Add(overlap)), overlap <= 0, event); err != nil {
		return ClientInformation{}, err
	}
	info := Information(c)
	info.ClientSecret, info.SecretExpiresAt = secret, ptr(int64(0))
	return info, nil
}
