// Package oauth is the authorization server and OpenID Provider: its endpoints, and the decision what happens next with
// an authorization request. Clients are left to oauth/client, what a token request gets to oauth/grant, signing keys to
// oauth/keyring, users and browser sessions to identity, pages to web, and all data to storage.
//
// # Endpoints of clients
//
//	POST /oauth2/token        Token → client.Authenticate → limits → a grant.Handler → issue → respond
//	POST /oauth2/introspect   Introspect → client.Authenticate → keyring.VerifyAccessToken → one query
//	POST /oauth2/revoke       Revoke → client.Authenticate → one row
//	GET  /oauth2/userinfo     Userinfo → keyring.VerifyAccessToken → one query
//
// # Authorization requests
//
// Begin validates an authorization request, which it first replaces by its request object if there is one.
// DecisionInput describes the browser: which user of those signed in the request is about. Decide, a pure function, is
// the only place that chooses what happens next: sign-in, account chooser, consent, a code, or an error. A request that
// needs a page is stored, and every page returns to it; pages never lead to one another:
//
//	GET /oauth2/authorize → Begin → Decide ─ Issue ────────────────────────────────→ 303 to the client: code, state, iss
//	                                  ├─ Login, SelectAccount, Consent → StoreRequest → 303 GET /oauth2/authorize/{id}
//	                                  └─ Refuse ───────────────────────────────────→ 303 to the client: error, state, iss
//	GET /oauth2/authorize/{id} → Resume → Decide ─ Login ─→ /login ────→ back here
//	                                        ├─ SelectAccount → /select ─→ back here
//	                                        ├─ Consent → /consent ──────→ Approve or Deny → 303 to the client
//	                                        └─ Issue, Refuse as above
//
// With response_mode=form_post the response is a form that posts itself instead of a 303. An error of a request whose
// client or redirect URI is invalid has no Redirect and is shown to the user.
//
// # Sign-out
//
//	GET /oauth2/logout → logout.Begin → TargetSession ─ a session of this browser ─→ end it → 303 to the client
//	                                        └─ none, or not identified by the hint ─→ confirmation page
//
// Ending a session queues a delivery for each client that was used in it; package notify sends what logout.Message
// builds.
//
// # Specifications
//
// RFC 6749 (OAuth 2.0), 6750 (bearer tokens), 7009 (revocation), 7523 (client assertions), 7591 and 7592
// (registration), 7636 (PKCE), 7662 (introspection), 8252 (native apps), 8414 (metadata), 8707 (resource indicators),
// 9068 (JWT access tokens), 9101 (request objects), 9207 (issuer identification), 9700 (security best current
// practice). OpenID Connect Core, Discovery, Dynamic Registration, RP-Initiated Logout, Back-Channel Logout; Form Post
// Response Mode. docs/divergences.md lists every departure.
//
// # Fosite
//
// fosite.go is the adapter: fosite dispatches a token request to the handler of its grant type, and the issue of a code
// to codeIssuer. All decisions are made, and all responses are written, outside of it. Nothing that this package
// exports mentions fosite.
package oauth
