package jwt

import (
	"fmt"
)

// The limits on JSON that is parsed before the client is authenticated.
const (
	maxDepth    = 20
	maxElements = 2000
)

// CheckJSONLimits refuses JSON that is more expensive to parse than real clients send: nested deeper than 20, with an
// object or array that exceeds the given number of members, or with more than 2000 members in total. It allocates
// nothing and does not check the syntax, which the decoder does. The error message continues a sentence that starts
// with the name of the value.
func CheckJSONLimits(raw []byte, members int) error {
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
			counts[depth-1]++ //nolint:gosec // depth is at least 1 here
			total++
			if counts[depth-1] > members { //nolint:gosec // depth is at least 1 here
				return fmt.Errorf("has an object or array with more than %d members", members)
			}
			if total > maxElements {
				return fmt.Errorf("has more than %d members in total", maxElements)
			}
		}
	}
	return nil
}
