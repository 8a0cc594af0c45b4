package main

import "regexp"

// A wordRule is a list of discouraged phrases (CONTRIBUTING.md, "Language"), separated by commas, and what to write
// instead. Alternatives of a word are separated by slashes. Phrases match without case in lines whose camelCase names
// are split.
type wordRule struct {
	phrases string
	write   string
}

// wordsEverywhere are discouraged in every file, pages for users included.
var wordsEverywhere = []wordRule{
	{`anew, afresh`, "again, re-create, re-encrypt, re-register"},
	{`for ever`, "indefinitely, never expires; an infinite loop"},
	{`mend/mends/mended/mending/cure/cures/cured`, "fix"},
	{`stranger/strangers`, "untrusted client, third party"},
	{`thief/thieves`, "attacker"},
	{`whoever/whomever`, "the client, the caller, an attacker"},
	{`lest/seldom/thereby`, "so that … not; rarely; rephrase"},
	{`to the letter`, "exactly, byte for byte"},
	{`used up, spent`, "consumed"},
	{`half finished`, "pending sign-in"},
	{`is/are/was/were/be/been/goes/went/stay/stays away`, "unavailable, unreachable"},
	{`once more, again and again, over and over`, "retry, repeatedly, every minute"},
	{`by itself/themselves`, "automatically, on its own; dynamically registered"},
	{`beside`, "alongside, next to, in addition to"},
	{`but for`, "except"},
	{`good for`, "valid for"},
	{`worth nothing, useless`, "revoked, expired, invalid"},
	{`in its/their turn, take/takes a/its/their place/turn`, "acquires the semaphore, acquires a slot"},
	{`tell/tells/telling/told, telltale`, "report, return, send, log, notify"},
	{`in other letters`, "in a different case"},
	{`hand/hands/handed/handing out`, "issue"},
	{`look/looks/looked/looking at`, "check, poll, read"},
	{`key set/sets, keyset/keysets`, "JWKS"},
	{`meant for`, "intended for; has X in `aud`"},
	{`folder/folders`, "directory"},
	{`instant/instants`, "time, timestamp"},
	{`at once`, "immediately; concurrently"},
	{`meanwhile`, "concurrently, in the meantime"},
	{`ours, our own`, "Gatehouse's, built-in, internal; usually nothing"},
	{`of before`, "earlier, previous, from before the change"},
	{`live/lives/lived/living on`, "stay valid, stay active"},
	{`die/dies/died/dying`, "end, expire, be revoked"},
	{`go/goes/going/gone/went on`, "continues, keeps running"},
	{`ask/asks/asked/asking for`, "request"},
	{`take/takes/taken/taking/took away, let/lets go`, "remove, revoke, delete, release"},
}

// wordsTechnical are everyday words: fine on pages for users, discouraged elsewhere.
var wordsTechnical = []wordRule{
	{`somebody/someone/nobody/anybody/anyone/everybody/everyone`, "the client, the caller, an attacker; none, no user"},
	{`person/persons/people`, "user, users; resource owner where the RFC does"},
	{`say/says/said/saying`, "specifies, sets, states, returns"},
	{`ask/asks/asked/asking`, "query, call, check; prompt (a user); request"},
	{`answer/answers/answered/answering`, "response, respond, return"},
	{`dead`, "revoked, expired, invalid"},
	{`alive`, "active"},
	{`life/lives`, "lifetime, TTL, expires after, is valid for"},
	{`mistake/mistakes/mistaken`, "error, invalid value"},
	{`guessing`, "brute force"},
	{`fit/fits/fitting`, "matches"},
	{`is/are/was/were/stays/log/itself whole`, "complete, intact, verified"},
	{`know/knows/knew`, "registered, supported; has, can read"},
	{`kept`, "stored, cached, retained, queued"},
	{`held`, "stored, locked, owned"},
	{`right/good/wrong token/tokens/secret/secrets/code/codes/key/keys/signature/signatures/credential/credentials`, "valid, correct, invalid"},
	{`forget/forgets/forgot/forgotten`, "clear, evict, delete"},
	{`remember/remembers/remembering`, "cache, store"},
	{`room/rooms`, "slot, capacity, buffer"},
	{`by address`, "by URL"},
	{`refresh line/lines, line/lines of tokens, line/lines of refresh tokens`, "token family"},
	{`the wait doubles, doubles the wait`, "exponential backoff"},
	{`gate/gates/door/doors/house/twin/twins/neighbour/neighbours`, "a literal word instead of the metaphor"},
}

