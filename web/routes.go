package web

import (
	"net/http"
	"slices"

	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage/reqevent"
	"gatehouse/web/interaction"
)

// kind is the type of route by its callers. It decides which adapter and which checks the route gets.
type kind int

const (
	kindHealth        kind = iota // plain text, without a log line
	kindPublic                    // public documents: any origin may read them
	kindAPI                       // protocol endpoints for clients: JSON errors, any origin, no cookies
	kindBackend                   // protocol endpoints for servers: as kindAPI, but no other origin
	kindPage                      // pages and forms for users: HTML errors, strict headers, same origin only
	kindCrossSitePage             // pages that other sites may send users to
	kindStatic                    // stylesheet, script and logos
)

// handler serves a request. It either writes a response or returns an error, which the adapter of its route writes.
type handler func(w http.ResponseWriter, r *http.Request) error

type route struct {
	pattern string
	kind    kind
	handler handler
}

const (
	metadataPath = "/.well-known/oauth-authorization-server"
	openidPath   = "/.well-known/openid-configuration"
	resourcePath = "/.well-known/oauth-protected-resource"
)

// routes returns every route of the server.
func (s *Server) routes() []route {
	return slices.Concat(s.endpoints(), s.decisions(), s.selfServiceRoutes(), s.factorRoutes())
}

// selfServiceRoutes returns the pages of users who are not signed in, besides sign-in.
func (s *Server) selfServiceRoutes() []route {
	return []route{
		{"GET /forgot", kindPage, s.selfService.ShowResetRequest},
		{"POST /forgot", kindPage, s.selfService.RequestReset},
		{"GET /reset", kindPage, s.selfService.ShowReset},
		{"POST /reset", kindPage, s.selfService.Reset},
		{"GET /verify", kindPage, s.selfService.ShowVerify},
		{"POST /verify", kindPage, s.selfService.Verify},
		{"GET /sign-up", kindPage, s.selfService.ShowSignUp},
		{"POST /sign-up", kindPage, s.selfService.SignUp},
		{"GET /account/password", kindPage, s.selfService.ShowPassword},
		{"POST /account/password", kindPage, s.selfService.ChangePassword},
		{"GET /account/email", kindPage, s.selfService.ShowEmail},
		{"POST /account/email", kindPage, s.selfService.ChangeEmail},
		{"GET /account/export", kindPage, s.selfService.ShowExport},
		{"POST /account/export", kindPage, s.selfService.Export},
		{"GET /account/delete", kindPage, s.selfService.ShowDelete},
		{"POST /account/delete", kindPage, s.selfService.Delete},
		{"GET /invite", kindPage, s.selfService.ShowInvite},
		{"POST /invite", kindPage, s.selfService.AcceptInvitation},
	}
}

// decisions returns the routes of pages on which a user decides what happens with an authorization request.
func (s *Server) decisions() []route {
	return []route{
		{"GET /enrol", kindPage, s.interaction.ShowEnrol},
		{"POST /enrol", kindPage, s.interaction.Enrol},
		{"GET /terms", kindPage, s.interaction.ShowTerms},
		{"POST /terms", kindPage, s.interaction.DecideTerms},
		{"GET /no-access", kindPage, s.interaction.ShowNoAccess},
		{"POST /no-access", kindPage, s.interaction.LeaveNoAccess},
		{"GET /confirm", kindPage, s.interaction.ShowConfirm},
		{"POST /confirm", kindPage, s.interaction.Confirm},
		{"GET /consent", kindPage, s.interaction.ShowConsent},
		{"POST /consent", kindPage, s.interaction.DecideConsent},
		{"GET /signed-out", kindPage, s.interaction.ShowSignedOut},
	}
}

