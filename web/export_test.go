package web

import "gatehouse/oauth"

// SelfServicePatterns returns the patterns of the pages of selfservice.
func SelfServicePatterns() []string {
	var patterns []string
	for _, rt := range (&Server{}).selfServiceRoutes() {
		patterns = append(patterns, rt.pattern)
	}
	return patterns
}

// Patterns returns the pattern of every route.
func Patterns() []string {
	var patterns []string
	for _, rt := range (&Server{oauth: &oauth.Server{}}).routes() {
		patterns = append(patterns, rt.pattern)
	}
	return patterns
}
