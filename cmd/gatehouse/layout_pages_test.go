package main

import (
	"net/url"
	"strings"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// layoutPage is a page of a layoutServer. Its name is that of its template, and its state if it has several.
type layoutPage struct{ name, language, body string }

// pageWalk opens the pages of a layoutServer in one language.
type pageWalk struct {
	*layoutServer

	language string
	b        *servertest.Browser
	pages    []layoutPage
	undo     string // the link of the notice about an added factor
}

// layoutPages returns every page in a language. The browser of the walk has no scripts, so that it takes milliseconds.
func layoutPages(s *layoutServer, language string) []layoutPage {
	s.T.Helper()
	w := &pageWalk{layoutServer: s, language: language}
	w.newBrowser()
	lena, max, ida := w.createUser("lena", language), w.createUser("max", language), w.createUser("ida", language)
	w.addPasskeys(lena)
	w.signInPages(lena)
	w.requestPages(lena, s.TOTP(lena))
	w.enrolPages(ida)
	w.severalUsers(ida, max)
	w.changePages(max)
	w.recentPages()
	w.signOut()
	w.linkPages(max)
	w.undoPages(ida)
	w.otherSettings()
	s.QueuedMails()
	s.Clock.Advance(5 * time.Minute) // for the rate limits of the next walk
	return w.pages
}

func (w *pageWalk) newBrowser() {
	w.b = w.Browser()
	w.b.SetCookie("language", w.language)
}

// show stores a page, which must have the text. The messages of German are others.
func (w *pageWalk) show(name string, p servertest.Page, text string) servertest.Page {
	w.T.Helper()
	p = w.b.Follow(p)
	if !strings.Contains(p.Body, `<html lang="`+w.language+`"`) ||
		w.language != "de" && !strings.Contains(p.Text(), text) {
		w.T.Errorf("the page %s in %s: %d %s %s, want %q", name, w.language, p.Status, p.URL, p.Text(), text)
	}
	w.pages = append(w.pages, layoutPage{name, w.language, p.Body})
	return p
}

func (w *pageWalk) open(name, path, text string) servertest.Page {
	w.T.Helper()
	return w.show(name, w.b.Open(path), text)
}

func (w *pageWalk) submit(name string, p servertest.Page, action, text string, changes ...string) servertest.Page {
	w.T.Helper()
	return w.show(name, submitForm(w.b, p, action, changes...), text)
}

// link returns the path of the link in the email of a kind that was queued since the last call.
func (w *pageWalk) link(kind string) string {
	w.T.Helper()
	for _, m := range w.QueuedMails() {
		if m.Kind == kind {
			return m.Values[storage.MailLink]
		}
	}
	w.T.Fatalf("no email %s was queued for a page in %s", kind, w.language)
	return ""
}

// signInPages opens the pages of users who are not signed in.
func (w *pageWalk) signInPages(u storage.User) {
	w.T.Helper()
	login := w.show("login", w.b.Authorize(w.app, "scope", "openid "+w.scope, "login_hint", u.Email), "to continue to")
	w.submit("login/incorrect", login, "/login", "is incorrect", "username", u.Email, "password", "x")
	w.show("login/passkey_first", w.b.Authorize(w.strict, "scope", "openid "+w.scope), "Sign in to this app with")
	w.open("login/account", "/login?to=account", "to see your connected apps")
	w.show("login/expired", w.b.Submit("/login", url.Values{"username": {"x"}}), "open for too long")
	code := w.open("login_code", "/login/code?request="+login.Fields().Get("request"), "Enter your username or email")
	sent := w.submit("login_code/sent", code, "/login/code", "If there is an account", "username", "unregistered")
	w.submit("login_code/incorrect", sent, "/login/code", "This code does not work", "code", "000000")
	w.Store.SetMailDelayed(true)
	w.submit("login_code/wait", sent, "/login/code", "A code is on its way", "resend", "1")
	w.Store.SetMailDelayed(false)
	w.open("error/request", "/oauth2/authorize?client_id="+strings.Repeat("w", 60), "For the app’s developer")
	w.open("error/not_found", "/oauth2/authorize/x", "Sign-in not found")
	w.open("error/page", "/nothing", "Page not found")
	w.open("error/logout", "/oauth2/logout?client_id=x", "This sign-out link does not work")
}

// requestPages opens the pages of an authorization request.
func (w *pageWalk) requestPages(u storage.User, app servertest.TOTP) {
	w.T.Helper()
	request := []string{"scope", "openid " + w.scope, "login_hint", u.Email}
	factor := w.show("factor/key", w.b.BeginSignIn(w.b.Authorize(w.app, request...), u.Username), "Use your security key")
	w.submit("factor/incorrect", factor, "/login/factor", "This code is incorrect", "code", "000000")
	w.Clock.Advance(time.Minute)
	terms := w.show("terms", w.b.SubmitFactor(factor, app.Code()), "Please accept our terms of use")
	w.submit("consent", terms, "/terms", "wants access to your account", "decision", "accept")
	confirm := w.show("confirm", w.b.Authorize(w.document, "scope", "openid "+w.scope), "This app has not been verified")
	w.submit("consent/document", confirm, "/confirm", "wants access to your account", "decision", "continue")
	again := w.b.Authorize(w.app, append(request, "prompt", "consent", "response_mode", "form_post")...)
	w.submit("form_post", again, "/consent", "JavaScript is off in this browser", "decision", "approve")
	w.show("consent/more", w.b.Authorize(w.app, "scope", "openid "+w.scope+" "+w.moreScope), "this app can also")
	w.show("login/reauthenticate", w.b.Authorize(w.app, append(request, "prompt", "login")...), "Sign in again")
	w.show("no_access", w.b.Authorize(w.limited, request...), "You do not have access to")
	w.show("login/passkey_only", w.b.Authorize(w.strict, request...), "A passkey is required")
	w.show("error/form", w.b.Submit("/account/profile", url.Values{}), "no longer valid")
	w.require(u, identity.ACRPasskey, nil)
	w.open("login/passkey_only_account", "/account", "a password is not enough here")
}

// require makes a group of a user require an acr.
func (w *pageWalk) require(u storage.User, acr string, until *time.Time) {
	w.T.Helper()
	ctx, group := w.T.Context(), "requires-"+acr+"-"+w.language
	storagetest.Must(w.T, w.Store.CreateGroup(ctx, storage.Group{Name: group}))
	storagetest.Must(w.T, w.Store.UpdateGroup(ctx, group, func(g *storage.Group) error {
		g.RequiredACR, g.EnrolUntil = acr, until
		return nil
	}))
	storagetest.Must(w.T, w.Store.AddGroupMembers(ctx, group, []string{u.ID}))
}

// enrolPages opens the pages of a user who has nothing.
func (w *pageWalk) enrolPages(u storage.User) {
	w.T.Helper()
	w.newBrowser()
	until := w.Clock.Now().Add(24 * time.Hour)
	w.require(u, identity.ACRSecondFactor, &until)
	terms := w.show("terms/account", w.b.SignIn(w.b.Open("/login?to=account"), u.Username), "will be signed out")
	later := w.submit("enrol/account", terms, "/terms", "Add it now to be ready", "decision", "accept")
	w.show("enrol/later", w.b.Authorize(w.app, "scope", "openid "+w.scope), "Add it now to be ready")
	w.submit("account/empty", later, "/enrol", "No app has access to your account", "decision", "later")
	w.open("clients/empty", "/account/apps", "No app has access to your account")
	w.open("security/empty", "/account/security", "You have no passkeys")
	w.show("enrol", w.b.Authorize(w.strict, "scope", "openid "+w.scope), "Your organization requires a passkey")
}

// severalUsers signs two users in, and opens the pages of the first one.
func (w *pageWalk) severalUsers(first, second storage.User) {
	w.T.Helper()
	storagetest.Must(w.T, w.Users.AcceptTerms(w.T.Context(), second.ID, w.Users.TermsVersion()))
	for _, u := range []storage.User{second, first} {
		w.newBrowser()
		w.b.SignIn(w.b.Open("/login?to=account"), u.Username)
	}
	app := w.TOTP(second)
	w.addPasskeys(second)
	factor := w.show("factor", w.b.BeginSignIn(w.b.Open("/login?another=1&then=security"), second.Username),
		"Confirm that it is you")
	w.show("security", w.b.SubmitFactor(factor, app.Code()), "Authenticator app")
	w.show("select", w.b.Authorize(w.app, "scope", "openid", "prompt", "select_account"), "Choose an account")
	consent := w.b.Authorize(w.app, "login_hint", second.Email, "scope", "openid "+w.scope)
	w.b.Decide(consent, "approve")
	w.open("account", "/account", "Where you are signed in")
	w.open("login/another", "/login?another=1", "stays signed in here")
	clients := w.open("clients", "/account/apps", "These apps can use your account")
	for _, link := range clients.Links() {
		if strings.HasPrefix(link, "/account/apps/") {
			w.open("client", link, "Keep access")
		}
	}
	w.open("sessions", "/account/sessions", "If you do not recognize one")
	submitForm(w.b, w.b.Open("/login?another=1"), "/login", "username", second.Username, "password", "x")
	w.open("activity", "/account/activity", "Failed attempt to sign in")
	profile := w.open("profile", "/account/profile", "Contact")
	w.submit("profile/invalid", profile, "/account/profile", "Nothing was saved", "birthdate", "tomorrow", "edit", "x\nx")
}

// changePages opens the pages on which a user changes the account.
func (w *pageWalk) changePages(u storage.User) {
	w.T.Helper()
	security := w.b.Open("/account/security")
	setup := w.submit("security/totp-setup", security, "/account/security/totp", "Scan this code")
	w.submit("security/incorrect", setup, "/account/security/totp-confirm", "This code is incorrect", "code", "1")
	w.submit("security/codes", security, "/account/security/recovery-codes", "Save your recovery codes")
	w.undo = w.link(storage.MailFactorAdded)
	const confirm = "/account/security/"
	w.open("security_confirm", confirm+"totp-remove", "Remove the authenticator app?")
	w.open("security_confirm/codes", confirm+"recovery-codes", "Create new recovery codes?")
	w.open("security_confirm/passkey", confirm+"passkey-delete?id=0"+u.ID, "Remove “")
	w.open("security_confirm/key", confirm+"passkey-delete?id=1"+u.ID, "use this security key after your password")
	w.open("security/request", "/account/security?request=x", "Before you continue")
	w.open("security/notice", "/account/security?passkey-added", "The passkey was added")

	password := w.open("self_service/password", "/account/password", "Current password")
	w.submit("self_service/incorrect", password, "/account/password", "not your current password", "current", "x",
		"password", "x")
	email := w.open("self_service/email", "/account/email", "We will send a link to the new address")
	w.submit("self_service/email_invalid", email, "/account/email", "Enter an email address", "email", "x")
	w.submit("self_service/email_sent", email, "/account/email", "Check your email", "email",
		w.word(60, "new")+w.language+"@example.com")
	w.open("self_service/verify", w.link(storage.MailVerifyEmail), "Confirm your email address")
	w.open("self_service/export", "/account/export", "Download your data")
	w.open("self_service/delete", "/account/delete", "apps will lose access")
}

// recentPages opens the pages of a user whose sign-in was a while ago, who then signs out.
func (w *pageWalk) recentPages() {
	w.T.Helper()
	w.Clock.Advance(11 * time.Minute)
	w.open("security/recent", "/account/security", "Sign in again to make changes")
	w.open("self_service/recent", "/account/export", "sign in again")
	w.open("login/again", "/login?again=1&then=security", "to continue as")
	logout := url.Values{"client_id": {w.app.ClientID}, "post_logout_redirect_uri": {"https://" + w.host + "/out"}}
	w.open("logout", "/oauth2/logout?"+logout.Encode(), "Sign out?")
	w.open("logout/hint", "/oauth2/logout?id_token_hint=x", "is not valid")
}

// signOut signs out one user, and then the other.
func (w *pageWalk) signOut() {
	w.T.Helper()
	account := w.b.Open("/account")
	w.submit("signed_out/one", account, "/account/sign-out", "These accounts are still signed in")
	w.newBrowser()
	w.open("signed_out", "/signed-out", "You are signed out")
}

// linkPages opens the pages of links in emails.
func (w *pageWalk) linkPages(u storage.User) {
	w.T.Helper()
	ctx := w.T.Context()
	request := w.open("self_service/request", "/forgot", "We will send you a link")
	w.Store.SetMailDelayed(true)
	w.submit("self_service/delayed", request, "/forgot", "Emails are delayed", "username", "unknown")
	w.Store.SetMailDelayed(false)
	w.submit("self_service/sent", request, "/forgot", "is on its way to its email address", "username", u.Username)
	reset := w.open("self_service/reset", w.link(storage.MailResetPassword), "Choose a new password")
	w.submit("self_service/common", reset, "/reset", "tried first by attackers", "password", "password123")
	w.submit("self_service/reset_done", reset, "/reset", "Your password is changed", "password", "ten-tiny-otters")
	undo := w.open("self_service/undo_factors", w.undo, "This was added to your account")
	w.submit("self_service/undone_factors", undo, "/verify", "Now choose a new password")
	w.QueuedMails()
	other := w.word(60, "other") + w.language + "@example.com"
	w.open("self_service/sign_in_first", w.changeAddress(u, other), "sign in to it in this browser")
	for _, path := range []string{"reset", "verify", "invite"} {
		w.open("self_service/refused_"+path, "/"+path+"?token=x", "This link no longer works")
	}
	signUp := w.open("self_service/sign_up", "/sign-up", "We will send you a link to continue")
	w.submit("self_service/sign_up_invalid", signUp, "/sign-up", "Enter an email address", "email", "x")
	w.submit("self_service/sign_up_sent", signUp, "/sign-up", "A message is on its way", "email",
		w.word(60, "kim")+w.language+"@example.org")
	create := w.open("self_service/create", w.link(storage.MailVerifyEmail), "Choose how you sign in")
	values := []string{"username", u.Username, "password", servertest.Password, "terms", "1"}
	w.submit("self_service/taken", create, "/verify", "is taken", values...)
	w.submit("self_service/terms", create, "/verify", "Please accept the terms", "username", "kim"+w.language, "password",
		servertest.Password)
	values[1] = "kim" + w.language
	w.submit("self_service/created", create, "/verify", "Your account is ready", values...)
	_, link, err := w.Users.Invite(ctx, identity.NewInvitation{Lifetime: time.Hour})
	storagetest.Must(w.T, err)
	w.open("self_service/invited", link, "Enter your email address")
	_, link, err = w.Users.Invite(ctx, identity.NewInvitation{Email: other, Lifetime: time.Hour})
	storagetest.Must(w.T, err)
	w.open("self_service/invited_address", link, "We will send a link to your address")
}

// changeAddress requests a change of the address of a user, and returns the link of it.
func (w *pageWalk) changeAddress(u storage.User, to string) string {
	w.T.Helper()
	storagetest.Must(w.T, w.Users.RequestEmailChange(w.T.Context(), w.Session(u), to, identity.Origin{Language: "en"}))
	return w.link(storage.MailVerifyEmail)
}

// undoPages opens the pages on which a user cancels a deletion and restores an address.
func (w *pageWalk) undoPages(u storage.User) {
	w.T.Helper()
	w.newBrowser()
	w.b.SignIn(w.b.Open("/login?then=delete"), u.Username)
	w.submit("self_service/deleted", w.b.Open("/account/delete"), "/account/delete", "Your account will be deleted")
	w.submit("deletion_cancelled", w.b.Open("/login?then=delete"), "/login", "Your account will not be deleted",
		"username", u.Username, "password", servertest.Password)
	w.TOTP(u)
	w.QueuedMails()
	change := w.b.Open(w.changeAddress(u, w.word(60, "address")+w.language+"@example.com"))
	w.submit("self_service/verified", change, "/verify", "Your email address is confirmed")
	link := w.link(storage.MailEmailChanged)
	undo := w.open("self_service/undo", link, "Your password no longer works")
	w.submit("self_service/undone", undo, "/verify", "Your old password no longer works")
	w.open("self_service/refused_undo", link, "This link no longer works")
}

// otherSettings opens the pages of a server that sends no email and on which users cannot sign up, and of one with a
// captcha, whose script cannot be loaded.
func (w *pageWalk) otherSettings() {
	w.T.Helper()
	captcha := w.StartAnotherWith("GATEHOUSE_CAPTCHA_URL=https://captcha.example/verify", "GATEHOUSE_CAPTCHA_SECRET=x",
		"GATEHOUSE_CAPTCHA_SITE_KEY=x", "GATEHOUSE_CAPTCHA_SCRIPT_URL=https://challenges.captcha.example/api.js")
	connectTo(captcha)
	w.b = captcha.Browser()
	w.b.SetCookie("language", w.language)
	w.open("self_service/captcha", "/sign-up", "A check appears here")
	another := w.StartAnotherWith("GATEHOUSE_SMTP_URL=", "GATEHOUSE_SIGN_IN_CODES=false", "GATEHOUSE_SIGN_UP=off")
	connectTo(another)
	w.newBrowser()
	b := another.Browser()
	b.SetCookie("language", w.language)
	w.show("self_service/no_mail", b.Open("/forgot"), "This server does not send emails")
	w.show("self_service/closed", b.Open("/sign-up"), "You cannot create an account yourself")
}
