package mail

import "gatehouse/storage"

// The values of an email that only its renderer has.
const (
	valueBrand  = "brand"  // the name in the settings
	valueQueued = "queued" // when the email was queued: the time of the change that it reports
)

// kind is what a kind of email shows.
type kind struct {
	// subject and text are the values of the placeholders of these messages, in their order.
	subject, text []string
	path          string // that it links to when it has no link
	link, code    bool   // whether it has a link, or a code
	// reset reports whether it also has a link to reset the password: its own needs a sign-in, which fails after an
	// attacker changed the password.
	reset bool
	// unverified reports whether the address may belong to another user, who must not get what this one has chosen.
	unverified bool
}

var kinds = map[string]kind{
	storage.MailVerifyEmail:     {text: []string{valueBrand}, link: true, unverified: true},
	storage.MailResetPassword:   {link: true},
	storage.MailEmailChanged:    {text: []string{storage.MailValueEmail}, link: true},
	storage.MailInvitation:      {subject: []string{valueBrand}, text: []string{valueBrand}, link: true},
	storage.MailSignInCode:      {code: true},
	storage.MailAccountExists:   {text: []string{valueBrand}, link: true, path: "/account"},
	storage.MailPasswordChanged: {text: []string{valueQueued}, link: true, path: "/forgot"},
	storage.MailTest:            {subject: []string{valueBrand}, text: []string{valueBrand}},
	storage.MailNewDevice: {
		text: []string{valueQueued, storage.MailValueBrowser, storage.MailValueAddress},
		link: true, path: "/account/activity", reset: true,
	},
	storage.MailFactorsChanged: {
		text: []string{storage.MailValueChange, valueQueued}, link: true, path: "/account/activity", reset: true,
	},
	storage.MailFactorAdded: {text: []string{storage.MailValueChange, valueQueued}, link: true},
	storage.MailClientConnected: {
		text: []string{storage.MailValueClient, valueQueued}, link: true, path: "/account/apps", reset: true,
	},
	storage.MailDeletionScheduled: {
		text: []string{storage.MailValueDate}, link: true, path: "/account", reset: true,
	},
}
