package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/storage/storagetest"
)

// testCommand matches a go test command that selects tests: the pattern, and the packages after it.
var testCommand = regexp.MustCompile(`go test [^\n]*-run '?([A-Za-z|/()^$._0-9]+)'?([^\n&#` + "`" + `]*)`)

// globFiles returns the files below the root of the repository that match a pattern.
func globFiles(t *testing.T, patterns ...string) (files []string) {
	t.Helper()
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join("..", "..", pattern))
		storagetest.Must(t, err)
		files = append(files, found...)
	}
	return files
}

// TestDocumentsAndScriptsSelectExistingTests checks that each alternative of a -run pattern in a script or document
// matches a test. A renamed test would otherwise no longer run there.
func TestDocumentsAndScriptsSelectExistingTests(t *testing.T) {
	t.Parallel()
	selected := 0
	for _, file := range globFiles(t, "Makefile", "*.md", "docs/*.md", "scripts/*.sh") {
		for _, m := range testCommand.FindAllStringSubmatch(readFile(t, file), -1) {
			var names []string
			for dir := range strings.FieldsSeq(m[0]) {
				if strings.HasPrefix(dir, "./") {
					names = append(names, testNames(t, filepath.Join("..", "..", dir))...)
				}
			}
			for alternative := range strings.SplitSeq(m[1], "|") {
				if alternative == "^$" {
					continue // selects only benchmarks
				}
				name, _, _ := strings.Cut(alternative, "/")
				pattern, err := regexp.Compile(name)
				if err != nil {
					t.Errorf("%s: -run %s: %v", file, m[1], err)
				} else if !slices.ContainsFunc(names, pattern.MatchString) {
					t.Errorf("%s: -run %s matches no test in %q", file, alternative, m[0])
				}
				selected++
			}
		}
	}
	if selected < 10 {
		t.Errorf("the files have %d -run patterns that testCommand matches, want at least 10", selected)
	}
}

// testFunction matches the declaration of a test.
var testFunction = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)

// testNames returns the names of the tests in a directory.
func testNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	storagetest.Must(t, err)
	for _, file := range files {
		for _, m := range testFunction.FindAllStringSubmatch(readFile(t, file), -1) {
			names = append(names, m[1])
		}
	}
	return names
}

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
	markdownHead = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInAnchor  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestDocumentLinksResolve checks every relative link of the documents: the file and the heading exist.
func TestDocumentLinksResolve(t *testing.T) {
	t.Parallel()
	for _, file := range globFiles(t, "*.md", "docs/*.md", "docs/*/*.md") {
		for _, m := range markdownLink.FindAllStringSubmatch(readFile(t, file), -1) {
			link := m[1] + m[2]
			if strings.Contains(link, ":") {
				continue // a URL
			}
			path, anchor, _ := strings.Cut(link, "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			info, err := os.Stat(target)
			if err != nil {
				t.Errorf("%s links to %s, which does not exist", file, link)
				continue
			}
			if anchor != "" && !info.IsDir() && !slices.Contains(anchors(t, target), anchor) {
				t.Errorf("%s links to %s, but the file has no such heading", file, link)
			}
		}
	}
}

// anchors returns the anchors of the headings of a Markdown file, as GitHub derives them.
func anchors(t *testing.T, file string) (names []string) {
	t.Helper()
	for _, m := range markdownHead.FindAllStringSubmatch(readFile(t, file), -1) {
		name := notInAnchor.ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}
