package display

import "strings"

// minPrefix is the minimum length of a prefix that suggests a longer name.
const minPrefix = 4

// Nearest returns the candidate most similar to a misspelt name: the one with the smallest edit distance, if that is
// at most a third of the length of the name, or one that begins with the name. It returns "" if there is none.
func Nearest(name string, candidates []string) string {
	best, least := "", len(name)/3+1
	for _, c := range candidates {
		d := editDistance(name, c, least)
		if len(name) >= minPrefix && strings.HasPrefix(c, name) {
			d = min(d, least-1) // the beginning of a longer name, unless another one is nearer
		}
		if d < least {
			best, least = c, d
		}
	}
	return best
}

// DidYouMean returns the suggestion to append to an error about an unknown name, or "".
func DidYouMean(name string, candidates []string) string {
	if near := Nearest(name, candidates); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// editDistance returns the number of insertions, deletions, substitutions and swaps of adjacent characters that change
// a to b. Names whose lengths differ by limit or more are not compared.
func editDistance(a, b string, limit int) int {
	if max(len(a), len(b))-min(len(a), len(b)) >= limit {
		return limit
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
