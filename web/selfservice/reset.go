package selfservice

import (
	"errors"
	"net/http"
	"strings"

	"gatehouse/identity"
	"gatehouse/oauth/params"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// queriedRequest returns the authorization request from whose sign-in page the user came, if it is of this browser.
func (p *Pages) queriedRequest(r *http.Request) (string, error) {
	query, err := params.Query(r)
	if err != nil {
		return "", err
	}
	return p.ownRequest(r, query.Get("request"))
}

// ShowResetRequest serves GET /forgot: users who cannot sign in request a link.
func (p *Pages) ShowResetRequest(w http.ResponseWriter, r *http.Request) error {
	request, err := p.queriedRequest(r)
	if err != nil {
		return err
	}
	if !p.users.MailAvailable() {
		return p.render(w, r, view{Request: request}, identity.ErrNoMail)
	}
	v := p.newView(r, "flow.forgot.title", "flow.forgot.lead")
	v.Request = request
	p.form(w, r, &v, "/forgot", "", "flow.forgot.submit")
	v.Fields = []field{{
		Name: "username", Label: p.pages.Text(r, "login.username"), Kind: "text", Autocomplete: "username",
	}}
	v.Links = []link{p.signIn(r, request)}
	return p.render(w, r, v, nil)
}

// RequestReset serves POST /forgot. The page does not show whether there is an account.
func (p *Pages) RequestReset(w http.ResponseWriter, r *http.Request) error {
	form, err := p.readForm(r, "/forgot", ratelimit.AccountRequest)
	if err != nil {
		return err
	}
	request, err := p.ownRequest(r, form.Get("request"))
	if err != nil {
		return err
	}
	if err := p.users.RequestReset(r.Context(), form.Get("username"), p.origin(r, request)); err != nil {
		return p.render(w, r, view{Request: request}, err)
	}
	v := p.sentView(r, "flow.forgot.sent")
	v.Links = []link{p.signIn(r, request)}
	return p.render(w, r, v, nil)
}

// ShowReset serves GET /reset.
func (p *Pages) ShowReset(w http.ResponseWriter, r *http.Request) error {
	token, found, err := p.readLink(r)
	if err == nil && found.Purpose != storage.ResetPassword {
		err = p.users.RefuseLink(r.Context(), token, found, otherPurpose)
	}
	if err != nil {
		return p.render(w, r, view{}, err)
	}
	v, err := p.resetView(w, r, token, found)
	if err != nil {
		return err
	}
	return p.render(w, r, v, nil)
}

func (p *Pages) resetView(w http.ResponseWriter, r *http.Request, token string, found identity.Link) (view, error) {
	v := p.newView(r, "flow.reset.title", "flow.reset.lead")
	p.form(w, r, &v, "/reset", token, "flow.reset.submit")
	v.Fields = []field{
		{
			Name: "username", Label: p.pages.Text(r, "flow.username"), Kind: "text", Autocomplete: "username",
			Value: found.User.Username, Fixed: true, // for password managers
		},
		p.newPasswordField(r),
	}
	v.Choices = []choice{{Name: "end_everything", Label: p.pages.Text(r, "flow.reset.end_everything")}}
	recent, _, err := p.users.RecentFactors(r.Context(), found.User.ID)
	if len(recent) > 0 {
		items := strings.Join(p.factorItems(r, recent), ", ")
		v.Choices = append(v.Choices, choice{
			Name: "remove_factors", Label: p.pages.Text(r, "flow.remove_factors", items),
		})
	}
	return v, err
}

func (p *Pages) newPasswordField(r *http.Request) field {
	return field{
		Name: "password", Label: p.pages.Text(r, "flow.password"), Kind: "password", Autocomplete: "new-password",
		Hint: p.pages.Text(r, "flow.password.hint"),
	}
}

// Reset serves POST /reset. It signs no user in: the next sign-in needs the second factor as always.
func (p *Pages) Reset(w http.ResponseWriter, r *http.Request) error {
	form, err := p.readForm(r, "/reset", ratelimit.AccountLink)
	if err != nil {
		return err
	}
	token := form.Get("token")
	found, err := p.users.Link(r.Context(), token)
	if err != nil {
		return p.render(w, r, view{}, err)
	}
	in := identity.PasswordInput{
		New: form.Get("password"), EndEverything: form.Get("end_everything") != "",
		RemoveFactors: form.Get("remove_factors") != "", Language: p.pages.Language(r).Tag,
	}
	if _, err = p.users.ResetPassword(r.Context(), token, in); err != nil {
		v, again := p.resetView(w, r, token, found)
		if again != nil {
			return again
		}
		return p.render(w, r, v, err)
	}
	if err := p.users.KeepDevice(w, r, found.User); err != nil {
		return err
	}
	request, err := p.ownRequest(r, found.Request)
	if err != nil {
		return err
	}
	v := p.newView(r, "flow.reset.done.title", "flow.reset.done")
	v.Next = p.signIn(r, request)
	if in.RemoveFactors {
		if err := p.addRetained(r, &v, found.User.ID); err != nil {
			return err
		}
	}
	return p.render(w, r, v, nil)
}

// ShowVerify serves GET /verify: the links that prove, change or restore an address, and those of sign-ups.
func (p *Pages) ShowVerify(w http.ResponseWriter, r *http.Request) error {
	token, found, err := p.readLink(r)
	switch {
	case err != nil:
		return p.render(w, r, view{purpose: found.Purpose}, err)
	case found.Purpose == identity.LinkSignUp:
		return p.render(w, r, p.accountView(w, r, "/verify", token, found, identity.NewAccount{}), nil)
	}
	if found.Purpose == storage.UndoFactors {
		return p.showUndoFactors(w, r, token, found)
	}
	if isOwn, err := p.isOwnChange(r, token, found); err != nil || !isOwn {
		return errors.Join(err, p.renderSignInFirst(w, r))
	}
	switch found.Purpose {
	case storage.VerifyEmail, storage.ChangeEmail:
	case storage.UndoEmailChange:
		return p.showUndoEmailChange(w, r, token, found)
	default:
		return p.render(w, r, view{}, p.users.RefuseLink(r.Context(), token, found, otherPurpose))
	}
	v := p.newView(r, "flow.verify.title", "")
	v.Lead = found.Email
	p.form(w, r, &v, "/verify", token, "flow.verify.submit")
	return p.render(w, r, v, nil)
}

// isOwnChange reports whether the browser may use a link. A link that changes the address of an account works only for
// the user who requested the change: otherwise the owner of an address could confirm it for the account of an attacker,
// or the owner of a misspelled address could take over the account.
func (p *Pages) isOwnChange(r *http.Request, token string, found identity.Link) (bool, error) {
	if found.Purpose != storage.ChangeEmail {
		return true, nil
	}
	user, err := p.users.CurrentUser(r)
	if err != nil || user != nil && user.User.ID == found.User.ID {
		return err == nil, err
	}
	return false, p.refuseOtherUser(r, token, found)
}

// refuseOtherUser records that a link was opened without the user who requested it.
func (p *Pages) refuseOtherUser(r *http.Request, token string, found identity.Link) error {
	err := p.users.RefuseLink(r.Context(), token, found, "the user who requested the change is not signed in here")
	if !errors.Is(err, identity.ErrLinkRefused) {
		return err
	}
	reqevent.FromContext(r.Context()).Err = err
	return nil
}

// otherPurpose is why a link is refused on the page of another one.
const otherPurpose = "for another purpose"

// renderSignInFirst shows that the link works only for the user who requested the change.
func (p *Pages) renderSignInFirst(w http.ResponseWriter, r *http.Request) error {
	v := p.newView(r, "flow.verify.title", "flow.verify.sign_in")
	v.Links = []link{p.signIn(r, "")}
	return p.render(w, r, v, nil)
}

// Verify serves POST /verify.
func (p *Pages) Verify(w http.ResponseWriter, r *http.Request) error {
	form, err := p.readForm(r, "/verify", ratelimit.AccountLink)
	if err != nil {
		return err
	}
	token := form.Get("token")
	found, err := p.users.Link(r.Context(), token)
	purpose := found.Purpose
	if err == nil && purpose == identity.LinkSignUp {
		return p.createAccount(w, r, "/verify", form, found)
	}
	if err == nil && purpose == storage.UndoFactors {
		return p.undoFactors(w, r, token, found.User)
	}
	opened := found
	if err == nil {
		var user *identity.SignedInUser
		if user, err = p.users.CurrentUser(r); err != nil {
			return err
		}
		found, err = p.users.ConfirmEmail(r.Context(), token, p.pages.Language(r).Tag, user)
	}
	if errors.Is(err, identity.ErrSessionEnded) {
		return errors.Join(p.refuseOtherUser(r, token, opened), p.renderSignInFirst(w, r))
	}
	v := p.newView(r, "flow.verified.title", "flow.verified")
	if err != nil {
		v.Lead, v.purpose = strings.TrimSpace(found.Email), purpose
		return p.render(w, r, v, err)
	}
	v.Next = p.toAccount(r)
	if purpose == storage.UndoEmailChange {
		if err := p.users.KeepDevice(w, r, opened.User); err != nil {
			return err
		}
		v = p.newView(r, "flow.undone.title", "flow.undone")
		v.Next = link{"/forgot", p.pages.Text(r, "flow.reset.title")}
		if err := p.addRetained(r, &v, found.User.ID); err != nil {
			return err
		}
	}
	return p.render(w, r, v, nil)
}
