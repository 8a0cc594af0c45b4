package main

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var allWords = flag.Bool("words", false, "list every discouraged word in TestWords, also those that are still allowed")

// A wordRule is a discouraged word or phrase of CONTRIBUTING.md, "Language". The pattern is matched without case, at word
// boundaries, on each line and on the line with its camelCase names split into words.
type wordRule struct {
	pattern string
	write   string
	// allowed is the number of occurrences that are left. It only shrinks.
	allowed int
}

// wordsEverywhere are discouraged in every file, pages for users included.
var wordsEverywhere = []wordRule{
	{`anew|afresh`, "again, re-create, re-encrypt, re-register", 9},
	{`for ever`, "indefinitely, never expires; an infinite loop", 14},
	{`mend(s|ed|ing)?|cure[sd]?`, "fix", 4},
	{`strangers?`, "untrusted client, third party", 50},
	{`thief|thieves`, "attacker", 39},
	{`whoever|whomever`, "the client, the caller, an attacker", 25},
	{`lest|seldom|thereby`, "so that … not; rarely; rephrase", 3},
	{`to the letter`, "exactly, byte for byte", 5},
	{`used up|spent`, "consumed", 10},
	{`(is|are|was|were|be|been|goes|went|stays?) away`, "unavailable, unreachable", 18},
	{`once more|again and again|over and over`, "retry, repeatedly, every minute", 7},
	{`by (itself|themselves)`, "automatically, on its own; dynamically registered", 19},
	{`beside`, "alongside, next to, in addition to", 24},
	{`but for`, "except", 9},
	{`good for`, "valid for", 4},
	{`worth nothing|useless`, "revoked, expired, invalid", 18},
	{`in (its|their) turn|takes? (a|its|their) (place|turn)`, "acquires the semaphore, acquires a slot", 4},
	{`told|tells?|telling|tell ?tale`, "report, return, send, log, notify", 160},
	{`in other letters`, "in a different case", 4},
	{`hand(s|ed|ing)? out`, "issue", 7},
	{`look(s|ed|ing)? at`, "check, poll, read", 9},
	{`key ?sets?`, "JWKS", 61},
	{`meant for`, "intended for; has X in `aud`", 16},
	{`folders?`, "directory", 7},
	{`instants?`, "time, timestamp", 5},
	{`at once`, "immediately; concurrently", 81},
	{`meanwhile`, "concurrently, in the meantime", 13},
	{`of ours|our own`, "Gatehouse's, built-in; usually nothing", 24},
	{`(goes|go|went|going|gone) on`, "continues, keeps running", 33},
	{`(asks?|asked|asking) for`, "request", 70},
	{`t(ake|akes|aken|ook|aking) away|lets? go`, "remove, revoke, delete, release", 9},
}

// wordsTechnical are everyday words: fine on pages for users, discouraged elsewhere.
var wordsTechnical = []wordRule{
	{`somebody|someone|nobody|anybody|anyone|everybody|everyone`, "the client, the caller, an attacker; none, no user", 144},
	{`persons?|people`, "user, users; resource owner where the RFC does", 333},
	{`says?|said|saying`, "specifies, sets, states, returns", 105},
	{`asks?|asked|asking`, "query, call, check; prompt (a user); request", 269},
	{`answer(s|ed|ing)?`, "response, respond, return", 244},
	{`dead`, "revoked, expired, invalid", 49},
	{`alive`, "active", 19},
	{`life|lives`, "lifetime, TTL, expires after, is valid for", 45},
	{`mistakes?|mistaken`, "error, invalid value", 39},
	{`guessing`, "brute force", 6},
	{`fits?|fitting`, "matches", 29},
	{`(is|are|was|were|stays|log|itself) whole`, "complete, intact, verified", 6},
	{`knows?|knew`, "registered, supported; has, can read", 45},
	{`kept`, "stored, cached, retained, queued", 76},
	{`held`, "stored, locked, owned", 28},
	{`(right|good|wrong) (tokens?|secrets?|codes?|keys?|signatures?|credentials?)`, "valid, correct, invalid", 18},
	{`forgets?|forgotten|forgot`, "clear, evict, delete", 38},
	{`remembers?|remembering`, "cache, store", 11},
	{`rooms?`, "slot, capacity, buffer", 27},
	{`by address`, "by URL", 3},
	{`refresh lines?|lines? of (refresh )?tokens`, "token family", 12},
	{`(a|the) faults? (of|is|are) ours`, "an internal error", 6},
	{`the wait doubles|doubles the wait`, "exponential backoff", 7},
	{`gates?|doors?|house|twins?|neighbours?`, "a literal word instead of the metaphor", 20},
}

