package account

import (
	"errors"
	"net/http"
	"net/url"

	"gatehouse/identity"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/web/page"
)

const securityPath = "/account/security"

type passkeyView struct {
	ID, Name, Provider string
	Created            page.Time
	LastUsed           *page.Time
	Synced, DeviceOnly bool // neither is known of an imported passkey before its first use
}

// passkeyList is a list of passkeys, or of security keys, with the form that adds one.
type passkeyList struct {
	Base, FormToken string
	Request, Query  string // the authorization request, also as the query of paths
	Recent          bool
	SecurityKeys    bool
	Passkeys        []passkeyView
	Creation        string // options, as JSON; empty: none can be added
}

type securityPage struct {
	accountLayout
	FormToken, Problem string
	Request, Query     string // the authorization request that continues afterwards, also as the query of paths
	SignInAgain        string // the path of the sign-in page
	Recent             bool   // the user signed in a short time ago, with the second factor if there is one
	Factors            storage.Factors
	PasswordChanged    *page.Time // nil: the user has no password
	PasskeyList        passkeyList
	SecurityKeyList    passkeyList
	Accepted           string // the passkeys that the browser signals to password managers, as JSON
	PasskeyUser        string // the names that it signals
	TOTPSetup          *identity.TOTPSetup
	RecoveryCodes      []string // new ones, shown once
	CodesReplaced      bool     // they replaced others
}

// ShowSecurity serves GET /account/security: the ways in which the user signs in.
func (p *Pages) ShowSecurity(w http.ResponseWriter, r *http.Request) error {
	user, err := p.currentUser(r)
	if err != nil {
		return err
	}
	return p.renderSecurity(w, r, user, http.StatusOK, securityPage{})
}

// renderSecurity shows the page with what data has already.
func (p *Pages) renderSecurity(
	w http.ResponseWriter, r *http.Request, user *identity.SignedInUser, status int, data securityPage,
) (err error) {
	if data.accountLayout, err = p.newLayout(r, user, securityPath, "security.title"); err != nil {
		return err
	}
	data.FormToken, data.Request = p.formToken(user, "security", ""), page.RequestOf(r)
	data.Query = page.WithRequest("", data.Request)
	data.SignInAgain = page.SignInAgain(page.WithRequest(securityPath, data.Request))
	if data.Factors, err = p.users.Factors(r.Context(), user.User.ID); err != nil {
		return err
	}
	if err := p.showPassword(r, user.User.ID, &data); err != nil {
		return err
	}
	if data.Recent, err = p.users.MayChangeAccount(r.Context(), user, data.Factors); err != nil {
		return err
	}
	passkeys, err := p.users.Passkeys(r.Context(), user.User.ID)
	if err != nil {
		return err
	}
	now := p.store.Now()
	accepted := [][]byte{}
	data.PasskeyList = passkeyList{
		Base: data.Base(), FormToken: data.FormToken, Request: data.Request, Query: data.Query, Recent: data.Recent,
	}
	data.SecurityKeyList = data.PasskeyList
	data.SecurityKeyList.SecurityKeys = true
	for _, k := range passkeys {
		view := passkeyView{
			ID: k.ID, Name: k.Name, Provider: identity.PasskeyProvider(k), Synced: k.BackedUp,
			DeviceOnly: !k.BackedUp && !k.BackupUnknown(),
			Created:    p.pages.NewTime(r, k.CreatedAt, now),
		}
		if k.LastUsedAt != nil {
			used := p.pages.NewTime(r, *k.LastUsedAt, now)
			view.LastUsed = &used
		}
		list := &data.PasskeyList
		if k.SecondFactor {
			list = &data.SecurityKeyList
		}
		list.Passkeys = append(list.Passkeys, view)
		accepted = append(accepted, k.CredentialID)
	}
	if p.users.HasPasskeys() && data.Recent {
		data.PasskeyList.Creation, data.SecurityKeyList.Creation, err = p.users.PasskeyCreation(r.Context(), user)
		if err != nil {
			return err
		}
	}
	data.Accepted = p.users.AcceptedPasskeys(user.User, accepted)
	data.PasskeyUser = p.users.PasskeyUser(user.User)
	w.Header().Set("Cache-Control", "no-store")
	return p.pages.Render(w, status, "security", data)
}

