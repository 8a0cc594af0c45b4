package main

// A wordRule is a list of discouraged phrases (CONTRIBUTING.md, "Language"), separated by commas, and what to write instead.
// Alternatives of a word are separated by slashes. Phrases match without case in lines whose camelCase names are split.
type wordRule struct {
	phrases string
	write   string
	// allowed is the number of occurrences that are left. It only shrinks.
	allowed int
}

// wordsEverywhere are discouraged in every file, pages for users included.
var wordsEverywhere = []wordRule{
	{`anew, afresh`, "again, re-create, re-encrypt, re-register", 3},
	{`for ever`, "indefinitely, never expires; an infinite loop", 3},
	{`mend/mends/mended/mending/cure/cures/cured`, "fix", 3},
	{`stranger/strangers`, "untrusted client, third party", 3},
	{`thief/thieves`, "attacker", 3},
	{`whoever/whomever`, "the client, the caller, an attacker", 3},
	{`lest/seldom/thereby`, "so that … not; rarely; rephrase", 3},
	{`to the letter`, "exactly, byte for byte", 3},
	{`used up, spent`, "consumed", 3},
	{`is/are/was/were/be/been/goes/went/stay/stays away`, "unavailable, unreachable", 3},
	{`once more, again and again, over and over`, "retry, repeatedly, every minute", 3},
	{`by itself/themselves`, "automatically, on its own; dynamically registered", 3},
	{`beside`, "alongside, next to, in addition to", 3},
	{`but for`, "except", 3},
	{`good for`, "valid for", 3},
	{`worth nothing, useless`, "revoked, expired, invalid", 3},
	{`in its/their turn, take/takes a/its/their place/turn`, "acquires the semaphore, acquires a slot", 3},
	{`tell/tells/telling/told, telltale`, "report, return, send, log, notify", 3},
	{`in other letters`, "in a different case", 3},
	{`hand/hands/handed/handing out`, "issue", 3},
	{`look/looks/looked/looking at`, "check, poll, read", 3},
	{`key set/sets, keyset/keysets`, "JWKS", 3},
	{`meant for`, "intended for; has X in `aud`", 3},
	{`folder/folders`, "directory", 3},
	{`instant/instants`, "time, timestamp", 3},
	{`at once`, "immediately; concurrently", 3},
	{`meanwhile`, "concurrently, in the meantime", 3},
	{`of ours, our own`, "Gatehouse's, built-in; usually nothing", 3},
	{`go/goes/going/gone/went on`, "continues, keeps running", 3},
	{`ask/asks/asked/asking for`, "request", 3},
	{`take/takes/taken/taking/took away, let/lets go`, "remove, revoke, delete, release", 3},
}

// wordsTechnical are everyday words: fine on pages for users, discouraged elsewhere.
var wordsTechnical = []wordRule{
	{`somebody/someone/nobody/anybody/anyone/everybody/everyone`, "the client, the caller, an attacker; none, no user", 3},
	{`person/persons/people`, "user, users; resource owner where the RFC does", 3},
	{`say/says/said/saying`, "specifies, sets, states, returns", 3},
	{`ask/asks/asked/asking`, "query, call, check; prompt (a user); request", 3},
	{`answer/answers/answered/answering`, "response, respond, return", 3},
	{`dead`, "revoked, expired, invalid", 3},
	{`alive`, "active", 3},
	{`life/lives`, "lifetime, TTL, expires after, is valid for", 3},
	{`mistake/mistakes/mistaken`, "error, invalid value", 3},
	{`guessing`, "brute force", 3},
	{`fit/fits/fitting`, "matches", 3},
	{`is/are/was/were/stays/log/itself whole`, "complete, intact, verified", 3},
	{`know/knows/knew`, "registered, supported; has, can read", 3},
	{`kept`, "stored, cached, retained, queued", 3},
	{`held`, "stored, locked, owned", 3},
	{`right/good/wrong token/tokens/secret/secrets/code/codes/key/keys/signature/signatures/credential/credentials`, "valid, correct, invalid", 3},
	{`forget/forgets/forgot/forgotten`, "clear, evict, delete", 3},
	{`remember/remembers/remembering`, "cache, store", 3},
	{`room/rooms`, "slot, capacity, buffer", 3},
	{`by address`, "by URL", 3},
	{`refresh line/lines, line/lines of tokens, line/lines of refresh tokens`, "token family", 3},
	{`a/the fault/faults of/is/are ours`, "an internal error", 3},
	{`the wait doubles, doubles the wait`, "exponential backoff", 3},
	{`gate/gates/door/doors/house/twin/twins/neighbour/neighbours`, "a literal word instead of the metaphor", 3},
}

// wordsInCode are discouraged in code and its comments.
var wordsInCode = []wordRule{
	{`machine/machines`, "client credentials client, service; host", 3},
	{`func test/fuzz/benchmark the/a/an`, "Test + subject + expected behaviour, without an article", 3},
}

// wordsInProduct are discouraged in the code of the product; documents, pages and tests have example apps.
var wordsInProduct = []wordRule{
	{`app/apps`, "client", 3},
}

// wordExceptions are removed from a line before it is checked: in files that match the first pattern, what matches the second.
var wordExceptions = []struct{ file, text, why string }{
	{``, `(?i)keep[- ]?alives?`, "the HTTP and TCP term"},
	{``, `(?i)state machines?|machine[- ]readable|(this|one|each|another|other|same) machines?`, "a state machine; a host"},
	{``, `(?i)(native|sample|demo|web|mobile|desktop|single-page|connected|browser|client) apps?`, "terms of RFC 8252 and of the product"},
	{``, `/account/apps|account\.apps?`, "the path of a page, and its messages"},
	{``, `reuid=nobody|User(: |=| )nobody|echo nobody|"nobody["=]|nobody@`, "the account of Unix; an unknown name in tests"},
	{``, `["=]everyone\b`, "an invalid value in tests"},
	{``, `(?i)(Remote|Web)?KeySet\b|set jose\.`, "names of go-oidc and go-jose"},
	{``, `app\.(internal|invalid|example)|example\.app\b`, "hosts and schemes"},
	{`^(cmd/gatehouse/(dev|dev_page|run|scope|client|client_flags)\.go|oauth/logout/seal\.go)$`, `(?i)\bapps?\b`, "help and messages for users"},
	{`^web/page_error\.go$`, `\.app\b`, "keys of messages"},
	{`^(config|docs)/`, `(?i)anyone (can|who)|\(everyone\)`, "the setting is open to everyone"},
	{``, `"asked"`, "a member of audit details"},
	{`_test\.go$`, `\bgate\b`, "a path in tests"},
	{`^web/`, `\b(Apps?|AppHost|People|Person|connectedApps?|apps)\b`, "fields of pages, in the words that users see"},
	{`^cmd/oauthbench/`, `(?i)\bapps?\b`, "a member of the profile"},
	{``, `Too many people are signing in|Know that it is you`, "pages for users"},
	{``, `error\.answered`, "the key of a message"},
	{`^scripts/setup.sh$`, `Chrome\.app`, "a path"},
	{``, `GatehouseGuessing|Gatehouse Guessing`, "an alert, by which operators route"},
	{``, `(?i)time spent|seconds spent`, "literal"},
	{``, `(?i)fits? (in|into|on|within)\b`, "literal: size"},
	{`^cmd/gatehouse/(sample|testdata/(apis|relying-parties))/`, `(?i)\bapps?\b`, "they are applications"},
}
