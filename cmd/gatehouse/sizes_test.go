package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var allSizes = flag.Bool("sizes", false, "TestSizes lists everything that is too long, also what is allowed")

// The limits of CONTRIBUTING.md. Nested function literals count for the function around them.
const (
	maxFileLines     = 400
	maxFunctionLines = 60
	maxLineColumns   = 120 // a tab is one column
)

// allowedSizes are the numbers of files, functions and lines that are still too long, by kind. A kind without a number
// has no exceptions. The numbers only shrink.
var allowedSizes = map[string]int{}

func TestSizes(t *testing.T) {
	t.Parallel()
	tooLong := map[string][]string{}
	for name, content := range repositoryFiles(t) {
		if !strings.HasSuffix(name, ".go") {
			tooLong["other lines"] = append(tooLong["other lines"], longLines(name, content)...)
			continue
		}
		prefix := ""
		if isTest(name) {
			prefix = "test "
		}
		tooLong[prefix+"lines"] = append(tooLong[prefix+"lines"], longLines(name, content)...)
		tooLong[prefix+"functions"] = append(tooLong[prefix+"functions"], longFunctions(t, name, content)...)
		if n := strings.Count(content, "\n"); n > maxFileLines {
			tooLong[prefix+"files"] = append(tooLong[prefix+"files"], fmt.Sprintf("%s:1: %d", name, n))
		}
	}
	for kind, found := range tooLong {
		slices.Sort(found)
		shown := found
		if !*allSizes {
			shown = found[:min(len(found), 20)]
		}
		switch allowed := allowedSizes[kind]; {
		case len(found) > allowed || *allSizes && len(found) > 0:
			t.Errorf("%d %s are too long, %d are allowed (all with -sizes):\n%s", len(found), kind, allowed,
				strings.Join(shown, "\n"))
		case len(found) < allowed:
			t.Errorf("%d %s are too long, %d are allowed: lower the allowed number", len(found), kind, allowed)
		}
	}
}

// longFunctions returns the functions of a file that have too many lines.
func longFunctions(t *testing.T, name, content string) (found []string) {
	t.Helper()
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, name, content, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			first, last := positions.Position(f.Pos()).Line, positions.Position(f.End()).Line
			if size := last - first + 1; size > maxFunctionLines {
				found = append(found, fmt.Sprintf("%s:%d: %d", name, first, size))
			}
		}
	}
	return found
}

// longLines returns the lines of a file that have too many columns. It checks Go, SQL, shell, the Makefile, and the
// paragraphs of Markdown: not tables, code blocks, HTML, nor lines with a URL.
func longLines(name, content string) (found []string) {
	markdown := strings.HasSuffix(name, ".md")
	switch {
	case markdown, strings.HasSuffix(name, ".go"), strings.HasSuffix(name, ".sql"), strings.HasSuffix(name, ".sh"):
	case name == "Makefile":
	default:
		return nil
	}
	n, inCode := 0, false
	for line := range strings.Lines(content) {
		n++
		columns := utf8.RuneCountInString(strings.TrimSuffix(line, "\n"))
		if markdown {
			text := strings.TrimLeft(line, " ")
			if strings.HasPrefix(text, "```") {
				inCode = !inCode
			}
			if inCode || strings.HasPrefix(line, "    ") || strings.HasPrefix(text, "|") || strings.HasPrefix(text, "<") ||
				strings.Contains(line, "://") {
				continue
			}
		}
		if columns > maxLineColumns {
			found = append(found, fmt.Sprintf("%s:%d: %d", name, n, columns))
		}
	}
	return found
}
