package display_test

import (
	"strings"
	"testing"

	"gatehouse/display"
)

func TestNearestFindsMisspeltNames(t *testing.T) {
	t.Parallel()
	names := []string{"ISSUER", "LISTEN", "ADMIN_LISTEN", "DATABASE_URL", "SECRET_KEY", "SECRET_KEY_FILE"}
	for name, want := range map[string]string{
		"ISUER": "ISSUER", "ISSEUR": "ISSUER", "LISTN": "LISTEN", "DATABASE": "DATABASE_URL",
		"SECRET_KEY_FLE": "SECRET_KEY_FILE", "SECRETKEY": "SECRET_KEY",
		"SECRET_KEX": "SECRET_KEY", "COLOUR": "", "X": "", "": "", strings.Repeat("X", 100_000): "",
	} {
		if got := display.Nearest(name, names); got != want {
			t.Errorf("Nearest(%.20q) = %q, want %q", name, got, want)
		}
	}
}
