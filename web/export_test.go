package web

// Patterns lists every route there is, with its method where it has one.
func Patterns() []string {
	out := make([]string, 0, len(routes))
	for _, r := range routes {
		out = append(out, r.path)
	}
	return out
}
