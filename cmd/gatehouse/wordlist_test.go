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
	{`anew, afresh`, "again, re-create, re-encrypt, re-register", 5},
	{`for ever`, "indefinitely, never expires; an infinite loop", 4},
	{`mend/mends/mended/mending/cure/cures/cured`, "fix", 4},
	{`stranger/strangers`, "untrusted client, third party", 6},
	{`thief/thieves`, "attacker", 23},
	{`whoever/whomever`, "the client, the caller, an attacker", 10},
	{`lest/seldom/thereby`, "so that … not; rarely; rephrase", 3},
	{`to the letter`, "exactly, byte for byte", 3},
	{`used up, spent`, "consumed", 5},
	{`is/are/was/were/be/been/goes/went/stay/stays away`, "unavailable, unreachable", 5},
	{`once more, again and again, over and over`, "retry, repeatedly, every minute", 5},
	{`by itself/themselves`, "automatically, on its own; dynamically registered", 5},
	{`beside`, "alongside, next to, in addition to", 10},
	{`but for`, "except", 6},
	{`good for`, "valid for", 3},
	{`worth nothing, useless`, "revoked, expired, invalid", 9},
	{`in its/their turn, take/takes a/its/their place/turn`, "acquires the semaphore, acquires a slot", 3},
	{`tell/tells/telling/told, telltale`, "report, return, send, log, notify", 55},
	{`in other letters`, "in a different case", 3},
	{`hand/hands/handed/handing out`, "issue", 5},
	{`look/looks/looked/looking at`, "check, poll, read", 6},
	{`key set/sets, keyset/keysets`, "JWKS", 17},
	{`meant for`, "intended for; has X in `aud`", 5},
	{`folder/folders`, "directory", 7},
	{`instant/instants`, "time, timestamp", 5},
	{`at once`, "immediately; concurrently", 26},
	{`meanwhile`, "concurrently, in the meantime", 6},
	{`of ours, our own`, "Gatehouse's, built-in; usually nothing", 7},
	{`go/goes/going/gone/went on`, "continues, keeps running", 8},
	{`ask/asks/asked/asking for`, "request", 13},
	{`take/takes/taken/taking/took away, let/lets go`, "remove, revoke, delete, release", 4},
}

// wordsTechnical are everyday words: fine on pages for users, discouraged elsewhere.
var wordsTechnical = []wordRule{
	{`somebody/someone/nobody/anybody/anyone/everybody/everyone`, "the client, the caller, an attacker; none, no user", 57},
	{`person/persons/people`, "user, users; resource owner where the RFC does", 80},
	{`say/says/said/saying`, "specifies, sets, states, returns", 38},
	{`ask/asks/asked/asking`, "query, call, check; prompt (a user); request", 49},
	{`answer/answers/answered/answering`, "response, respond, return", 121},
	{`dead`, "revoked, expired, invalid", 33},
	{`alive`, "active", 9},
	{`life/lives`, "lifetime, TTL, expires after, is valid for", 16},
	{`mistake/mistakes/mistaken`, "error, invalid value", 6},
	{`guessing`, "brute force", 3},
	{`fit/fits/fitting`, "matches", 14},
	{`is/are/was/were/stays/log/itself whole`, "complete, intact, verified", 3},
	{`know/knows/knew`, "registered, supported; has, can read", 21},
	{`kept`, "stored, cached, retained, queued", 13},
	{`held`, "stored, locked, owned", 18},
	{`right/good/wrong token/tokens/secret/secrets/code/codes/key/keys/signature/signatures/credential/credentials`, "valid, correct, invalid", 5},
	{`forget/forgets/forgot/forgotten`, "clear, evict, delete", 24},
	{`remember/remembers/remembering`, "cache, store", 6},
	{`room/rooms`, "slot, capacity, buffer", 7},
	{`by address`, "by URL", 3},
	{`refresh line/lines, line/lines of tokens, line/lines of refresh tokens`, "token family", 4},
	{`a/the fault/faults of/is/are ours`, "an internal error", 3},
	{`the wait doubles, doubles the wait`, "exponential backoff", 6},
	{`gate/gates/door/doors/house/twin/twins/neighbour/neighbours`, "a literal word instead of the metaphor", 12},
}

// wordsInCode are discouraged in code and its comments.
var wordsInCode = []wordRule{
	{`machine/machines`, "client credentials client, service; host", 40},
	{`func test/fuzz/benchmark the/a/an`, "Test + subject + expected behaviour, without an article", 3},
}

// wordsInProduct are discouraged in the code of the product; documents, pages and tests have example apps.
var wordsInProduct = []wordRule{
	{`app/apps`, "client", 126},
}

// wordExceptions are removed from a line before it is checked: in files that match the first pattern, what matches the second.
var wordExceptions = []struct{ file, text, why string }{
	{``, `(?i)keep[- ]?alives?`, "the HTTP and TCP term"},
	{``, `(?i)state machines?|machine[- ]readable|(this|one|each|another|other|same) machines?`, "a state machine; a host"},
	{``, `(?i)(native|sample|demo|web|mobile|desktop|single-page|connected|browser|client) apps?`, "terms of RFC 8252 and of the product"},
	{``, `/account/apps|account\.apps?`, "the path of a page, and its messages"},
	{``, `reuid=nobody|User(: |=| )nobody|"nobody"|echo nobody`, "the account of Unix; an unknown name in tests"},
	{`^scripts/setup.sh$`, `Chrome\.app`, "a path"},
	{``, `GatehouseGuessing|Gatehouse Guessing`, "an alert, by which operators route"},
	{``, `(?i)time spent|seconds spent`, "literal"},
	{``, `(?i)fits? (in|into|on|within)\b`, "literal: size"},
	{`^cmd/gatehouse/(sample|testdata/(apis|relying-parties))/`, `(?i)\bapps?\b`, "they are applications"},
}
