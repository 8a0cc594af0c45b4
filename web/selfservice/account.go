package selfservice

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/identity"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/web/page"
)

// accountPage is a page of a signed-in user with one form.
type accountPage struct {
	path, title, lead, submit string
	recent                    bool // the sign-in must be recent, whatever the form requires
	// Users reach it who have neither accepted the current terms nor added a required factor: their data is theirs.
	always bool
}

var (
	passwordPage = accountPage{
		path: "/account/password", title: "flow.change.title", lead: "flow.change.lead", submit: "flow.reset.submit",
	}
	emailPage = accountPage{
		path: "/account/email", title: "flow.email.title", lead: "flow.email.lead", submit: "flow.sign_up.submit",
		recent: true,
	}
	exportPage = accountPage{
		path: "/account/export", title: "flow.export.title", lead: "flow.export.lead", submit: "flow.export.submit",
		recent: true, always: true,
	}
	deletePage = accountPage{
		path: "/account/delete", title: "flow.delete.title", lead: "flow.delete.lead", submit: "flow.delete.submit",
		recent: true, always: true,
	}
)

// ShowPassword serves GET /account/password.
func (p *Pages) ShowPassword(w http.ResponseWriter, r *http.Request) error {
	return p.show(w, r, passwordPage)
}

// ShowEmail serves GET /account/email.
func (p *Pages) ShowEmail(w http.ResponseWriter, r *http.Request) error {
	return p.show(w, r, emailPage)
}

// ShowExport serves GET /account/export.
func (p *Pages) ShowExport(w http.ResponseWriter, r *http.Request) error {
	return p.show(w, r, exportPage)
}

// ShowDelete serves GET /account/delete.
func (p *Pages) ShowDelete(w http.ResponseWriter, r *http.Request) error {
	return p.show(w, r, deletePage)
}

func (p *Pages) show(w http.ResponseWriter, r *http.Request, a accountPage) error {
	user, err := p.currentUser(r, a)
	if err != nil {
		return err
	}
	return p.renderAccount(w, r, a, user, nil)
}

// currentUser returns the current user of the browser, or a redirect to the sign-in page when there is none, or to what
// the user must do before the page.
func (p *Pages) currentUser(r *http.Request, a accountPage) (*identity.SignedInUser, error) {
	user, err := p.users.CurrentUser(r)
	if err != nil {
		return nil, err
	}
	if user == nil {
		return nil, page.RedirectTo(page.SignIn(r.URL.Path))
	}
	step, _, err := p.users.AccountStep(r.Context(), user)
	if err != nil {
		return nil, err
	}
	if step == identity.AccountSignIn || !a.always {
		if err := page.BeforeAccount(step, a.path); err != nil {
			return nil, err
		}
	}
	return user, nil
}

// renderAccount writes the page, with what is wrong with the values that were entered.
func (p *Pages) renderAccount(
	w http.ResponseWriter, r *http.Request, a accountPage, user *identity.SignedInUser, problem error,
) error {
	v := p.newView(r, a.title, a.lead)
	v.Next = p.toAccount(r)
	f, err := p.users.Factors(r.Context(), user.User.ID)
	if err != nil {
		return err
	}
	mayChange, err := p.mayChange(r, a, user, f)
	if err != nil {
		return err
	}
	if !mayChange {
		v.Lead = p.pages.Text(r, "flow.recent")
		v.Links = append([]link{{page.SignInAgain(a.path), p.pages.Text(r, "flow.sign_in")}}, v.Links...)
		return p.render(w, r, v, nil)
	}
	p.form(w, r, &v, a.path, user.Session.ID, a.submit)
	v.Danger = a.path == deletePage.path
	switch a.path {
	case passwordPage.path:
		v.Fields = []field{p.newPasswordField(r)}
		if f.Password {
			v.Fields = slices.Insert(v.Fields, 0, field{
				Name: "current", Label: p.pages.Text(r, "flow.current"), Kind: "password", Autocomplete: "current-password",
			})
		}
		v.Choices = []choice{{Name: "end_everything", Label: p.pages.Text(r, "flow.end_everything")}}
	case deletePage.path:
		v.Lead = p.deletionLead(r)
	case emailPage.path:
		v.Fields = []field{{Name: "email", Label: p.pages.Text(r, "flow.email"), Kind: "email", Autocomplete: "email"}}
	}
	var throttled *identity.ThrottledError
	if errors.Is(problem, identity.ErrInvalidCredentials) || errors.As(problem, &throttled) {
		v.Fields[0].Problem = p.pages.Text(r, "flow.current.problem")
		return p.pages.Render(w, http.StatusUnauthorized, "self_service", v)
	}
	return p.render(w, r, v, problem)
}

