package selfservice

import (
	"net/http"
	"net/url"

	"gatehouse/identity"
	"gatehouse/ratelimit"
)

// signUpProof is the purpose of the proof of work of a sign-up.
const signUpProof = "sign-up"

// ShowSignUp serves GET /sign-up.
func (p *Pages) ShowSignUp(w http.ResponseWriter, r *http.Request) error {
	request, err := p.queriedRequest(r)
	if err != nil {
		return err
	}
	if policy := p.users.SignUpPolicy(); policy == identity.SignUpOff || policy == identity.SignUpInvite {
		return p.render(w, r, view{Request: request}, identity.ErrSignUpClosed)
	}
	if !p.users.MailAvailable() {
		return p.render(w, r, view{Request: request}, identity.ErrNoMail)
	}
	return p.render(w, r, p.emailView(w, r, "/sign-up", emailInput{request: request}), nil)
}

// emailInput is what the form of emailView has.
type emailInput struct {
	token   string // of an invitation
	email   string
	request string
	fixed   bool // the invitation is for this address
}

// emailView is the first step of a sign-up: an address that gets a link.
func (p *Pages) emailView(w http.ResponseWriter, r *http.Request, path string, in emailInput) view {
	v := p.newView(r, "flow.sign_up.title", "flow.sign_up.lead")
	if path == "/invite" {
		lead := "flow.invited.lead"
		if in.fixed {
			lead = "flow.invited.lead.fixed"
		}
		v = p.newView(r, "flow.invited.title", "")
		v.Lead = p.pages.Text(r, lead, p.pages.BrandName())
	}
	v.Request = in.request
	p.form(w, r, &v, path, in.token, "flow.sign_up.submit")
	v.Fields = []field{{
		Name: "email", Label: p.pages.Text(r, "profile.email"), Kind: "email", Autocomplete: "email", Value: in.email,
		Fixed: in.fixed,
	}}
	v.Challenge = p.users.NewProof(signUpProof)
	if path == "/sign-up" {
		p.showCaptcha(w, &v)
	}
	v.Links = []link{p.signIn(r, in.request)}
	return v
}

// SignUp serves POST /sign-up. The page does not show whether the address has an account.
func (p *Pages) SignUp(w http.ResponseWriter, r *http.Request) error {
	form, err := p.readForm(r, "/sign-up", ratelimit.SignUp)
	if err != nil {
		return err
	}
	return p.requestSignUp(w, r, "/sign-up", form, false)
}

// requestSignUp sends the link of a sign-up. fixed is set for an invitation with an address.
func (p *Pages) requestSignUp(
	w http.ResponseWriter, r *http.Request, path string, form url.Values, fixed bool,
) error {
	// Without a proof of work, as in browsers without JavaScript, the limit is stricter.
	if p.users.CheckProof(r.Context(), signUpProof, form.Get("challenge"), form.Get("nonce")) != nil {
		if err := p.checkLimit(r, ratelimit.SignUpUnproven); err != nil {
			return err
		}
	}
	request, err := p.ownRequest(r, form.Get("request"))
	if err != nil {
		return err
	}
	in := emailInput{token: form.Get("token"), email: form.Get("email"), request: request, fixed: fixed}
	if path == "/sign-up" { // an invitation is a proof of its own
		if err := p.checkCaptcha(r.Context(), form); err != nil {
			return p.captchaFailed(w, r, p.emailView(w, r, path, in), err)
		}
	}
	if err := p.users.RequestSignUp(r.Context(), in.email, in.token, p.origin(r, request)); err != nil {
		return p.render(w, r, p.emailView(w, r, path, in), err)
	}
	return p.render(w, r, p.sentView(r, "flow.sign_up.sent"), nil)
}

// ShowInvite serves GET /invite.
func (p *Pages) ShowInvite(w http.ResponseWriter, r *http.Request) error {
	token, found, err := p.readLink(r)
	switch {
	case err == nil && found.Purpose != identity.LinkInvitation:
		err = p.users.RefuseLink(r.Context(), token, found, otherPurpose)
	case err == nil && p.users.SignUpPolicy() == identity.SignUpOff:
		err = identity.ErrSignUpClosed
	case err == nil && found.Email == "" && !p.users.MailAvailable():
		err = identity.ErrNoMail
	}
	switch {
	case err != nil:
		return p.render(w, r, view{}, err)
	case found.Unproven:
		return p.render(w, r, p.emailView(w, r, "/invite", emailInput{
			token: token, email: found.Email, fixed: found.Email != "",
		}), nil)
	}
	return p.render(w, r, p.accountView(w, r, "/invite", token, found, identity.NewAccount{}), nil)
}

// AcceptInvitation serves POST /invite.
func (p *Pages) AcceptInvitation(w http.ResponseWriter, r *http.Request) error {
	form, err := p.readForm(r, "/invite", ratelimit.SignUp)
	if err != nil {
		return err
	}
	found, err := p.link(r, form.Get("token"))
	switch {
	case err == nil && found.Purpose != identity.LinkInvitation:
		return p.render(w, r, view{}, p.users.RefuseLink(r.Context(), form.Get("token"), found, otherPurpose))
	case err != nil:
		return p.render(w, r, view{}, err)
	case found.Unproven:
		if found.Email != "" {
			form.Set("email", found.Email)
		}
		return p.requestSignUp(w, r, "/invite", form, found.Email != "")
	}
	return p.createAccount(w, r, "/invite", form, found)
}

// accountView is the second step of a sign-up: the user proved the address, or was invited with it, and chooses the
// rest.
func (p *Pages) accountView(
	w http.ResponseWriter, r *http.Request, path, token string, found identity.Link, n identity.NewAccount,
) view {
	v := p.newView(r, "flow.create.title", "flow.create.lead")
	p.form(w, r, &v, path, token, "flow.create.submit")
	v.Fields = []field{
		{Name: "email", Label: p.pages.Text(r, "profile.email"), Kind: "email", Value: found.Email, Fixed: true},
		{
			Name: "username", Label: p.pages.Text(r, "flow.username"), Kind: "text", Autocomplete: "username",
			Value: n.Username, Hint: p.pages.Text(r, "flow.username.hint"),
		},
		{
			Name: "name", Label: p.pages.Text(r, "flow.name"), Kind: "text", Autocomplete: "name", Value: n.Name,
			Optional: true,
		},
		p.newPasswordField(r),
	}
	if p.users.TermsVersion() != "" {
		v.Choices = []choice{{
			Name: "terms", Label: p.pages.Text(r, "flow.terms"), Link: p.termsURL, Required: true,
			LinkText: p.pages.Text(r, "flow.terms.link"),
		}}
	}
	return v
}

// createAccount creates the account of a sign-up or invitation.
func (p *Pages) createAccount(
	w http.ResponseWriter, r *http.Request, path string, form url.Values, found identity.Link,
) error {
	token := form.Get("token")
	n := identity.NewAccount{
		Username: form.Get("username"), Name: form.Get("name"), Password: form.Get("password"),
		AcceptsTerms: form.Get("terms") != "", Language: p.pages.Language(r).Tag,
	}
	if _, err := p.users.CompleteSignUp(r.Context(), token, n); err != nil {
		return p.render(w, r, p.accountView(w, r, path, token, found, n), err)
	}
	request, err := p.ownRequest(r, found.Request)
	if err != nil {
		return err
	}
	v := p.newView(r, "flow.created.title", "flow.created")
	v.Next = p.signIn(r, request)
	return p.render(w, r, v, nil)
}
