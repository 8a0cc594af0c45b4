package interaction

import (
	"net/http"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

// deletionCancelledPage is the page after a sign-in that has cancelled the deletion of the account. Users who signed in
// for another reason would otherwise expect that the account is deleted.
type deletionCancelledPage struct {
	page.Layout
	clientView
	UserName, Until string // Until: when the account would have been deleted
	To              string // the path where the browser continues
}

// renderDeletionCancelled writes the page. a is the request of the sign-in, or nil for the account pages.
func (p *Pages) renderDeletionCancelled(
	w http.ResponseWriter, r *http.Request, user *identity.SignedInUser, a *oauth.AuthorizationRequest, to string,
) error {
	reqevent.FromContext(r.Context()).UserZone = user.User.Profile.Zoneinfo
	data := deletionCancelledPage{
		Layout: p.pages.NewLayout(r, "deletion_cancelled.title"), UserName: userName(user), To: p.pages.Path(to),
		Until: p.pages.DateTime(r, *user.CancelledDeletion),
	}
	if a != nil {
		data.clientView = p.newClientView(r, a)
	}
	return p.pages.Render(w, http.StatusOK, "deletion_cancelled", data)
}