// endpoints returns all other routes.
func (s *Server) endpoints() []route {
	return []route{
		{"GET /healthz", kindHealth, s.healthz},
		{"GET /readyz", kindHealth, s.readyz},

		{metadataPath, kindPublic, s.oauth.Metadata},
		{openidPath, kindPublic, s.oauth.Metadata},
		{resourcePath, kindPublic, s.oauth.Clients.ResourceMetadata},
		{resourcePath + "/", kindPublic, s.oauth.Clients.ResourceMetadata},
		{"/.well-known/jwks.json", kindPublic, s.oauth.Keyring.JWKS},

		{"/oauth2/token", kindAPI, s.oauth.Token},
		{"/oauth2/introspect", kindBackend, s.oauth.Introspect},
		{"/oauth2/revoke", kindAPI, s.oauth.Revoke},
		{"/oauth2/userinfo", kindAPI, s.oauth.Claims.Userinfo},
		{"/oauth2/register", kindAPI, s.limitRegistration(s.oauth.Clients.Register)},
		{"/oauth2/register/{id}", kindBackend, s.limitRegistration(s.oauth.Clients.Manage)},

		{"GET /oauth2/authorize", kindCrossSitePage, s.interaction.Authorize},
		{"POST /oauth2/authorize", kindCrossSitePage, s.interaction.Authorize},
		{"GET /oauth2/authorize/{id}", kindPage, s.interaction.ResumeRequest},

		{"GET /oauth2/logout", kindCrossSitePage, s.interaction.Logout},
		{"POST /oauth2/logout", kindCrossSitePage, s.interaction.SaveLogout},
		{"POST /oauth2/logout/confirm", kindPage, s.interaction.ConfirmLogout},

		{"GET /select", kindPage, s.interaction.ShowSelect},
		{"POST /select", kindPage, s.interaction.SelectAccount},
		{"GET /login", kindPage, s.interaction.ShowLogin},
		{"POST /login", kindPage, s.interaction.Login},
		{"GET /login/code", kindPage, s.interaction.ShowCode},
		{"POST /login/code", kindPage, s.interaction.LoginWithCode},
		{"GET /login/factor", kindPage, s.interaction.ShowFactor},
		{"POST /login/factor", kindPage, s.interaction.FinishLogin},

		{"GET /{$}", kindPage, s.account.ShowHome},
		{"GET /account", kindPage, s.account.ShowAccount},
		{"GET /account/profile", kindPage, s.account.ShowProfile},
		{"POST /account/profile", kindPage, s.account.UpdateProfile},
		{"GET /account/apps", kindPage, s.account.ShowClients},
		{"GET /account/apps/{id}", kindPage, s.account.ShowClient},
		{"POST /account/apps/{id}/withdraw", kindPage, s.account.Withdraw},
		{"GET /account/activity", kindPage, s.account.ShowActivity},
		{"POST /account/activity/{id}", kindPage, s.account.DecideActivity},
		{"GET /account/sessions", kindPage, s.account.ShowSessions},
		{"POST /account/sessions/end-others", kindPage, s.account.EndOtherSessions},
		{"POST /account/sessions/{id}/end", kindPage, s.account.EndSession},
		{"POST /account/sign-out", kindPage, s.account.SignOut},

		{"POST /language", kindPage, s.setLanguage},

		{"GET /static/{file}", kindStatic, s.pages.ServeStatic},
		{"GET /logo/{id}", kindStatic, s.interaction.ShowLogo},
	}
}

// factorRoutes returns the routes of passkeys and second factors.
func (s *Server) factorRoutes() []route {
	return []route{
		{"GET /.well-known/webauthn", kindPublic, s.relatedOrigins},
		{"GET /account/security", kindPage, s.account.ShowSecurity},
		{"GET /account/security/{action}", kindPage, s.account.ConfirmSecurity},
		{"POST /account/security/{action}", kindPage, s.account.ChangeSecurity},
	}
}

// relatedOrigins serves GET /.well-known/webauthn: the origins that may use the passkeys (WebAuthn Level 3 §5.11).
func (s *Server) relatedOrigins(w http.ResponseWriter, r *http.Request) error {
	document := s.users.PasskeyWellKnown()
	if document == nil {
		http.NotFound(w, r)
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(document) // fails when the client has disconnected
	return nil
}

// setLanguage serves POST /language, the list of languages on every page. The emails to a user who is signed in get the
// language too, unless the profile has one that is not in the list.
func (s *Server) setLanguage(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Form(r)
	if err != nil {
		return err
	}
	user, err := s.users.CurrentUser(r)
	if err != nil {
		return err
	}
	tag, tags := form.Get("language"), s.pages.LanguageTags()
	if user != nil && slices.Contains(tags, tag) && !s.limiter.Count(r.Context(), ratelimit.Count{
		Limit: ratelimit.AccountChange, Key: "profile " + user.User.ID, // above it the language is that of the browser alone
	}).Refused {
		if err := s.users.SetLanguage(r.Context(), user, tag, tags...); err != nil {
			return err
		}
	}
	return s.pages.SetLanguage(w, form.Get("language"), form.Get("to"))
}

// formFields is the largest number of form fields of the routes that allow more than params.MaxParameters.
var formFields = map[string]int{"POST /consent": interaction.MaxConsentFields}

// registrationUnit is how many bytes of a request count as one event, because each version of a client stays in the
// audit log.
const registrationUnit = 4 << 10

// limitRegistration counts the requests of a network that create, read, change or delete registered clients. Each may
// make the server fetch a document.
func (s *Server) limitRegistration(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		event := reqevent.FromContext(r.Context())
		count := ratelimit.Count{Limit: ratelimit.Registration, Key: event.Network()}
		for unit := 0; unit <= event.BodySize; unit += registrationUnit {
			decision := s.limiter.Count(r.Context(), count)
			err := protocol.LimitError(decision, "Too many or too long registrations from your network. Wait, then try again.")
			if err != nil {
				return err
			}
		}
		return next(w, r)
	}
}
