package jwt

import (
	"fmt"
)

// The bounds of JSON that is read before its sender is authenticated.
const (
	maxDepth    = 20
	maxElements = 2000
)

// CheckJSON refuses JSON that costs more to read than what real clients send: a value that is nested deeper than 20, an object
// or array with more than the given number of members, or more than 2000 of them in all. It allocates nothing and does not check
// the syntax, which is left to the decoder. The error is for the developer, to follow the name of the value.
func CheckJSON(raw []byte, members int) error {
	var counts [maxDepth]int
	depth, total := 0, 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			for i++; i < len(raw) && raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			if depth == maxDepth {
				return fmt.Errorf("is nested deeper than %d", maxDepth)
			}
			counts[depth] = 1
			depth++
		case '}', ']':
			depth = max(depth-1, 0)
		case ',':
			if depth == 0 {
				continue
			}
			counts[depth-1]++
			total++
			if counts[depth-1] > members {
				return fmt.Errorf("has an object or array with more than %d members", members)
			}
			if total > maxElements {
				return fmt.Errorf("has more than %d members in all", maxElements)
			}
		}
	}
	return nil
}
