package page

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"gatehouse/identity"
)

// accountPages are the pages that a sign-in without an authorization request can continue with, by the value of the
// parameter then. The list is closed, so that the parameter never leads to another site.
var accountPages = map[string]string{
	"profile": "/account/profile", "apps": "/account/apps", "sessions": "/account/sessions",
	"activity": "/account/activity", "security": "/account/security", "password": "/account/password",
	"email": "/account/email", "export": "/account/export", "delete": "/account/delete",
}

// sensitivePages are those of accountPages that need a recent sign-in, with the second factor of users who have one.
var sensitivePages = map[string]bool{"security": true, "password": true, "email": true, "export": true, "delete": true}

// The paths of pages on which users do what is required of them.
const (
	TermsPath = "/terms"
	EnrolPath = "/enrol"
)

// BeforeAccount returns a redirect to the page of the step before an account page, or nil.
func BeforeAccount(step identity.AccountStep, path string) error {
	switch step {
	case identity.AccountSignIn:
		return RedirectTo(SignInAgain(path))
	case identity.AccountTerms:
		return RedirectTo(TermsPath)
	case identity.AccountEnrol:
		return RedirectTo(EnrolPath)
	}
	return nil
}

var requestID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// RequestOf returns the id of the authorization request for which the user opened an account page, or "". Its page
// checks that it belongs to this browser.
func RequestOf(r *http.Request) string {
	id := r.URL.Query().Get("request")
	if !requestID.MatchString(id) {
		return ""
	}
	return id
}

// WithRequest returns the path of an account page that the user opens for an authorization request, unless that is "".
func WithRequest(path, request string) string {
	if request == "" {
		return path
	}
	return path + "?request=" + request
}

// AccountPath returns the path of the account page that a sign-in continues with. It is the overview unless then is one
// of the values of SignInAgain: the name of a page and, after a dot, the authorization request for which it is opened.
func AccountPath(then string) string {
	name, request, _ := strings.Cut(then, ".")
	path, ok := accountPages[name]
	switch {
	case !ok:
		return "/account"
	case requestID.MatchString(request):
		return WithRequest(path, request)
	}
	return path
}

// IsSensitive reports whether the account page that a sign-in continues with needs a recent sign-in.
func IsSensitive(then string) bool {
	name, _, _ := strings.Cut(then, ".")
	return sensitivePages[name]
}

// SignIn returns the path of the sign-in page that continues with an account page.
func SignIn(path string) string { return "/login?to=account" + thenQuery(path) }

// SignInAgain returns the path of the sign-in page on which the current user confirms a sign-in, and which then
// continues with an account page.
func SignInAgain(path string) string { return "/login?again=1" + thenQuery(path) }

// thenQuery returns the parameter then for an account page, or "" for a path that is none of the list.
func thenQuery(path string) string {
	path, query, _ := strings.Cut(path, "?")
	for then, p := range accountPages {
		if p != path {
			continue
		}
		if request, ok := strings.CutPrefix(query, "request="); ok {
			then += "." + request
		}
		return "&then=" + url.QueryEscape(then)
	}
	return ""
}