// mayChange reports whether the session of a user allows the action of a page (PE17). The current password is proof
// enough for a new one, unless the user has another factor, or no password.
func (p *Pages) mayChange(
	r *http.Request, a accountPage, user *identity.SignedInUser, f storage.Factors,
) (bool, error) {
	if !a.recent && f.Password && !f.HasSecondFactor() && f.Passkeys == 0 {
		return true, nil
	}
	return p.users.MayChangeAccount(r.Context(), user, f)
}

// mayChangeNow does the same for the form of a page.
func (p *Pages) mayChangeNow(r *http.Request, a accountPage, user *identity.SignedInUser) (bool, error) {
	f, err := p.users.Factors(r.Context(), user.User.ID)
	if err != nil {
		return false, err
	}
	return p.mayChange(r, a, user, f)
}

// readAccountForm reads the form of a page, and checks that the current user was shown it.
func (p *Pages) readAccountForm(r *http.Request, a accountPage) (*identity.SignedInUser, url.Values, error) {
	form, err := p.readForm(r, a.path, ratelimit.AccountRequest)
	if err != nil {
		return nil, nil, err
	}
	user, err := p.currentUser(r, a)
	if err == nil && form.Get("token") != user.Session.ID {
		err = &page.Error{Status: http.StatusForbidden, Key: "error.form", Link: p.pages.Path(a.path)}
	}
	return user, form, err
}

// ChangePassword serves POST /account/password.
func (p *Pages) ChangePassword(w http.ResponseWriter, r *http.Request) error {
	user, form, err := p.readAccountForm(r, passwordPage)
	if err != nil {
		return err
	}
	if mayChange, err := p.mayChangeNow(r, passwordPage, user); err != nil || !mayChange {
		return errors.Join(err, p.renderAccount(w, r, passwordPage, user, nil))
	}
	decision := p.limiter.Count(r.Context(), ratelimit.Count{Limit: ratelimit.PasswordChange, Key: user.User.ID})
	if err := protocol.LimitError(decision, "Too many changes of your password."); err != nil {
		return err
	}
	err = p.users.ChangePassword(r.Context(), user, identity.PasswordInput{
		Current: form.Get("current"), New: form.Get("password"), EndEverything: form.Get("end_everything") != "",
		Language: p.pages.Language(r).Tag,
	}, p.users.Device(r))
	if err != nil {
		return p.changeFailed(w, r, passwordPage, user, err)
	}
	if err := p.users.KeepDevice(w, r, user.User); err != nil {
		return err
	}
	if form.Get("end_everything") != "" {
		return p.done(w, r, "flow.reset.done.title", p.pages.Text(r, "flow.change.done.everything"), p.signIn(r, ""))
	}
	return p.done(w, r, "flow.reset.done.title", p.pages.Text(r, "flow.change.done"), p.toAccount(r))
}

