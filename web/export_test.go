package web

import "gatehouse/oauth"

// Patterns returns the pattern of every route.
func Patterns() []string {
	var patterns []string
	for _, rt := range (&Server{oauth: &oauth.Server{}}).routes() {
		patterns = append(patterns, rt.pattern)
	}
	return patterns
}
