package mail

import "gatehouse/storage"

// The values of a mail, besides its link and code.
const (
	ValueTime    = "time"    // of the event, RFC 3339
	ValueEmail   = "email"   // the new address of the user
	ValueBrowser = "browser" // of a sign-in, for users
	ValueAddress = "address" // the IP address of a sign-in
	ValueChange  = "change"  // what happened to the factors of a user: one of Changes
	ValueClient  = "client"  // the name of a client
	valueBrand   = "brand"   // of the settings
)

// Changes are the values of ValueChange. Each has a message mail.factors_changed.<change>.
var Changes = []string{
	"passkey_added", "passkey_removed", "totp_added", "totp_removed", "recovery_codes_created", "factors_reset",
}

// kind is what the messages of a kind of mail have: the values of the placeholders of its subject and text, in their
// order, and whether it has a link and a code.
type kind struct {
	subject, text []string
	link, code    bool
	unverified    bool // the address may belong to another user, who must not get what this one has chosen
}

var kinds = map[string]kind{
	storage.MailVerifyEmail:       {text: []string{valueBrand}, link: true, unverified: true},
	storage.MailResetPassword:     {link: true},
	storage.MailEmailChanged:      {text: []string{ValueEmail}, link: true},
	storage.MailInvitation:        {subject: []string{valueBrand}, text: []string{valueBrand}, link: true},
	storage.MailSignInCode:        {code: true},
	storage.MailAccountExists:     {text: []string{valueBrand}, link: true},
	storage.MailNewDevice:         {text: []string{ValueTime, ValueBrowser, ValueAddress}, link: true},
	storage.MailFactorsChanged:    {text: []string{ValueChange, ValueTime}, link: true},
	storage.MailPasswordChanged:   {text: []string{ValueTime}, link: true},
	storage.MailClientConnected:   {text: []string{ValueClient, ValueTime}, link: true},
	storage.MailDeletionScheduled: {text: []string{ValueTime}, link: true},
	storage.MailTest:              {subject: []string{valueBrand}, text: []string{valueBrand}},
}
