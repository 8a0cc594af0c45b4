package page_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/storage/storagetest"
	"gatehouse/templates"
)

// composedKeys matches the keys of messages that the source composes of parts.
var composedKeys = regexp.MustCompile(`^(claim\.\w+|scope\.\w+|date\.month\.\d+|` +
	`mail\..+|account\.(withdrawn|ended|saved)|activity\.\w+|profile\.problem\.\w+|profile\.[a-z_]+(\.hint)?)$`)

// inlineScripts matches inline scripts and styles, which the Content-Security-Policy blocks.
var inlineScripts = regexp.MustCompile(`(?i)<script>|<script [^s]|<style|\sstyle=|\son[a-z]+=|javascript:`)

func TestTemplatesHaveNoInlineScriptsAndUseEveryMessage(t *testing.T) {
	t.Parallel()
	catalogue, err := templates.FS.ReadFile("messages/en.json")
	storagetest.Must(t, err)
	var messages map[string]any
	storagetest.Must(t, json.Unmarshal(catalogue, &messages))
	names, err := fs.Glob(templates.FS, "*.html")
	storagetest.Must(t, err)
	var all strings.Builder
	for _, name := range names {
		b, err := templates.FS.ReadFile(name)
		storagetest.Must(t, err)
		all.Write(b)
		if name == "mail.html" { // programs that read emails support little else than inline styles
			continue
		}
		if found := inlineScripts.Find(b); found != nil {
			t.Errorf("%s has an inline script or style: %q", name, found)
		}
	}
	for _, pattern := range []string{"../*.go", "../*/*.go", "../../message/*.go"} {
		sources, err := filepath.Glob(pattern)
		storagetest.Must(t, err)
		for _, name := range sources {
			b, err := os.ReadFile(name)
			storagetest.Must(t, err)
			all.Write(b)
		}
	}
	for key := range messages {
		stem := strings.TrimSuffix(strings.TrimSuffix(key, ".title"), ".message")
		used := strings.Contains(all.String(), `"`+key+`"`) || strings.Contains(all.String(), `"`+stem+`"`)
		if !used && !composedKeys.MatchString(key) {
			t.Errorf("no template or handler uses the message %s", key)
		}
	}
}
