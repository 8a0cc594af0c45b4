package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// repositoryFiles returns the files to check: path from the root of the repository, and content.
func repositoryFiles(t *testing.T) map[string]string {
	t.Helper()
	skip := []string{
		".git", "bin", "node_modules", "gatehouse-data", "target",
		"oauth/internal/oryx",            // third-party code
		"cmd/gatehouse/wordlist_test.go", // the list itself
		"LICENSE", "go.sum", "package-lock.json",
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

// A word is one lower-case word of a line. A phrase does not continue at a word that starts it: one after punctuation.
type word struct {
	text   string
	starts bool
}

// splitWords returns the words of a line. An underscore is part of a word, so that token_person is one; camelCase names
// are split: TestAClientID has the words test, a, client and id.
func splitWords(line string) (words []word) {
	starts, begin := true, -1
	end := func(i int) {
		if begin >= 0 {
			words = append(words, word{strings.ToLower(line[begin:i]), starts})
			starts, begin = false, -1
		}
	}
	var before rune
	for i, r := range line {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_':
			next, _ := utf8.DecodeRuneInString(line[i+utf8.RuneLen(r):])
			if begin >= 0 && unicode.IsUpper(r) && (!unicode.IsUpper(before) && before != '_' || unicode.IsLower(next)) {
				end(i)
			}
			if begin < 0 {
				begin = i
			}
		default:
			end(i)
			starts = starts || r != ' ' && r != '\t'
		}
		before = r
	}
	end(len(line))
	return words
}

// expandPhrases returns the phrases of a rule with each combination of their alternatives.
func expandPhrases(phrases string) (all []string) {
	for phrase := range strings.SplitSeq(phrases, ", ") {
		expanded := []string{""}
		for alternatives := range strings.FieldsSeq(phrase) {
			var longer []string
			for _, prefix := range expanded {
				for w := range strings.SplitSeq(alternatives, "/") {
					longer = append(longer, strings.TrimSpace(prefix+" "+w))
				}
			}
			expanded = longer
		}
		all = append(all, expanded...)
	}
	return all
}

const longestPhrase = 4 // words

// isTest reports whether a file is a test or belongs to a package for tests.
func isTest(name string) bool {
	forTests := []string{"testdata/", "storagetest/", "servertest/", "redistest/"}
	return strings.HasSuffix(name, "_test.go") ||
		slices.ContainsFunc(forTests, func(dir string) bool { return strings.Contains(name, dir) })
}

// wordRules returns every rule, and the index of the rule of each phrase.
func wordRules() (rules []wordRule, indexOf map[string]int) {
	rules = slices.Concat(wordsEverywhere, wordsTechnical, wordsInCode, wordsInProduct)
	indexOf = map[string]int{}
	for i, r := range rules {
		for _, phrase := range expandPhrases(r.phrases) {
			indexOf[phrase] = i
		}
	}
	return rules, indexOf
}

// applicableRules returns how many rules apply to a file: the first ones.
func applicableRules(name string) int {
	switch {
	case strings.HasPrefix(name, "templates/messages/") && name != "templates/messages/en.json": // other languages
		return 0
	case strings.HasPrefix(name, "templates/") && !strings.HasSuffix(name, ".go"):
		return len(wordsEverywhere)
	case strings.HasSuffix(name, ".md"):
		return len(wordsEverywhere) + len(wordsTechnical)
	case isTest(name):
		return len(wordsEverywhere) + len(wordsTechnical) + len(wordsInCode)
	default:
		return len(wordsEverywhere) + len(wordsTechnical) + len(wordsInCode) + len(wordsInProduct)
	}
}

// findPhrases returns the phrases of a line that have one of the first rules.
func findPhrases(line string, indexOf map[string]int, applicable int) (found []string) {
	words := splitWords(line)
	for i := range words {
		phrase := ""
		for j := i; j < min(i+longestPhrase, len(words)) && (j == i || !words[j].starts); j++ {
			phrase = strings.TrimSpace(phrase + " " + words[j].text)
			if rule, ok := indexOf[phrase]; ok && rule < applicable {
				found = append(found, phrase)
			}
		}
	}
	return found
}

// removeExceptions replaces the exceptions of a file in a line.
func removeExceptions(name, line string) string {
	for _, e := range wordExceptions {
		if e.file.MatchString(name) {
			line = e.text.ReplaceAllString(line, "*")
		}
	}
	return line
}

func TestWords(t *testing.T) {
	t.Parallel()
	rules, indexOf := wordRules()
	found := make([][]string, len(rules))
	for name, content := range repositoryFiles(t) {
		applicable := applicableRules(name)
		check := func(position, line string) {
			if findPhrases(line, indexOf, applicable) == nil {
				return
			}
			for _, phrase := range findPhrases(removeExceptions(name, line), indexOf, applicable) {
				i := indexOf[phrase]
				found[i] = append(found[i], fmt.Sprintf("%s: %q, write: %s", position, phrase, rules[i].write))
			}
		}
		check(name, strings.NewReplacer("-", " ", "_", " ").Replace(name))
		n := 0
		for line := range strings.Lines(content) {
			n++
			check(name+":"+strconv.Itoa(n), line)
		}
	}
	for i, r := range rules {
		slices.Sort(found[i])
		if n := len(found[i]); n > 0 {
			t.Errorf("%d occurrences of %q:\n%s", n, r.phrases, strings.Join(found[i], "\n"))
		}
	}
}
