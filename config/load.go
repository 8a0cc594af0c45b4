package config

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"gatehouse/display"
)

// Errors has every error in a set of settings, each with what to write instead.
type Errors []string

// Error returns all errors, one per line.
func (e Errors) Error() string {
	return "invalid settings:\n  - " + strings.Join(e, "\n  - ")
}

// MissingSecretKey is the error for a PostgreSQL database without a root key. Load cannot check whether the database is
// new.
const MissingSecretKey = "GATEHOUSE_SECRET_KEY is required with PostgreSQL; set it, or GATEHOUSE_SECRET_KEY_FILE, " +
	"to the key that every other process of this database uses. " +
	"Only for a new database, create one with: openssl rand -base64 32"

// Load builds the settings from the environment and then the flags, which win. flags maps a flag's name without dashes
// to its value and has only the flags that are set. It returns the settings and the warnings that serving them should
// print, or all errors as Errors and the settings that are valid.
func Load(getenv func(string) string, flags map[string]string) (Config, []string, error) {
	var c Config
	var invalid Errors
	var warnings []string
	for _, s := range settings {
		value, source, isSet, err := s.read(getenv, flags)
		if err != nil {
			invalid = append(invalid, err.Error())
			continue
		}
		if err := s.set(&c, value); err != nil {
			invalid = append(invalid, source+": "+err.Error())
			continue
		}
		if isSet && s.pending != "" {
			warnings = append(warnings, source+" is accepted but has no effect yet: "+s.pending+" is not part of this version")
		}
	}
	for _, m := range c.conflicts() {
		// Do not report a setting as missing if its value is invalid.
		name, _, _ := strings.Cut(m, " ")
		if !slices.ContainsFunc(invalid, func(other string) bool { return strings.HasPrefix(other, name) }) {
			invalid = append(invalid, m)
		}
	}
	if len(invalid) > 0 {
		return c, nil, invalid
	}
	return c, append(append(warnings, SecretFlagWarnings(flags)...), c.warnings()...), nil
}

// SecretFlagWarnings returns a warning for each flag whose value is a secret: every user of the host can read the
// arguments of a process.
func SecretFlagWarnings(flags map[string]string) (warnings []string) {
	for _, s := range settings {
		if value, ok := flags[s.flag()]; ok && s.containsSecret(value) {
			warnings = append(warnings,
				"--"+s.flag()+" shows a secret to every user of this host; use "+s.env+" or "+s.env+"_FILE instead")
		}
	}
	return warnings
}

// UnknownSettingWarnings returns a warning for each environment variable, as os.Environ lists them, that starts with
// GATEHOUSE_ but is not a setting, with the most similar name. It ignores the variables that Kubernetes sets for a
// service named gatehouse.
func UnknownSettingWarnings(environ []string) (warnings []string) {
	const prefix, unknown = "GATEHOUSE_", " is not a setting of this version and has no effect"
	var names, short []string
	for _, s := range settings {
		names = append(names, s.env)
		if s.file {
			names = append(names, s.env+"_FILE")
		}
	}
	for _, name := range names {
		short = append(short, strings.TrimPrefix(name, prefix))
	}
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, prefix) || strings.HasPrefix(name, "GATEHOUSE_SERVICE_") ||
			strings.HasPrefix(name, "GATEHOUSE_PORT") {
			continue
		}
		if slices.Contains(names, name) {
			continue
		}
		if near := display.Nearest(strings.TrimPrefix(name, prefix), short); near != "" {
			warnings = append(warnings, name+unknown+"; did you mean "+prefix+near+"?")
			continue
		}
		warnings = append(warnings, name+unknown+"; `gatehouse config print` lists them all")
	}
	return warnings
}

// containsSecret reports whether a value of the setting contains a secret.
func (s setting) containsSecret(value string) bool {
	if s.isSecret() {
		return true
	}
	_, found := redactURL(value)
	return s.secret && found
}

// read returns the value of the setting and its source: the name of the flag, variable or file variable.
func (s setting) read(
	getenv func(string) string, flags map[string]string,
) (value, source string, isSet bool, err error) {
	if v, ok := flags[s.flag()]; ok {
		return v, "--" + s.flag(), true, nil
	}
	v := getenv(s.env)
	if s.file {
		path := getenv(s.env + "_FILE")
		if v != "" && path != "" {
			return "", "", false, fmt.Errorf("%s and %s_FILE are both set; set only one", s.env, s.env)
		}
		if path != "" {
			b, err := os.ReadFile(path)
			if err != nil {
				return "", "", false, fmt.Errorf("%s_FILE: cannot read the file: %w", s.env, err)
			}
			return strings.TrimRight(string(b), "\r\n"), s.env + "_FILE", true, nil
		}
	}
	if v == "" {
		return s.def, s.env, false, nil
	}
	return v, s.env, true, nil
}
