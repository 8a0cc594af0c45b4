// Package oauth is the authorization server: it decides who gets which token, and when a token is dead. What people see
// is left to web, who they are to identity, and where it is all kept to storage.
//
// # Machines
//
//	POST /oauth2/token        Token → client authentication → a grant handler → storage
//	POST /oauth2/introspect   Introspect → client authentication → accesstoken.Verify → one query
//	POST /oauth2/revoke       Revoke → client authentication → one row
//	POST /oauth2/register     Register → metadata → one client; RegisteredClient reads, changes and deletes it
//
// # People
//
// An authorization request is checked by Begin, which first replaces it by its request object if it has one. Situation
// says which of the people signed in to the browser it is about. Decide, a pure function, is the only place that chooses
// what happens next: sign in, choose an account, consent, a code, or an error. A request that needs a page is stored, and
// every page returns to it:
//
//	GET /oauth2/authorize → Begin → Decide ─ Issue ───────────────────────→ 303 to the app, with code, state, iss
//	                                  ├─ Login, SelectAccount, Consent → Store → 303 GET /oauth2/authorize/{id}
//	                                  └─ Refuse ──────────────────────────→ 303 to the app, with error, state, iss
//	GET /oauth2/authorize/{id} → Resume → Decide ─ Login ─→ /login ────→ back here
//	                                        ├─ SelectAccount → /select ─→ back here
//	                                        ├─ Consent → /consent ──────→ Approve or Deny → 303 to the app
//	                                        └─ Issue, Refuse as above
//
// With response_mode=form_post every answer is a form that posts itself instead of a 303. An app learns who signed in by
// the ID token and asks Userinfo for more.
//
// # Sign-out
//
//	GET /oauth2/logout → BeginLogout → Target ─ one of the people here ─→ end the session → 303 to the app
//	                                        └─ nobody, or not clear ───→ ask
//
// Whatever ends a session queues a delivery for each app that was used in it; Deliver, a job, sends them.
//
// # Specifications
//
// RFC 6749 (OAuth 2.0), 6750 (bearer tokens), 7009 (revocation), 7523 (client assertions), 7591 and 7592 (registration),
// 7636 (PKCE), 7662 (introspection), 8252 (native apps), 8414 (metadata), 8707 (resource indicators), 9068 (JWT access
// tokens), 9101 (request objects), 9207 (issuer identification), 9700 (security best current practice). OpenID Connect
// Core, Discovery, Dynamic Registration, RP-Initiated Logout, Back-Channel Logout; Form Post Response Mode.
// docs/divergences.md lists every departure.
//
// Fosite parses requests and dispatches to the grant handlers; every decision, and every response, is written here.
// Nothing exported by this package mentions it.
package oauth
