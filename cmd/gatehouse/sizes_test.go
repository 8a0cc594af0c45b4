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

// allowedSizes are the numbers of files, functions and lines that are still too long. They only shrink.
var allowedSizes = map[string]int{
	"files": 0, "test files": 0,
	"functions": 0, "test functions": 4,
	"lines": 0, "test lines": 85, "other lines": 0,
}

func TestSizes(t *testing.T) {
	t.Parallel()
	tooLong := map[string][]string{}
	for name, content := range repositoryFiles(t) {
		if !strings.HasSuffix(name, ".go") {
			tooLong["other lines"] = append(tooLong["other lines"], longLines(name, content)...)
			continue
		}
		kind := ""
		if isTest(name) {
			kind = "test "
		}
		add := func(what string, line, size int) {
			tooLong[kind+what] = append(tooLong[kind+what], fmt.Sprintf("%s:%d: %d", name, line, size))
		}
		tooLong[kind+"lines"] = append(tooLong[kind+"lines"], longLines(name, content)...)
		if n := strings.Count(content, "\n"); n > maxFileLines {
			add("files", 1, n)
		}
		positions := token.NewFileSet()
		file, err := parser.ParseFile(positions, name, content, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				first, last := positions.Position(f.Pos()).Line, positions.Position(f.End()).Line
				if size := last - first + 1; size > maxFunctionLines {
					add("functions", first, size)
				}
			}
		}
	}
	for what, allowed := range allowedSizes {
		found := tooLong[what]
		slices.Sort(found)
		shown := found
		if !*allSizes {
			shown = found[:min(len(found), 20)]
		}
		switch {
		case len(found) > allowed || *allSizes:
			t.Errorf("%d %s are too long, %d are allowed (all with -sizes):\n%s", len(found), what, allowed,
				strings.Join(shown, "\n"))
		case len(found) < allowed:
			t.Logf("%s: lower the allowed number from %d to %d", what, allowed, len(found))
		}
	}
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
