// Package commonpassword decides which passwords an attacker tries first: those of a list of common and breached ones,
// close variants of them, simple patterns, and those that consist of names that belong to the user or the server. The
// list has the first 5 bytes of the SHA-256 of each password, sorted: a password that is not in it is found by accident
// once in 20 million lookups. What a user is shown is left to the callers.
package commonpassword

import (
	"crypto/sha256"
	_ "embed" // the list
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

//go:generate sh ../../scripts/common-passwords.sh

//go:embed passwords.bin
var list string

const (
	hashSize = 5 // bytes of each entry of the list
	minEntry = 4 // characters of the shortest password or name that is looked up
	// maxAdded is how many characters next to a common password or a name do not make a password acceptable.
	maxAdded = 6
)

// Contains reports whether the list has the password, regardless of case.
func Contains(password string) bool {
	sum := sha256.Sum256([]byte(strings.ToLower(password)))
	hash := string(sum[:hashSize])
	n := len(list) / hashSize
	entry := func(i int) string { return list[i*hashSize : (i+1)*hashSize] }
	i := sort.Search(n, func(i int) bool { return entry(i) >= hash })
	return i < n && entry(i) == hash
}

// IsCommon reports whether a password is in the list, a variant of one in it, or a simple pattern. Variants have
// another case, separators, letters replaced by digits and signs that look similar, or a few characters before or
// after.
func IsCommon(password string) bool {
	s := strings.ToLower(password)
	if isPattern(s) {
		return true
	}
	core := strings.TrimFunc(s, func(r rune) bool { return !unicode.IsLetter(r) })
	variants := spellings(s)
	if before, after, _ := strings.Cut(s, core); utf8.RuneCountInString(before+after) <= maxAdded ||
		Contains(before+after) {
		variants = append(variants, spellings(core)...)
	}
	for _, v := range variants {
		if utf8.RuneCountInString(v) >= minEntry && (Contains(v) || Contains(period(v))) {
			return true
		}
	}
	return false
}

// IsPersonal reports whether a password consists of the names and, in addition, of a few characters or of a common
// password. Names with fewer than three characters are ignored.
func IsPersonal(password string, names []string) bool {
	var folded []string
	for _, name := range names {
		if name = lettersAndDigits(strings.ToLower(name)); utf8.RuneCountInString(name) >= minEntry-1 {
			folded = append(folded, name)
		}
	}
	slices.SortFunc(folded, func(a, b string) int { return len(b) - len(a) }) // a name may be a part of another
	for _, s := range spellings(strings.ToLower(password)) {
		rest := s
		for _, name := range folded {
			rest = strings.ReplaceAll(rest, name, "")
		}
		if rest != s && (utf8.RuneCountInString(rest) <= maxAdded || IsCommon(rest)) {
			return true
		}
	}
	return false
}

// spellings returns what a lower-case password may stand for: as it is, without separators, and with letters in place
// of the digits and signs that look like them.
func spellings(s string) []string {
	letters := strings.NewReplacer("0", "o", "3", "e", "4", "a", "@", "a", "5", "s", "$", "s", "7", "t").Replace(s)
	return []string{
		s, lettersAndDigits(s),
		lettersAndDigits(strings.NewReplacer("1", "i", "!", "i").Replace(letters)),
		lettersAndDigits(strings.NewReplacer("1", "l", "!", "l").Replace(letters)),
	}
}

// lettersAndDigits returns the letters and digits of a string.
func lettersAndDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, s)
}

// isPattern reports whether a password has at most two different characters, repeats a few characters, or runs through
// an alphabet or the digits in one direction.
func isPattern(s string) bool {
	runes := []rune(s)
	different, up, down := map[rune]bool{}, true, true
	for i, r := range runes {
		different[r] = true
		up = up && (i == 0 || r == runes[i-1]+1 || runes[i-1] == '9' && r == '0')
		down = down && (i == 0 || r == runes[i-1]-1 || runes[i-1] == '0' && r == '9')
	}
	return len(different) <= 2 || up || down || len([]rune(period(s))) <= maxAdded && len(runes) > maxAdded
}

// period returns the shortest string whose repetition s begins with, or s if it does not repeat.
func period(s string) string {
	for i := 1; i <= len(s)/2; i++ {
		if strings.HasPrefix(s, s[i:]) && utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s
}
