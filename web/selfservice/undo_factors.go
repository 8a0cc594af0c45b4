package selfservice

import (
	"net/http"
	"strings"

	"gatehouse/identity"
	"gatehouse/storage"
)

// factorItems returns the names of factors that were added recently, for users.
func (p *Pages) factorItems(r *http.Request, recent []storage.RecentFactor) (items []string) {
	keys := map[string]string{
		storage.PasskeyFactor: "flow.factor.passkey", storage.SecurityKeyFactor: "flow.factor.key",
		storage.TOTPFactor: "flow.factor.totp", storage.RecoveryCodesFactor: "flow.factor.codes",
	}
	for _, f := range recent {
		if f.Name != "" {
			items = append(items, p.pages.Text(r, keys[f.Kind], f.Name))
			continue
		}
		items = append(items, p.pages.Text(r, keys[f.Kind]))
	}
	return items
}

// showUndoFactors shows what the link of a notice about an added factor removes, and the button that does it.
func (p *Pages) showUndoFactors(w http.ResponseWriter, r *http.Request, token string, found identity.Link) error {
	recent, retained, err := p.users.RecentFactors(r.Context(), found.User.ID)
	if err != nil {
		return err
	}
	lead := "flow.factors.lead"
	if len(recent) == 0 {
		lead = "flow.factors.none"
	}
	v := p.newView(r, "flow.factors.title", lead)
	v.Items = p.factorItems(r, recent)
	if retained {
		v.Problem = p.pages.Text(r, "flow.factors.retained")
	}
	p.form(w, r, &v, "/verify", token, "flow.factors.submit")
	return p.render(w, r, v, nil)
}

// showUndoEmailChange shows what the link of a notice about a changed address does, and the button that does it.
func (p *Pages) showUndoEmailChange(w http.ResponseWriter, r *http.Request, token string, found identity.Link) error {
	recent, retained, err := p.users.RecentFactors(r.Context(), found.User.ID)
	if err != nil {
		return err
	}
	f, err := p.users.Factors(r.Context(), found.User.ID)
	if err != nil {
		return err
	}
	v := p.newView(r, "flow.undo.title", "")
	v.Lead, v.Items = p.pages.Text(r, "flow.undo.lead", found.Email), []string{p.pages.Text(r, "flow.undo.sessions")}
	if len(recent) > 0 {
		added := strings.Join(p.factorItems(r, recent), ", ")
		v.Items = append(v.Items, p.pages.Text(r, "flow.undo.factors", added))
	}
	if f.Password {
		v.Items = append(v.Items, p.pages.Text(r, "flow.undo.password"))
	}
	if retained {
		v.Problem = p.pages.Text(r, "flow.factors.retained")
	}
	p.form(w, r, &v, "/verify", token, "flow.undo.submit")
	return p.render(w, r, v, nil)
}

// undoFactors uses the link, and leads to the next step: a new password, and before it the address if that was changed.
// before is the user before that.
func (p *Pages) undoFactors(w http.ResponseWriter, r *http.Request, token string, before storage.User) error {
	user, addressChanged, err := p.users.UndoFactors(r.Context(), token)
	if err != nil {
		return p.render(w, r, view{purpose: storage.UndoFactors}, err)
	}
	if err := p.users.KeepDevice(w, r, before); err != nil {
		return err
	}
	v := p.newView(r, "flow.factors.done.title", "flow.factors.done")
	v.Next = link{"/forgot", p.pages.Text(r, "flow.factors.reset")}
	if addressChanged {
		v.Lead, v.Next = p.pages.Text(r, "flow.factors.address"), link{}
	}
	if err := p.addRetained(r, &v, user.ID); err != nil {
		return err
	}
	return p.render(w, r, v, nil)
}

// addRetained shows on a page that a second factor was added recently but stays, because it replaced an older one.
func (p *Pages) addRetained(r *http.Request, v *view, userID string) error {
	_, retained, err := p.users.RecentFactors(r.Context(), userID)
	if retained {
		v.Problem = p.pages.Text(r, "flow.factors.retained")
	}
	return err
}