// ChangeEmail serves POST /account/email.
func (p *Pages) ChangeEmail(w http.ResponseWriter, r *http.Request) error {
	user, form, err := p.readAccountForm(r, emailPage)
	if err != nil {
		return err
	}
	if mayChange, err := p.mayChangeNow(r, emailPage, user); err != nil || !mayChange {
		return errors.Join(err, p.renderAccount(w, r, emailPage, user, nil))
	}
	email, from := strings.TrimSpace(form.Get("email")), p.origin(r, "")
	if strings.EqualFold(email, user.User.Email) {
		err = p.users.RequestVerification(r.Context(), user.User, from)
	} else {
		err = p.users.RequestEmailChange(r.Context(), user, email, from)
	}
	if err != nil {
		return p.changeFailed(w, r, emailPage, user, err)
	}
	v := p.sentView(r, "flow.email.sent")
	v.Next = p.toAccount(r)
	return p.render(w, r, v, nil)
}

// Export serves POST /account/export: a download of everything that is stored about the user.
func (p *Pages) Export(w http.ResponseWriter, r *http.Request) error {
	user, _, err := p.readAccountForm(r, exportPage)
	if err != nil {
		return err
	}
	if mayChange, err := p.mayChangeNow(r, exportPage, user); err != nil || !mayChange {
		return errors.Join(err, p.renderAccount(w, r, exportPage, user, nil))
	}
	out, err := p.users.Export(r.Context(), user.User)
	if err != nil {
		return err
	}
	content, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="account.json"`)
	_, _ = w.Write(content) // fails when the browser has disconnected
	return nil
}

// Delete serves POST /account/delete. The user is signed out, and keeps the account by signing in in the grace period.
func (p *Pages) Delete(w http.ResponseWriter, r *http.Request) error {
	user, _, err := p.readAccountForm(r, deletePage)
	if err != nil {
		return err
	}
	if mayChange, err := p.mayChangeNow(r, deletePage, user); err != nil || !mayChange {
		return errors.Join(err, p.renderAccount(w, r, deletePage, user, nil))
	}
	grace := p.users.DeletionGrace()
	at, err := p.users.ScheduleOwnDeletion(r.Context(), user, p.pages.Language(r).Tag)
	if err == nil {
		err = p.users.KeepDevice(w, r, user.User)
	}
	if err != nil {
		return p.changeFailed(w, r, deletePage, user, err)
	}
	if grace <= 0 {
		return p.done(w, r, "flow.delete.done.title", p.pages.Text(r, "flow.delete.done.now"), link{})
	}
	v := view{
		Layout: p.pages.NewLayout(r, "flow.delete.done.title"),
		Lead:   p.pages.Text(r, "flow.delete.done", p.pages.DateTime(r, at)),
		Links:  []link{{"/login?to=account", p.pages.Text(r, "flow.delete.cancel")}}, // no button: it undoes the deletion
	}
	return p.render(w, r, v, nil)
}

// deletionLead returns what happens to an account that its user deletes, and when.
func (p *Pages) deletionLead(r *http.Request) string {
	grace := p.users.DeletionGrace()
	if grace <= 0 {
		return p.pages.Text(r, "flow.delete.lead.now")
	}
	return p.pages.Text(r, "flow.delete.lead", p.pages.Wait(r, grace), p.pages.Date(r, p.users.DeletionTime()))
}

// toAccount returns the link to the account pages.
func (p *Pages) toAccount(r *http.Request) link {
	return link{"/account", p.pages.Text(r, "flow.account")}
}

// changeFailed writes the page of a change that was not made, or returns a redirect to the sign-in page when the
// session has ended in the meantime.
func (p *Pages) changeFailed(
	w http.ResponseWriter, r *http.Request, a accountPage, user *identity.SignedInUser, cause error,
) error {
	if errors.Is(cause, identity.ErrSessionEnded) {
		return page.RedirectTo(page.SignIn(a.path))
	}
	return p.renderAccount(w, r, a, user, cause)
}

// done writes a page about something that is done, with the next step, if there is one.
func (p *Pages) done(w http.ResponseWriter, r *http.Request, title, lead string, next link) error {
	v := view{Layout: p.pages.NewLayout(r, title), Lead: lead, Next: next}
	return p.render(w, r, v, nil)
}
