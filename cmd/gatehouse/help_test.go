package main

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelpOfEveryCommandHasValidExamples parses the examples: each is a command line of the command that has it.
func TestHelpOfEveryCommandHasValidExamples(t *testing.T) {
	t.Parallel()
	root := func() *cobra.Command {
		p := &program{stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}
		return p.rootCommand()
	}
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, child := range cmd.Commands() {
			check(child)
		}
		if len(cmd.Commands()) > 0 {
			return
		}
		own := false
		for line := range strings.Lines(cmd.Example) {
			_, args, found := strings.Cut(strings.TrimSpace(line), "gatehouse ")
			if !found {
				continue
			}
			args, _, _ = strings.Cut(args, " #")
			words := shellWords(substitution.ReplaceAllString(args, "x"))
			used, rest, err := root().Find(words)
			if err == nil {
				err = used.ParseFlags(rest)
			}
			if err == nil && used.Args != nil {
				err = used.Args(used, used.Flags().Args())
			}
			if err != nil {
				t.Errorf("example %q of %s: %v", line, cmd.CommandPath(), err)
			}
			own = own || err == nil && used.CommandPath() == cmd.CommandPath()
		}
		if !own {
			t.Errorf("the help of `%s` has no example of the command", cmd.CommandPath())
		}
	}
	check(root())
}

var substitution = regexp.MustCompile(`\$\([^)]*\)`)

// shellWords splits a command line at spaces that are not in single quotes, up to a pipe or redirection.
func shellWords(line string) []string {
	quoted := false
	words := strings.FieldsFunc(line, func(r rune) bool {
		if r == '\'' {
			quoted = !quoted
			return true
		}
		return r == ' ' && !quoted
	})
	if end := slices.IndexFunc(words, func(w string) bool { return w == "|" || w == ">" || w == "<" }); end >= 0 {
		words = words[:end]
	}
	return words
}
