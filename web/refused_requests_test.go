package web_test

import (
	"net/url"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// limitedApp registers a client that requires a group without members.
func limitedApp(t *testing.T, s *servertest.Server) client.Information {
	t.Helper()
	storagetest.Must(t, s.Store.CreateGroup(t.Context(), storage.Group{Name: "staff"}))
	return s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"read write",
		"gatehouse_required_groups":["staff"]}`)
}

// refusedForms returns the forms by which a user returns to a client that requires a group, one that requires a second
// factor, and one that is not verified.
func refusedForms(t *testing.T, s *servertest.Server, b *servertest.Browser) (noAccess, enrol, confirm url.Values) {
	t.Helper()
	strict := s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"read write",
		"gatehouse_required_acr":"mfa"}`)
	noAccess, enrol = b.Authorize(limitedApp(t, s)).Fields(), b.Authorize(strict).Fields()
	enrol.Set("decision", "leave")
	confirm = b.Follow(b.Authorize(documentApp(t, s))).Fields()
	confirm.Set("decision", "cancel")
	return noAccess, enrol, confirm
}

// documentApp returns a client with a document outside the list of the operator.
func documentApp(t *testing.T, s *servertest.Server) client.Information {
	t.Helper()
	c := storage.Client{
		ID: "https://app.example/client.json", RedirectURIs: storage.Strings{servertest.Callback},
		Scopes: storage.Strings{"read", "write"},
	}
	storagetest.CreateDocumentClient(t, s.Store, &c)
	return client.InformationOf(&c)
}
