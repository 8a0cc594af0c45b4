package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"gatehouse/display"
	"gatehouse/oauth/client"
	"gatehouse/oauth/fetch"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// printJSON writes a record. Characters that a terminal would interpret are escaped.
func (p *program) printJSON(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(p.stdout, display.EscapeLines(b.String()))
	return err
}

// table writes rows under a heading, or the message none when there are no rows.
func (p *program) table(none string, heading []string, rows [][]string) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(p.stderr, none)
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(heading, "\t")))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i := range row {
			cells[i] = display.Escape(row[i])
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// operatorError translates err into a message for the operator about the record.
func operatorError(err error, record string) error {
	var e *protocol.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("there is no %s%s", record, listHint(record))
	case errors.Is(err, storage.ErrConflict):
		return fmt.Errorf("%s exists already", record)
	case errors.As(err, &e) && errors.Is(e.Err, fetch.ErrRefused):
		return errors.New(e.Code + ": " + e.Description + " If it is in your network, add its host to " +
			"GATEHOUSE_FETCH_ALLOW_HOSTS, for this command and for the server.")
	case errors.As(err, &e) && errors.Is(e.Err, client.ErrNoGroup):
		return errors.New(e.Description + " See `gatehouse group list`, or create it with `gatehouse group create`.")
	case errors.As(err, &e) && (e.Err == nil || e.Code == protocol.InvalidClientMetadata):
		return errors.New(e.Code + ": " + e.Description)
	}
	return err
}

// listHint returns a hint that names the command that lists records of the same kind, for an error about a record that
// does not exist.
func listHint(record string) string {
	for kind, command := range map[string]string{
		"attribute": "attribute", "client": "client", "group": "group", "initial access token": "registration-token",
		"resource": "resource", "role": "role", "scope": "scope", "unused invitation": "invite", "user": "user",
	} {
		if strings.HasPrefix(record, kind+" ") {
			return "; see `gatehouse " + command + " list`"
		}
	}
	return ""
}

// counted returns one if n is 1, and otherwise the format several with n.
func counted(n int64, one, several string) string {
	if n == 1 {
		return one
	}
	return fmt.Sprintf(several, n)
}

// formatTime returns a time for a table, "-" for nil.
func formatTime(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// confirm prompts before an irreversible change when standard input is a terminal and --yes was not given. Without a
// terminal it does not prompt, so that scripts from before --yes existed continue to work.
func (p *program) confirm(yes bool, question string) error {
	if yes || !isTerminal(p.stdin) {
		return nil
	}
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	reply, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if reply = strings.ToLower(strings.TrimSpace(reply)); reply != "y" && reply != "yes" {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}

// isTerminal reports whether a stream of the program is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progress returns functions for a progress bar on standard error, if that is a terminal: show draws it, end removes
// it.
func (p *program) progress(description string) (show func(now, total int64), end func()) {
	if !isTerminal(p.stderr) {
		return func(int64, int64) {}, func() {}
	}
	var bar *progressbar.ProgressBar
	return func(now, total int64) {
			if bar == nil {
				bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.stderr),
					progressbar.OptionSetDescription(description), progressbar.OptionShowCount(),
					progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
			}
			_ = bar.Set64(min(now, total)) // the terminal may be closed
		}, func() {
			if bar != nil {
				_ = bar.Finish()
			}
		}
}
