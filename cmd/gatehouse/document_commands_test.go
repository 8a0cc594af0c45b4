package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/storage/storagetest"
)

// documentCommand matches a command of a document: in a code block, with continued lines, or inline.
var documentCommand = regexp.MustCompile("(?m)^    gatehouse ((?:.*\\\\\n)*.*)$|`gatehouse ([^`]+)`")

// documentCommands returns the gatehouse commands that a document prints, in their order, as a shell parses them. It
// leaves out `serve` and `dev`, which do not end, and inline commands with a placeholder such as … or ID.
func documentCommands(t *testing.T, document string) [][]string {
	t.Helper()
	placeholder := regexp.MustCompile(`…|\b[A-Z]{2,}\b|--metadata|^(serve|dev)\b`)
	var commands [][]string
	for _, m := range documentCommand.FindAllStringSubmatch(document, -1) {
		text := m[1]
		if text == "" {
			text = strings.ReplaceAll(m[2], "\n", " ")
		}
		if placeholder.MatchString(text) {
			continue
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\0' `+text).Output()
		storagetest.Must(t, err)
		commands = append(commands, strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"))
	}
	return commands
}

// TestRelyingPartyPagesPrintValidCommands runs the commands of each page in docs/relying-parties with a database that
// has the user alice.
func TestRelyingPartyPagesPrintValidCommands(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/relying-parties/*.md")
	storagetest.Must(t, err)
	if len(files) == 0 {
		t.Fatal("there are no pages in docs/relying-parties")
	}
	for _, file := range files {
		page := filepath.Base(file)
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			commands := documentCommands(t, readFile(t, file))
			if len(commands) == 0 {
				t.Fatalf("%s prints no gatehouse command", page)
			}
			env := map[string]string{
				"GATEHOUSE_ISSUER": "https://id.example.com", "GATEHOUSE_SECRET_KEY": keyText,
				"GATEHOUSE_DATABASE_URL":    "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db"),
				"GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1/32",
			}
			createUser(t, env, "alice", rpPassword)
			for _, args := range commands {
				if _, stderr, code := command(t, env, "", args...); code != exitOK {
					t.Errorf("gatehouse %s: exit %d, want 0: %s", strings.Join(args, " "), code, stderr)
				}
			}
		})
	}
}

// TestRelyingPartyPagesNameTestedVersions compares the versions in the pages with those that the tests run.
func TestRelyingPartyPagesNameTestedVersions(t *testing.T) {
	t.Parallel()
	for program, version := range map[string]*regexp.Regexp{
		"oauth2-proxy": regexp.MustCompile(`Tested with oauth2-proxy (\S+) `),
		"kubernetes":   regexp.MustCompile("`k8s.io/apiserver` (\\S+)\\)"),
	} {
		pinned := readFile(t, filepath.Join("testdata/relying-parties", program, "go.mod"))
		named := version.FindStringSubmatch(readFile(t, filepath.Join("../../docs/relying-parties", program+".md")))
		if named == nil || !strings.Contains(pinned, " v"+named[1]+"\n") && !strings.Contains(pinned, " v"+named[1]+" ") {
			t.Errorf("docs/relying-parties/%s.md has %q, want the version in go.mod", program, named)
		}
	}
}