// showPassword adds since when the user has the password.
func (p *Pages) showPassword(r *http.Request, userID string, data *securityPage) error {
	password, err := p.store.Password(r.Context(), userID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	changed := p.pages.NewTime(r, password.ChangedAt, p.store.Now())
	data.PasswordChanged = &changed
	return err
}

// ChangeSecurity serves POST /account/security/{action}.
func (p *Pages) ChangeSecurity(w http.ResponseWriter, r *http.Request) error {
	user, form, err := p.readForm(r, "security", "")
	if err != nil {
		return err
	}
	f, err := p.users.Factors(r.Context(), user.User.ID)
	if err != nil {
		return err
	}
	if ok, err := p.users.MayChangeAccount(r.Context(), user, f); err != nil {
		return err
	} else if !ok {
		return page.RedirectTo(page.SignInAgain(page.WithRequest(securityPath, page.RequestOf(r))))
	}
	// Only then: a session that may change nothing must not use up the changes of the user.
	decision := p.limiter.Count(r.Context(), ratelimit.Count{Limit: ratelimit.AccountChange, Key: user.User.ID})
	if err := protocol.LimitError(decision, "Too many changes of your account."); err != nil {
		return err
	}
	change, ok := securityChanges[r.PathValue("action")]
	if !ok {
		return p.pages.NotFound()
	}
	data, notice, err := change(p, w, r, user, form)
	var input *identity.InputError
	switch {
	case errors.As(err, &input):
		data.Problem = p.pages.Text(r, "security.problem.name")
	case err != nil:
		key := securityProblem(err)
		if key == "" {
			return sessionEnded(err, securityPath)
		}
		data.Problem = p.pages.Text(r, key)
	case notice != "":
		if request := page.RequestOf(r); request != "" {
			notice += "&request=" + request
		}
		return page.RedirectTo(securityPath + "?" + notice)
	}
	data.CodesReplaced = f.RecoveryCodes > 0
	status := http.StatusOK
	if data.Problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return p.renderSecurity(w, r, user, status, data)
}

// securityProblem returns the key of the message for an error that the user can fix, or "".
func securityProblem(err error) string {
	for known, key := range map[error]string{
		identity.ErrIncorrectCode: "security.problem.code", identity.ErrExpired: "security.problem.expired",
		storage.ErrLastFactor: "security.problem.last", storage.ErrTooManyPasskeys: "security.problem.many",
		identity.ErrPasskeyModel: "security.problem.model", identity.ErrPasskeyUnverified: "security.problem.unverified",
		identity.ErrInvalidCredentials: "security.problem.passkey",
	} {
		if errors.Is(err, known) {
			return key
		}
	}
	return ""
}

// securityChange makes a change and returns what the page shows in addition, or the notice of the page that follows.
type securityChange func(
	p *Pages, w http.ResponseWriter, r *http.Request, user *identity.SignedInUser, form url.Values,
) (data securityPage, notice string, err error)

var securityChanges = map[string]securityChange{
	"totp":           beginTOTP,
	"totp-confirm":   confirmTOTP,
	"totp-remove":    removeTOTP,
	"recovery-codes": newRecoveryCodes,
	"passkey-add":    addPasskey,
	"passkey-rename": renamePasskey,
	"passkey-delete": deletePasskey,

	"security-key-add": addSecurityKey,
}

func beginTOTP(
	p *Pages, _ http.ResponseWriter, r *http.Request, user *identity.SignedInUser, _ url.Values,
) (securityPage, string, error) {
	setup, err := p.users.BeginTOTP(user.User, p.pages.BrandName())
	return securityPage{TOTPSetup: &setup}, "", err
}

func confirmTOTP(
	p *Pages, w http.ResponseWriter, r *http.Request, user *identity.SignedInUser, form url.Values,
) (securityPage, string, error) {
	codes, err := p.users.ConfirmTOTP(w, r, user, form.Get("setup"), form.Get("code"))
	if errors.Is(err, identity.ErrIncorrectCode) {
		setup, again := p.users.ContinueTOTP(user.User, p.pages.BrandName(), form.Get("setup"))
		return securityPage{TOTPSetup: &setup}, "", errors.Join(again, err)
	}
	if err != nil {
		return securityPage{}, "", err
	}
	return securityPage{RecoveryCodes: codes}, "", nil
}

func removeTOTP(
	p *Pages, _ http.ResponseWriter, r *http.Request, user *identity.SignedInUser, _ url.Values,
) (securityPage, string, error) {
	err := p.users.RemoveTOTP(r.Context(), user)
	if errors.Is(err, storage.ErrNotFound) { // removed already
		err = nil
	}
	return securityPage{}, "totp-removed", err
}

func newRecoveryCodes(
	p *Pages, _ http.ResponseWriter, r *http.Request, user *identity.SignedInUser, _ url.Values,
) (securityPage, string, error) {
	codes, err := p.users.NewRecoveryCodes(r.Context(), user)
	return securityPage{RecoveryCodes: codes}, "", err
}

func addPasskey(
	p *Pages, _ http.ResponseWriter, r *http.Request, user *identity.SignedInUser, form url.Values,
) (securityPage, string, error) {
	err := p.users.AddPasskey(r.Context(), user, form.Get("name"), []byte(form.Get("passkey")))
	return securityPage{}, "passkey-added", err
}

// addSecurityKey shows recovery codes after it when the user had none.
func addSecurityKey(
	p *Pages, _ http.ResponseWriter, r *http.Request, user *identity.SignedInUser, form url.Values,
) (securityPage, string, error) {
	codes, err := p.users.AddSecurityKey(r.Context(), user, form.Get("name"), []byte(form.Get("passkey")))
	if err != nil || codes == nil {
		return securityPage{}, "key-added", err
	}
	return securityPage{RecoveryCodes: codes}, "", nil
}

func renamePasskey(
	p *Pages, _ http.ResponseWriter, r *http.Request, user *identity.SignedInUser, form url.Values,
) (securityPage, string, error) {
	err := p.users.RenamePasskey(r.Context(), user, form.Get("id"), form.Get("name"))
	if errors.Is(err, storage.ErrNotFound) { // removed in another tab
		err = nil
	}
	return securityPage{}, "saved", err
}

func deletePasskey(
	p *Pages, _ http.ResponseWriter, r *http.Request, user *identity.SignedInUser, form url.Values,
) (securityPage, string, error) {
	err := p.users.DeletePasskey(r.Context(), user, form.Get("id"))
	if errors.Is(err, storage.ErrNotFound) {
		err = nil
	}
	return securityPage{}, "passkey-removed", err
}