// wordsInCode are discouraged in code and its comments.
var wordsInCode = []wordRule{
	{`machine/machines`, "client credentials client, service; host"},
	{`func test/fuzz/benchmark the/a/an`, "Test + subject + expected behaviour, without an article"},
}

// wordsInProduct are discouraged in the code of the product; documents, pages and tests have example apps.
var wordsInProduct = []wordRule{
	{`app/apps`, "client"},
}

// A wordException is a text that TestWords does not check in files whose path matches.
type wordException struct{ file, text *regexp.Regexp }

// exception returns an exception. The last argument is the reason.
func exception(file, text, _ string) wordException {
	return wordException{regexp.MustCompile(file), regexp.MustCompile(text)}
}

var wordExceptions = []wordException{
	exception(``, `(?i)open[-_ ]?to[-_ ]?apps`, "a flag, and a member of resources"),
	exception(``, `android-app|itms-apps`, "URI schemes"),
	exception(``, `(?i)keep[- ]?alives?`, "the HTTP and TCP term"),
	exception(``, `(?i)state machines?|machine[- ]readable|(this|one|each|another|other|same) machines?`,
		"a state machine; a host"),
	exception(``, `(?i)(native|sample|demo|web|mobile|desktop|single-page|connected|browser|client) apps?`,
		"terms of RFC 8252 and of the product"),
	exception(``, `/account/apps|account\.apps?`, "the path of a page, and its messages"),
	exception(``, `reuid=nobody|User(: |=| )nobody|echo nobody|"nobody["=]|nobody@`,
		"the account of Unix; an unknown name in tests"),
	exception(``, `["=]everyone\b`, "an invalid value in tests"),
	exception(``, `(?i)(Remote|Web)?KeySet\b|set jose\.`, "names of go-oidc and go-jose"),
	exception(``, `app\.(internal|invalid|example)|example\.app\b`, "hosts and schemes"),
	exception(`^(cmd/gatehouse/(dev|dev_page|main|scope|client|client_flags)\.go|oauth/logout/seal\.go)$`,
		`(?i)\bapps?\b`, "help and messages for users"),
	exception(`^admin/importer/auth0\.go$`, `AppMetadata|app_metadata|App Metadata`, "a member of Auth0"),
	exception(`^web/page_error\.go$`, `\.app\b`, "keys of messages"),
	exception(`^(config|docs)/`, `(?i)anyone (can|who)|\(everyone\)`, "the setting is open to everyone"),
	exception(``, `"asked"`, "a member of audit details"),
	exception(`_test\.go$`, `\bgate\b`, "a path in tests"),
	exception(``, `/forgot\b|flow\.forgot\b|"forgot"`, "the path of a page, and its messages"),
	exception(`^web/`, `\b(Apps?|AppHost|People|Person|connectedApps?|apps)\b`,
		"fields of pages, in the words that users see"),
	exception(`^cmd/oauthbench/`, `(?i)\bapps?\b`, "a member of the profile"),
	exception(``, `Too many people are signing in|Know that it is you`, "pages for users"),
	exception(`^scripts/setup.sh$`, `Chrome\.app`, "a path"),
	exception(``, `(?i)time spent|seconds spent`, "literal"),
	exception(``, `(?i)fits? (in|into|on|within)\b`, "literal: size"),
	exception(`^cmd/gatehouse/(sample|testdata/(apis|relying-parties))/`, `(?i)\bapps?\b`, "they are applications"),
	exception(`^CHANGELOG\.md$`, `^ *\|.*`, "a table of changed messages"),
	exception(`^CHANGELOG\.md$`, "`GatehouseGuessing`|`a wrong secret`", "changed names"),
}
