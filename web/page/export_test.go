package page

import (
	"regexp"
	"testing"
)

var accentRules = regexp.MustCompile(
	`--accent: (#\w+); --accent-ink: (#\w+); --accent-strong: (#\w+); --tint: (#\w+);`)

// LowestContrast returns the lowest contrast of any text in or on an accent color.
func LowestContrast(t *testing.T, accent string) float64 {
	t.Helper()
	style, err := accentStyle(accent)
	if err != nil {
		t.Fatal(err)
	}
	lowest := 21.0
	for i, rules := range accentRules.FindAllStringSubmatch(style, -1) {
		card := []color{lightCard, darkCard}[i]
		var colors []color
		for _, s := range rules[1:] {
			c, err := parseColor(s)
			if err != nil {
				t.Fatal(err)
			}
			colors = append(colors, c)
		}
		accent, ink, strong, tint := colors[0], colors[1], colors[2], colors[3]
		for _, pair := range [][2]color{{accent, card}, {accent, tint}, {strong, card}, {accent, ink}, {strong, ink}} {
			lowest = min(lowest, contrast(pair[0], pair[1]))
		}
	}
	return lowest
}
