package account

import (
	"net/http"
	"slices"

	"gatehouse/oauth/params"
	"gatehouse/storage"
	"gatehouse/web/page"
)

// confirmPage is the page before a change that removes a way to sign in.
type confirmPage struct {
	accountLayout
	Action, Query, FormToken, ID string // of the form
	Heading, Message, Submit     string
}

// ConfirmSecurity serves GET /account/security/{action}: the page before a change that removes something.
func (p *Pages) ConfirmSecurity(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	user, err := p.currentUser(r)
	if err != nil {
		return err
	}
	f, err := p.users.Factors(r.Context(), user.User.ID)
	if err != nil {
		return err
	}
	mayChange, err := p.users.MayChangeAccount(r.Context(), user, f)
	if err != nil {
		return err
	}
	if !mayChange {
		return page.RedirectTo(page.SignInAgain(page.WithRequest(securityPath, page.RequestOf(r))))
	}
	data := confirmPage{Action: r.PathValue("action"), FormToken: p.formToken(user, "security", "")}
	if data.accountLayout, err = p.newLayout(r, user, securityPath, "security.title"); err != nil {
		return err
	}
	data.Query = page.WithRequest("", page.RequestOf(r))
	text := func(key string, values ...any) string { return p.pages.Text(r, key, values...) }
	data.Submit = text("security.remove")
	switch {
	case data.Action == "totp-remove" && f.TOTP:
		data.Heading, data.Message = text("security.confirm.totp.title"), text("security.confirm.totp")
	case data.Action == "recovery-codes" && f.RecoveryCodes > 0:
		data.Heading, data.Submit = text("security.confirm.codes.title"), text("security.codes.create")
		data.Message = text("security.confirm.codes", f.RecoveryCodes)
	case data.Action == "passkey-delete":
		passkeys, err := p.users.Passkeys(r.Context(), user.User.ID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(passkeys, func(k storage.Passkey) bool { return k.ID == form.Get("id") })
		if i < 0 { // removed in another tab
			return page.RedirectTo(securityPath + data.Query)
		}
		data.ID, data.Heading = passkeys[i].ID, text("security.confirm.passkey.title", passkeys[i].Name)
		if data.Message = text("security.confirm.passkey"); passkeys[i].SecondFactor {
			data.Message = text("security.confirm.key")
		}
	default:
		return page.RedirectTo(securityPath + data.Query)
	}
	return p.pages.Render(w, http.StatusOK, "security_confirm", data)
}
