package audit

import (
	"slices"
	"strings"
)

// types are all types of events. A counter must exist from the start, at zero, so that an alert notices the first
// event.
var types []string

// newType adds a type to types while the package is initialized.
func newType(name string) string {
	types = append(types, name)
	return name
}

// The types of audit events.
var (
	ClientCreated            = newType("client.created")
	ClientUpdated            = newType("client.updated")
	ClientDisabled           = newType("client.disabled")
	ClientEnabled            = newType("client.enabled")
	ClientDeleted            = newType("client.deleted")
	ClientSecretAdded        = newType("client.secret_added")
	ClientSecretUpgraded     = newType("client.secret_upgraded")
	ClientTokensRevoked      = newType("client.tokens_revoked")
	ClientRegistered         = newType("client.registered")
	UserCreated              = newType("user.created")
	UserImported             = newType("user.imported")
	UserMigrated             = newType("user.migrated")
	UserUpdated              = newType("user.updated")
	UserLanguageSet          = newType("user.language_set")
	UserDisabled             = newType("user.disabled")
	UserEnabled              = newType("user.enabled")
	UserDeleted              = newType("user.deleted")
	UserPasswordSet          = newType("user.password_set")
	UserPasswordUpgraded     = newType("user.password_upgraded")
	UserPasswordChanged      = newType("user.password_changed")
	UserPasswordReset        = newType("user.password_reset")
	UserTokensRevoked        = newType("user.tokens_revoked")
	UserSignUpRequested      = newType("user.sign_up_requested")
	UserSignedUp             = newType("user.signed_up")
	UserEmailVerified        = newType("user.email_verified")
	UserEmailChanged         = newType("user.email_changed")
	UserEmailChangeUndone    = newType("user.email_change_undone")
	UserDeletionScheduled    = newType("user.deletion_scheduled")
	UserDeletionCancelled    = newType("user.deletion_cancelled")
	UserExported             = newType("user.exported")
	UserTermsAccepted        = newType("user.terms_accepted")
	InvitationCreated        = newType("invitation.created")
	InvitationRevoked        = newType("invitation.revoked")
	UserSignedIn             = newType("user.signed_in")
	UserSignInFailed         = newType("user.sign_in_failed")
	UserTOTPSet              = newType("user.totp_set")
	UserTOTPRemoved          = newType("user.totp_removed")
	UserFactorsReset         = newType("user.factors_reset")
	UserFactorsUndone        = newType("user.factors_undone")
	RecoveryCodesCreated     = newType("recovery_codes.created")
	RecoveryCodeUsed         = newType("recovery_code.used")
	PasskeyCreated           = newType("passkey.created")
	PasskeyRenamed           = newType("passkey.renamed")
	PasskeyDeleted           = newType("passkey.deleted")
	PasskeyCounterInvalid    = newType("passkey.counter_invalid")
	EnrolmentPostponed       = newType("user.enrolment_postponed")
	BrowserRemembered        = newType("browser.remembered")
	BrowsersRemoved          = newType("browser.removed")
	SessionEnded             = newType("session.ended")
	SessionsEnded            = newType("session.others_ended")
	ActivityConfirmed        = newType("activity.confirmed")
	ActivityReported         = newType("activity.reported")
	ScopeCreated             = newType("scope.created")
	ScopeUpdated             = newType("scope.updated")
	ScopeDeleted             = newType("scope.deleted")
	GroupCreated             = newType("group.created")
	GroupUpdated             = newType("group.updated")
	GroupDeleted             = newType("group.deleted")
	GroupMemberAdded         = newType("group.member_added")
	GroupMemberRemoved       = newType("group.member_removed")
	RoleCreated              = newType("role.created")
	RoleUpdated              = newType("role.updated")
	RoleDeleted              = newType("role.deleted")
	RoleGranted              = newType("role.granted")
	RoleRevoked              = newType("role.revoked")
	AttributeCreated         = newType("attribute.created")
	AttributeUpdated         = newType("attribute.updated")
	AttributeDeleted         = newType("attribute.deleted")
	ResourceCreated          = newType("resource.created")
	ResourceUpdated          = newType("resource.updated")
	ResourceDeleted          = newType("resource.deleted")
	ConsentGiven             = newType("consent.given")
	ConsentDenied            = newType("consent.denied")
	ConsentWithdrawn         = newType("consent.withdrawn")
	CodeIssued               = newType("code.issued")
	CodeRedeemed             = newType("code.redeemed")
	CodeReplayed             = newType("code.replayed")
	RefreshRotated           = newType("refresh_token.rotated")
	RefreshReused            = newType("refresh_token.reused")
	GrantRevoked             = newType("grant.revoked")
	TokenIssued              = newType("access_token.issued")
	TokenRevoked             = newType("access_token.revoked")
	KeyCreated               = newType("key.created")
	KeyRotated               = newType("key.rotated")
	KeyRevoked               = newType("key.revoked")
	RegistrationTokenCreated = newType("registration_token.created")
	RegistrationTokenDeleted = newType("registration_token.deleted")
	LogoutDelivered          = newType("logout.delivered")
	LogoutUndelivered        = newType("logout.undelivered")
	MailSent                 = newType("mail.sent")
	MailFailed               = newType("mail.failed")
	MailAddressPaused        = newType("mail.address_paused")
	MailAddressResumed       = newType("mail.address_resumed")

	// Requests for an email with a link or code.
	UserPasswordResetRequested     = newType("user.password_reset_requested")
	UserEmailVerificationRequested = newType("user.email_verification_requested")
	UserEmailChangeRequested       = newType("user.email_change_requested")
	UserSignInCodeRequested        = newType("user.sign_in_code_requested")

	// Failures, which changed nothing.
	AuthenticationFailed = newType("client.authentication_failed")
	AddressRefused       = newType("client.address_refused")
	ScopeRefused         = newType("client.scope_refused")
	ResourceRefused      = newType("client.resource_refused")
	RedirectRefused      = newType("client.redirect_uri_refused")
	CodeRefused          = newType("code.refused")
	RefreshRefused       = newType("refresh_token.refused")
	LinkRefused          = newType("user.link_refused")
	SignInCodeRefused    = newType("user.sign_in_code_refused")
	SignInLimited        = newType("network.sign_in_limited")
	PasskeyRefused       = newType("passkey.refused")
	TOTPRefused          = newType("totp.refused")
	IntrospectionFailed  = newType("introspection.failed")

	// Actions of the operator on the log itself.
	AuditRetired    = newType("audit.retired")
	AuditErased     = newType("audit.erased")
	RootKeyReplaced = newType("root_key.replaced")
	AuditExported   = newType("audit.exported")
	BackupMade      = newType("database.backed_up")
)

// Types returns all types of events.
func Types() []string { return slices.Sorted(slices.Values(types)) }

// IsType reports whether a filter for types, which may end in *, matches any type. The empty filter matches all.
func IsType(filter string) bool {
	prefix, open := strings.CutSuffix(filter, "*")
	return filter == "" || slices.ContainsFunc(types,
		func(t string) bool { return t == filter || open && strings.HasPrefix(t, prefix) })
}