// wordsInCode are discouraged in code and its comments; documents and pages may speak of applications.
var wordsInCode = []wordRule{
	{`apps?`, "client", 825},
	{`machines?`, "client credentials client, service; host", 453},
	{`func (Test|Fuzz|Benchmark) (The|An?) [A-Z][A-Za-z]*`, "Test + subject + expected behaviour, without an article", 30},
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

// repositoryFiles returns the files to check: path from the root of the repository, and content.
func repositoryFiles(t *testing.T) map[string]string {
	t.Helper()
	skip := []string{
		".git", "bin", "node_modules", "gatehouse-data", "target",
		"oauth/internal/oryx",               // not written here
		"cmd/gatehouse/words_test.go",       // the list itself
		"CHANGELOG.md", "LICENSE", "go.sum", // history quotes old words
	}
	files := map[string]string{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), "../../")
		switch {
		case slices.Contains(skip, name) || slices.Contains(skip, d.Name()):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(b), "\x00") {
			files[name] = string(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// splitCamelCase puts spaces between the words of camelCase names: TestAClientID becomes Test A Client ID.
func splitCamelCase(line string) string {
	return initialismEnd.ReplaceAllString(wordStart.ReplaceAllString(line, "$1 $2"), "$1 $2")
}

var (
	wordStart     = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	initialismEnd = regexp.MustCompile(`([A-Z])([A-Z][a-z])`)
)

func TestWords(t *testing.T) {
	t.Parallel()
	type exception struct{ file, text *regexp.Regexp }
	var exceptions []exception
	for _, e := range wordExceptions {
		exceptions = append(exceptions, exception{regexp.MustCompile(e.file), regexp.MustCompile(e.text)})
	}
	rules := slices.Concat(wordsEverywhere, wordsTechnical, wordsInCode)
	var patterns []*regexp.Regexp
	var union []string
	for _, r := range rules {
		patterns = append(patterns, regexp.MustCompile(`(?i)\b(?:`+r.pattern+`)\b`))
		union = append(union, r.pattern)
	}
	any := regexp.MustCompile(`(?i)\b(?:` + strings.Join(union, "|") + `)\b`)
	found := make([][]string, len(rules))
	check := func(file, position, line string) {
		applicable := len(rules)
		switch {
		case strings.HasPrefix(file, "templates/") && !strings.HasSuffix(file, ".go"):
			applicable = len(wordsEverywhere)
		case strings.HasSuffix(file, ".md"):
			applicable -= len(wordsInCode)
		}
		split := splitCamelCase(line)
		if !any.MatchString(split) {
			return
		}
		for _, e := range exceptions {
			if e.file.MatchString(file) {
				split = e.text.ReplaceAllString(split, "")
			}
		}
		for i, r := range rules[:applicable] {
			for _, word := range patterns[i].FindAllString(split, -1) {
				found[i] = append(found[i], fmt.Sprintf("%s: %q, write: %s", position, word, r.write))
			}
		}
	}
	for name, content := range repositoryFiles(t) {
		check(name, name, strings.NewReplacer("-", " ", "_", " ", "/", " ").Replace(name))
		n := 0
		for line := range strings.Lines(content) {
			n++
			check(name, name+":"+strconv.Itoa(n), line)
		}
	}
	for i, r := range rules {
		slices.SortFunc(found[i], cmp.Compare[string])
		switch n := len(found[i]); {
		case n > r.allowed || *allWords:
			t.Errorf("%d occurrences of %q (allowed %d):\n%s", n, r.pattern, r.allowed, strings.Join(found[i], "\n"))
		case n < r.allowed:
			t.Logf("%q: lower allowed from %d to %d", r.pattern, r.allowed, n)
		}
	}
}
