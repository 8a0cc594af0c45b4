package mail_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/notify/mail"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
	"gatehouse/templates"
)

// TestOperatorReplacesTemplatesOfMails tests PE25: what an operator writes is used, and what is invalid is an error at
// the start that names the file and line or the message.
func TestOperatorReplacesTemplatesOfMails(t *testing.T) {
	t.Parallel()
	write := func(name, content string) string {
		dir := t.TempDir()
		storagetest.Must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		storagetest.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		return dir
	}
	r, err := newRenderer(t, write("mail.txt", "Own text of {{.Brand}}"), time.Now)
	storagetest.Must(t, err)
	m, err := r.Render(opened(storage.MailTest, "en", nil), "id")
	if err != nil || m.Text != "Own text of Acme\n" || !strings.Contains(m.HTML, "<html") {
		t.Errorf("Render with an own mail.txt = %q, %v, want its text and the HTML of the product", m.Text, err)
	}
	for name, x := range map[string]struct{ file, content, want string }{
		"field":   {"mail.html", "<p>\n{{.Nonsense}}</p>", "mail.html:2"},
		"syntax":  {"mail.txt", "{{if}}", "mail.txt:1"},
		"message": {"mail.txt", `{{text "mail.nonsense"}}`, `"mail.nonsense"`},
		"values":  {"mail.txt", `{{text "mail.footer"}}`, `mail.txt:1:2`},
	} {
		_, err := newRenderer(t, write(x.file, x.content), time.Now)
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: NewRenderer = %v, want an error with %q", name, err, x.want)
		}
	}
}

// TestMailsOfProductHaveEveryValue checks what NewRenderer checks only for the files of an operator.
func TestMailsOfProductHaveEveryValue(t *testing.T) {
	t.Parallel()
	if err := mail.Check(renderer(t)); err != nil {
		t.Error(err)
	}
}

// TestEveryMessageOfMailsIsUsed also fails when a kind of email lacks one.
func TestEveryMessageOfMailsIsUsed(t *testing.T) {
	t.Parallel()
	content, err := templates.FS.ReadFile("messages/en.json")
	storagetest.Must(t, err)
	var messages map[string]any
	storagetest.Must(t, json.Unmarshal(content, &messages))
	used := []string{"account", "footer", "expires", "link", "merged", "reset"}
	for _, kind := range storage.MailKinds() {
		used = append(used, kind+".subject", kind+".text", kind+".button")
	}
	for _, change := range storage.FactorChanges {
		used = append(used, storage.MailFactorsChanged+"."+change)
	}
	for key := range messages {
		if name, ok := strings.CutPrefix(key, "mail."); ok && !slices.Contains(used, name) {
			t.Errorf("the message %s is not used", key)
		}
	}
}
