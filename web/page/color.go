package page

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
)

// The colors of style.css that text in the accent color is on.
var (
	lightCard = color{0xff, 0xff, 0xff}
	darkCard  = color{0x1f, 0x26, 0x23}
	darkInk   = color{0x0b, 0x12, 0x0f}
	white     = color{0xff, 0xff, 0xff}
)

// minContrast is that of text (WCAG 2.2, 1.4.3), with a margin for the tint that some text is on.
const minContrast = 5.6

// color is a color in sRGB with channels from 0 to 255.
type color [3]float64

// parseColor parses #rrggbb.
func parseColor(s string) (color, error) {
	b, err := hex.DecodeString(strings.TrimPrefix(s, "#"))
	if err != nil || len(b) != 3 || !strings.HasPrefix(s, "#") {
		return color{}, errors.New("a color must be written as #rrggbb")
	}
	return color{float64(b[0]), float64(b[1]), float64(b[2])}, nil
}

// CheckColor returns an error when s is not a color of the form #rrggbb.
func CheckColor(s string) error {
	_, err := parseColor(s)
	return err
}

// String returns the color as #rrggbb.
func (c color) String() string {
	return fmt.Sprintf("#%02x%02x%02x", int(math.Round(c[0])), int(math.Round(c[1])), int(math.Round(c[2])))
}

// mix returns c with a share of other, from 0 to 1.
func (c color) mix(other color, share float64) color {
	for i := range c {
		c[i] += (other[i] - c[i]) * share
	}
	return c
}

// luminance returns the relative luminance (WCAG 2.2).
func (c color) luminance() float64 {
	linear := func(channel float64) float64 {
		if channel /= 255; channel <= 0.04045 {
			return channel / 12.92
		}
		return math.Pow((channel+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c[0]) + 0.7152*linear(c[1]) + 0.0722*linear(c[2])
}

// contrast returns the contrast ratio of two colors, from 1 to 21.
func contrast(a, b color) float64 {
	high, low := a.luminance(), b.luminance()
	if high < low {
		high, low = low, high
	}
	return (high + 0.05) / (low + 0.05)
}

// readableOn returns the color, mixed with as much of other as text on the ground needs.
func (c color) readableOn(ground, other color) color {
	for share := 0.0; share < 1; share += 0.02 {
		if mixed := c.mix(other, share); contrast(mixed, ground) >= minContrast {
			return mixed
		}
	}
	return other
}

// ink returns the color of text on c.
func (c color) ink() color {
	if contrast(c, white) >= contrast(c, darkInk) {
		return white
	}
	return darkInk
}

// accentStyle returns the rules that replace the accent color in style.css. The color is made darker on light pages and
// lighter on dark ones until text in it is readable.
func accentStyle(accent string) (string, error) {
	c, err := parseColor(accent)
	if err != nil {
		return "", err
	}
	rules := func(accent, card, strongWith color) string {
		return fmt.Sprintf("--accent: %s; --accent-ink: %s; --accent-strong: %s; --tint: %s;",
			accent, accent.ink(), accent.mix(strongWith, 0.2), card.mix(accent, 0.12))
	}
	light, dark := c.readableOn(lightCard, darkInk), c.readableOn(darkCard, white)
	return fmt.Sprintf("\n:root { %s }\n@media (prefers-color-scheme: dark) { :root { %s } }\n",
		rules(light, lightCard, darkInk), rules(dark, darkCard, white)), nil
}
