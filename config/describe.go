package config

import (
	"fmt"
	"io"
	"strings"

	"gatehouse/ratelimit"
)

// Flag describes one setting as a command-line flag.
type Flag struct {
	Name, Default, Usage string
	Hidden               bool // a secret, which help does not suggest: everyone on the machine can read a command line
}

// Flags lists every setting as a flag, in the order of the contract.
func Flags() []Flag {
	var out []Flag
	for _, s := range settings {
		doc, _, _ := strings.Cut(strings.ReplaceAll(s.doc, " in [operate.md](operate.md)", " "+strings.Join(ratelimit.Names(), ", ")), ". ")
		if s.pending != "" {
			doc = strings.TrimSuffix(doc, ".") + "; without effect in this version"
		}
		out = append(out, Flag{Name: s.flag(), Default: s.def, Usage: strings.ReplaceAll(strings.TrimSuffix(doc, "."), "`", "") + " (" + s.env + ")", Hidden: s.hidden()})
	}
	return out
}

// Print writes the settings in force as environment lines, secrets redacted.
func (c Config) WriteRedacted(w io.Writer) error {
	for _, s := range settings {
		if _, err := fmt.Fprintf(w, "%s=%s\n", s.env, s.get(&c)); err != nil {
			return err
		}
	}
	return nil
}

// Map is the settings in force by environment name, secrets redacted.
func (c Config) RedactedValues() map[string]string {
	out := make(map[string]string, len(settings))
	for _, s := range settings {
		out[s.env] = s.get(&c)
	}
	return out
}

// Markdown is the text of docs/config.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Settings\n\n<!-- Generated from package config by `make golden`; do not edit. -->\n\n" +
		"Every setting is an environment variable and a flag; the flag wins. Those marked *file* can also be read from the file\n" +
		"that `…_FILE` names. Those marked *secret* are redacted by `gatehouse config print`; their flags work with a warning,\n" +
		"because everyone on the machine can read a command line. `gatehouse config check` reports every mistake at once.\n\n" +
		"| Environment | Flag | Default | Meaning |\n|---|---|---|---|\n")
	for _, s := range settings {
		name, flag, def, doc := "`"+s.env+"`", "`--"+s.flag()+"`", "", s.doc
		if s.file {
			name += " *file*"
		}
		if s.hidden() {
			name += " *secret*"
		}
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		if s.pending != "" {
			doc += " *Accepted with a warning; " + s.pending + " is not part of this version.*"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, flag, def, doc)
	}
	return b.String()
}
