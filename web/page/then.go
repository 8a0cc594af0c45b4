package page

import "net/url"

// accountPages are the pages that a sign-in without an authorization request can continue with, by the value of the
// parameter then. The list is closed, so that the parameter never leads to another site.
var accountPages = map[string]string{
	"profile": "/account/profile", "apps": "/account/apps", "sessions": "/account/sessions",
	"activity": "/account/activity", "security": "/account/security", "password": "/account/password",
	"email": "/account/email", "export": "/account/export", "delete": "/account/delete",
}

// sensitivePages are those of accountPages that need a recent sign-in, with the second factor of users who have one.
var sensitivePages = map[string]bool{"security": true, "password": true, "email": true, "export": true, "delete": true}

// AccountPath returns the path of the account page that a sign-in continues with. It is the overview unless then is one
// of the values of SignInAgain.
func AccountPath(then string) string {
	if path, ok := accountPages[then]; ok {
		return path
	}
	return "/account"
}

// IsSensitive reports whether the account page that a sign-in continues with needs a recent sign-in.
func IsSensitive(then string) bool { return sensitivePages[then] }

// SignIn returns the path of the sign-in page that continues with an account page.
func SignIn(path string) string { return "/login?to=account" + thenQuery(path) }

// SignInAgain returns the path of the sign-in page on which the current user confirms a sign-in, and which then
// continues with an account page.
func SignInAgain(path string) string { return "/login?again=1" + thenQuery(path) }

// thenQuery returns the parameter then for an account page, or "" for a path that is none of the list.
func thenQuery(path string) string {
	for then, p := range accountPages {
		if p == path {
			return "&then=" + url.QueryEscape(then)
		}
	}
	return ""
}
