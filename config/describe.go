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
	Hidden               bool // a secret, hidden from help because every user of the host can read a command line
}

// Flags returns every setting as a flag, in the order of the table.
func Flags() []Flag {
	var out []Flag
	for _, s := range settings {
		doc := strings.ReplaceAll(s.doc, " in [operate.md](operate.md)", " "+strings.Join(ratelimit.Names(), ", "))
		sentences := strings.Split(strings.TrimSuffix(doc, "."), ". ")
		doc = sentences[0]
		for _, sentence := range sentences[1:] {
			if strings.HasPrefix(sentence, "0 ") { // what 0 means
				doc += "; " + sentence
			}
		}
		doc = strings.ReplaceAll(doc, "`", "")
		if s.pending != "" {
			doc += "; has no effect in this version"
		}
		out = append(out, Flag{Name: s.flag(), Default: s.def, Usage: doc + " (" + s.env + ")", Hidden: s.isSecret()})
	}
	return out
}

// WriteRedacted writes the settings as environment lines, with secrets redacted.
func (c Config) WriteRedacted(w io.Writer) error {
	for _, s := range settings {
		if _, err := fmt.Fprintf(w, "%s=%s\n", s.env, s.get(&c)); err != nil {
			return err
		}
	}
	return nil
}

// RedactedValues returns the settings by environment name, with secrets redacted.
func (c Config) RedactedValues() map[string]string {
	out := make(map[string]string, len(settings))
	for _, s := range settings {
		out[s.env] = s.get(&c)
	}
	return out
}

// Markdown returns the contents of docs/config.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Settings\n\n<!-- Generated from package config by `make golden`; do not edit. -->\n\n" +
		"Every setting is an environment variable and a flag; the flag overrides the variable. Settings marked *file*\n" +
		"can also be read from the file that `…_FILE` names. Settings marked *secret* are redacted by `gatehouse config\n" +
		"print`; their flags work with a warning, because every user of the host can read a command line. `gatehouse\n" +
		"config check` reports all errors together.\n\n" +
		"| Environment | Flag | Default | Meaning |\n|---|---|---|---|\n")
	for _, s := range settings {
		name, flag, def, doc := "`"+s.env+"`", "`--"+s.flag()+"`", "", s.doc
		if s.file {
			name += " *file*"
		}
		if s.isSecret() {
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
