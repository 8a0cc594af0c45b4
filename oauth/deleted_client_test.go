package oauth_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

var deletedClients = []servertest.Requirement{
	servertest.Req("MC31", "RFC 6749 §5.2, §4.1.2.1",
		"a deleted client gets invalid_client at the token endpoint; the page names a self-registered one and the remedy",
		func(t *testing.T, s *servertest.Server) {
			signInWithScopes(s)
			named := `{"client_name":"Weather server",` + minimalMetadata[1:]
			byOperator, bySelf, expired := selfRegister(s, named), selfRegister(s, named), selfRegister(s, named)
			refresh := tokensFor(s, clientOf(byOperator), "scope", "read offline_access").Text("refresh_token")
			storagetest.Must(t, s.Store.DeleteClient(t.Context(), byOperator.Text("client_id")))
			registrationRequest(s, "DELETE", bySelf.Text("registration_client_uri"),
				bySelf.Text("registration_access_token"), "")
			s.Refresh(clientOf(byOperator), refresh).Want(t, 401, "invalid_client")
			advanceAndExpire(t, s, 25*time.Hour)
			names := func(c clientInformation) bool {
				p := s.Browser().Authorize(c)
				p.WantErrorPage(t, 400)
				text := p.Text()
				if !strings.Contains(text, "invalid_client") {
					t.Errorf("the page has no invalid_client for the developer: %s", text)
				}
				return strings.Contains(text, "“Weather server”") &&
					strings.Contains(text, "Remove the server in your app and add it again")
			}
			for name, r := range map[string]servertest.Response{
				"by the operator": byOperator, "by the client": bySelf, "unused": expired,
			} {
				if !names(clientOf(r)) {
					t.Errorf("deleted %s: the page does not have the name and the remedy", name)
				}
			}
			app := s.App()
			storagetest.Must(t, s.Store.DeleteClient(t.Context(), app.ClientID))
			h := newDocumentHost(t)
			document := tokensFor(s, h.client(), "scope", "read offline_access").Text("refresh_token")
			storagetest.Must(t, s.Store.DeleteClient(t.Context(), h.URL))
			s.Refresh(h.client(), document).Want(t, 401, "invalid_client")
			advanceAndExpire(t, s, 91*24*time.Hour)
			if names(app) || names(clientOf(byOperator)) {
				t.Error("the page has the remedy for a client of the operator, or after the name was deleted")
			}
		}).WithSettings(append([]string{openRegistration}, documentSettings...)...),
}
