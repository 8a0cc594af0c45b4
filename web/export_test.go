package web

// Patterns returns the pattern of every route.
func Patterns() []string {
	var patterns []string
	for _, rt := range (&Server{}).routes() {
		patterns = append(patterns, rt.pattern)
	}
	return patterns
}
