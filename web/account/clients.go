package account

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

type connectedClient struct {
	ID, Name, Host      string
	Path, Logo          string // Logo is empty when the client has none
	Since               page.Time
	Scopes              []string
	LoginURL            string // where the client starts a sign-in, "" when it has not registered it
	Unverified, Changed bool   // not verified by the operator; changed its description since the user agreed
}

// connectedClients returns the clients that the user has allowed.
func (p *Pages) connectedClients(r *http.Request, user *identity.SignedInUser) ([]connectedClient, error) {
	consents, err := p.store.Consents(r.Context(), user.User.ID)
	if err != nil {
		return nil, err
	}
	var clients []connectedClient
	for _, consent := range consents {
		connected, err := p.connectedClient(r, consent, user.User.Username)
		if errors.Is(err, storage.ErrNotFound) {
			continue // the client has just been deleted
		}
		if err != nil {
			return nil, err
		}
		clients = append(clients, connected)
	}
	return clients, nil
}

func (p *Pages) connectedClient(r *http.Request, consent storage.Consent, loginHint string) (connectedClient, error) {
	client, err := p.store.Client(r.Context(), consent.ClientID)
	if err != nil {
		return connectedClient{}, err
	}
	connected := connectedClient{
		ID: consent.ID, Path: p.pages.Path(clientsPath + "/" + consent.ID), Name: client.DisplayName(),
		Host:  redirect.DestinationOf(client.URI).Host,
		Since: p.pages.NewTime(r, consent.CreatedAt, p.store.Now()),
	}
	if connected.Scopes, err = p.scopeRows(r, consent); err != nil {
		return connectedClient{}, err
	}
	connected.Unverified = !p.oauth.Clients.IsTrusted(client)
	switch {
	case client.IsDocument():
		connected.Host = redirect.DestinationOf(client.ID).Host
		connected.Changed = oauth.HasChangedDescription(client, consent)
	case client.IsSelfRegistered(): // its home page is unverified; only the destination that the user agreed to is known
		connected.Changed, connected.Host = oauth.HasChangedDescription(client, consent), ""
		if agreed := oauth.AgreedRedirectURI(client, consent); agreed != "" {
			connected.Host = p.pages.Destination(r, agreed)
		}
	}
	if client.LogoURI != "" && (!client.IsDocument() || !connected.Unverified) {
		connected.Logo = p.pages.Path("/logo/" + url.PathEscape(client.ID))
	}
	if client.DisabledAt == nil {
		connected.LoginURL = p.oauth.InitiateLoginURL(client, consent, loginHint)
	}
	return connected, nil
}

// scopeRows describes the scopes of a consent, each with its API.
func (p *Pages) scopeRows(r *http.Request, consent storage.Consent) ([]string, error) {
	scopes, err := p.store.Scopes(r.Context())
	if err != nil {
		return nil, err
	}
	resources, err := p.store.Resources(r.Context())
	if err != nil {
		return nil, err
	}
	var rows []string
	for _, resourceScope := range consent.ResourceScopes {
		identifier, name := storage.SplitResourceScope(resourceScope)
		row := p.pages.DescribeScope(r, page.NewScope(name, scopes[name].Description))
		if identifier != "" {
			api := page.NewAPI(identifier, resources[identifier].Name)
			row = p.pages.Text(r, "account.app_and_host", row, cmp.Or(api.Name, api.Host))
		}
		rows = append(rows, row)
	}
	return rows, nil
}

type clientsPage struct {
	accountLayout
	Clients []connectedClient
}

// ShowClients serves GET /account/apps: the clients that have access.
func (p *Pages) ShowClients(w http.ResponseWriter, r *http.Request) error {
	user, err := p.currentUser(r)
	if err != nil {
		return err
	}
	var data clientsPage
	if data.accountLayout, err = p.newLayout(r, user, clientsPath, "account.apps"); err != nil {
		return err
	}
	if data.Clients, err = p.connectedClients(r, user); err != nil {
		return err
	}
	return p.pages.Render(w, http.StatusOK, "clients", data)
}

type clientPage struct {
	accountLayout
	Client    connectedClient
	FormToken string
}

// ShowClient serves GET /account/apps/{id}: what the client can do, and the form that removes its access.
func (p *Pages) ShowClient(w http.ResponseWriter, r *http.Request) error {
	user, err := p.currentUser(r)
	if err != nil {
		return err
	}
	consents, err := p.store.Consents(r.Context(), user.User.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(consents, func(consent storage.Consent) bool { return consent.ID == r.PathValue("id") })
	if i < 0 {
		return p.pages.NotFound()
	}
	reqevent.FromContext(r.Context()).ClientID = consents[i].ClientID
	var data clientPage
	if data.Client, err = p.connectedClient(r, consents[i], user.User.Username); err != nil {
		return err
	}
	data.FormToken = p.formToken(user, "withdraw", data.Client.ID)
	if data.accountLayout, err = p.newLayout(r, user, clientsPath, "client.title", data.Client.Name); err != nil {
		return err
	}
	return p.pages.Render(w, http.StatusOK, "client", data)
}

// Withdraw serves POST /account/apps/{id}/withdraw. Afterwards every token of the client for this user is revoked.
func (p *Pages) Withdraw(_ http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	user, _, err := p.readForm(r, "withdraw", id)
	if err != nil {
		return err
	}
	err = p.oauth.WithdrawConsent(r.Context(), user.User.ID, id)
	if errors.Is(err, storage.ErrNotFound) {
		return p.pages.NotFound()
	}
	if err != nil {
		return err
	}
	return page.RedirectTo(clientsPath + "?withdrawn")
}
