package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/display"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

func (p *program) auditExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Export audit events, oldest first, as JSON lines or CSV",
		Example: "  gatehouse audit export --since 2026-11-01T00:00:00Z --output november.jsonl\n" +
			"  gatehouse audit export --format csv --client \"$CLIENT_ID\" > client.csv",
		Args: exactArgs(),
	}
	flags := addAuditFlags(cmd)
	format := cmd.Flags().String("format", "jsonl", "jsonl or csv")
	output := cmd.Flags().String("output", "-", "the file to write, which must not exist; - for standard output")
	formats := cobra.FixedCompletions([]string{"jsonl", "csv"}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("format", formats) // it fails only without the flag
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *format != "jsonl" && *format != "csv" {
			return usageError{errors.New("--format must be jsonl or csv")}
		}
		return p.withServer(cmd, func(ctx context.Context, s *server.Server) (err error) {
			f, err := p.auditFilter(ctx, s, flags)
			if err != nil {
				return err
			}
			out := p.stdout
			if *output != "-" {
				file, err := os.OpenFile(*output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, file.Sync(), file.Close()) }()
				out = file
			}
			return p.exportAudit(ctx, s.Store, f, *format, out)
		})
	}
	return cmd
}

// exportAudit writes the events of a filter in a format and records the export.
func (p *program) exportAudit(
	ctx context.Context, store *storage.Store, f audit.Filter, format string, out io.Writer,
) error {
	total, err := store.Audit.CountRows(ctx, f)
	if err != nil {
		return err
	}
	show, end := p.progress("exporting")
	defer end()
	buffered := bufio.NewWriterSize(out, 64<<10)
	var w eventWriter = newJSONLinesWriter(buffered)
	if format == "csv" {
		if w, err = newCSVWriter(buffered); err != nil {
			return err
		}
	}
	n := int64(0)
	err = store.Audit.EachRow(ctx, f, func(e audit.Row) error {
		if n++; n%100 == 0 || n == total {
			show(n, total)
		}
		return w.write(e)
	})
	if err = errors.Join(err, w.flush(), buffered.Flush()); err != nil {
		return err
	}
	p.notice(strconv.FormatInt(n, 10) + " events")
	if store.ReadOnly() {
		p.notice("the audit log has no record of this export: the database is read-only")
		return nil
	}
	return store.Audit.RecordExport(ctx, f, n)
}

// eventWriter writes events in one format.
type eventWriter interface {
	write(e audit.Row) error
	flush() error
}

type jsonLinesWriter struct {
	out     io.Writer
	line    *bytes.Buffer
	encoder *json.Encoder // to line
}

func newJSONLinesWriter(out io.Writer) *jsonLinesWriter {
	line := &bytes.Buffer{}
	w := &jsonLinesWriter{out, line, json.NewEncoder(line)}
	w.encoder.SetEscapeHTML(false)
	return w
}

func (w *jsonLinesWriter) write(e audit.Row) error {
	w.line.Reset()
	if err := w.encoder.Encode(newPrintedEvent(e)); err != nil {
		return err
	}
	_, err := io.WriteString(w.out, display.EscapeLines(w.line.String()))
	return err
}

func (w *jsonLinesWriter) flush() error { return nil }

type csvWriter struct{ table *csv.Writer }

var csvColumns = []string{
	"id", "at", "event", "actor", "client_id", "user_id", "grant_id", "scopes", "token", "detail", "request_id", "address",
	"user_agent", "seal",
}

func newCSVWriter(out io.Writer) (*csvWriter, error) {
	w := &csvWriter{csv.NewWriter(out)}
	return w, w.table.Write(csvColumns)
}

func (w *csvWriter) write(e audit.Row) error {
	seal := ""
	if e.Seal != nil {
		seal = strconv.FormatInt(*e.Seal, 10)
	}
	row := []string{
		e.ID, e.At.UTC().Format(time.RFC3339Nano), e.Event, e.Actor, e.ClientID, e.UserID, e.GrantID, e.Scopes, e.Token,
		e.Detail, e.RequestID, e.Address, e.UserAgent, seal,
	}
	for i := range row {
		row[i] = display.Escape(escapeFormula(row[i]))
	}
	return w.table.Write(row)
}

func (w *csvWriter) flush() error {
	w.table.Flush()
	return w.table.Error()
}

// escapeFormula returns a cell that a spreadsheet does not run as a formula: clients choose some of the values, such as
// the user agent.
func escapeFormula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
