package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/display"
	"gatehouse/duration"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

func (a *app) auditCommand() *cobra.Command {
	return a.group("audit", "Read, check and keep the audit log", "", a.auditList(), a.auditExport(), a.auditVerify(), a.auditRetire(), a.auditErase())
}

// auditFilter adds the flags that choose audit rows, and returns what they chose.
func (a *app) auditFilter(cmd *cobra.Command) func(ctx context.Context, s *server.Server) (audit.Filter, error) {
	var f audit.Filter
	var client, user, since, until string
	var token bool
	flags := cmd.Flags()
	flags.StringVar(&f.Event, "event", "", "only this type, like user.signed_in, or all that begin alike, like 'key.*'")
	flags.StringVar(&f.Actor, "actor", "", "only what this actor did, like client:ID, user:SUB or cli:NAME")
	flags.StringVar(&client, "client", "", "only this client: client_id or name")
	flags.StringVar(&user, "user", "", "only this person: username, e-mail address or sub")
	flags.StringVar(&f.GrantID, "grant", "", "only this grant (gid)")
	flags.StringVar(&f.RequestID, "request", "", "only this request id (X-Request-Id)")
	flags.BoolVar(&token, "token-stdin", false, "only the token, code or secret that standard input has: where a leaked one came from")
	flags.StringVar(&since, "since", "", "only what is younger than this: 24h, 7d, or a time like 2026-11-25T08:00:00Z")
	flags.StringVar(&until, "until", "", "only what is older than this: a duration or a time, as --since")
	return func(ctx context.Context, s *server.Server) (audit.Filter, error) {
		var err error
		if f.UserID, err = auditUser(ctx, s, user); err != nil {
			return f, err
		}
		if f.ClientID, err = auditClient(ctx, s, client); err != nil {
			return f, err
		}
		if f.Since, err = moment(since, s.Store.Now()); err != nil {
			return f, usageError{fmt.Errorf("--since: %w", err)}
		}
		if f.Until, err = moment(until, s.Store.Now()); err != nil {
			return f, usageError{fmt.Errorf("--until: %w", err)}
		}
		if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
			return f, usageError{errors.New("--since must be before --until: durations count back from now, so --since is the longer one")}
		}
		if !audit.IsType(f.Event) {
			types := audit.Types()
			return f, usageError{fmt.Errorf("--event: there is no event %s; the types are %s%s",
				f.Event, strings.Join(types, ", "), display.DidYouMean(f.Event, types))}
		}
		if token {
			line, err := bufio.NewReader(io.LimitReader(a.stdin, 1<<20)).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return f, err
			}
			if line = strings.TrimSpace(line); line == "" {
				return f, usageError{errors.New("--token-stdin: standard input is empty")}
			}
			f.Token = audit.TokenReference(line)
		}
		return f, nil
	}
}

// auditClient returns the id of a client by id or name. Any other text is returned as it is: the client may be
// deleted, or unknown to this server and named in a failed request.
func auditClient(ctx context.Context, s *server.Server, idOrName string) (string, error) {
	if idOrName == "" {
		return "", nil
	}
	c, err := findClient(ctx, s.Store, idOrName)
	if errors.Is(err, storage.ErrNotFound) {
		return idOrName, nil
	}
	if err != nil {
		return "", err
	}
	return c.ID, nil
}

// auditUser is the id of a person, who may be deleted by now if it is their sub that is given.
func auditUser(ctx context.Context, s *server.Server, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	u, err := s.Users.User(ctx, name)
	if _, perr := uuid.Parse(name); perr == nil && errors.Is(err, storage.ErrNotFound) {
		return strings.ToLower(name), nil
	}
	return u.ID, operatorError(err, "user "+name)
}

// moment parses a time, or a duration that counts back from now.
func moment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	ago, err := duration.Parse(s)
	if err != nil || ago < 0 || ago > 100*365*24*time.Hour {
		return time.Time{}, fmt.Errorf("%q is neither a duration like 24h or 7d nor a time like 2026-11-25T08:00:00Z", s)
	}
	return now.Add(-ago), nil
}

func (a *app) auditList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List what happened, newest first",
		Example: "  gatehouse audit list --since 24h --event refresh_token.reused\n" +
			"  gatehouse audit list --user alice --since 7d\n" +
			"  printf %s \"$LEAKED\" | gatehouse audit list --token-stdin",
		Args: exactArgs(),
	}
	filter := a.auditFilter(cmd)
	limit := cmd.Flags().Int("limit", 100, "at most so many, 1 to 10000")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *limit < 1 || *limit > 10_000 {
			return usageError{errors.New("--limit must be 1 to 10000; `gatehouse audit export` has no limit")}
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			f, err := filter(ctx, s)
			if err != nil {
				return err
			}
			f.Limit = *limit + 1
			events, err := s.Store.Audit.Rows(ctx, f)
			if err != nil {
				return err
			}
			if len(events) > *limit {
				events = events[:*limit]
				fmt.Fprintf(a.stderr, "gatehouse: these are the newest %d; --limit shows more, `gatehouse audit export` all\n", *limit)
			}
			if *asJSON {
				out := make([]printedEvent, 0, len(events))
				for _, e := range events {
					out = append(out, printed(e))
				}
				return a.printJSON(out)
			}
			var rows [][]string
			for _, e := range events {
				rows = append(rows, []string{e.At.UTC().Format(time.RFC3339), e.Event, e.Actor, e.ClientID, e.UserID, e.Scopes, e.Address, e.Detail})
			}
			return a.table("there are no such events", []string{"at", "event", "actor", "client", "user", "scopes", "address", "detail"}, rows)
		})
	}
	return cmd
}

// printedEvent has the detail of an event as the object that it is.
type printedEvent struct {
	audit.Row

	Detail json.RawMessage `json:"detail,omitempty"`
}

func printed(e audit.Row) printedEvent {
	p := printedEvent{Row: e}
	if json.Valid([]byte(e.Detail)) {
		p.Detail = json.RawMessage(e.Detail)
	}
	return p
}

func (a *app) auditExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Write out what happened, oldest first, as JSON lines or CSV",
		Example: "  gatehouse audit export --since 2026-11-01T00:00:00Z --output november.jsonl\n" +
			"  gatehouse audit export --format csv --client \"$CLIENT_ID\" > client.csv",
		Args: exactArgs(),
	}
	filter := a.auditFilter(cmd)
	format := cmd.Flags().String("format", "jsonl", "jsonl or csv")
	output := cmd.Flags().String("output", "-", "the file to write, which must not exist yet; - for standard output")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"jsonl", "csv"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *format != "jsonl" && *format != "csv" {
			return usageError{errors.New("--format must be jsonl or csv")}
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) (err error) {
			f, err := filter(ctx, s)
			if err != nil {
				return err
			}
			out := a.stdout
			if *output != "-" {
				file, err := os.OpenFile(*output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, file.Sync(), file.Close()) }()
				out = file
			}
			return a.export(ctx, s, f, *format, out)
		})
	}
	return cmd
}

var auditColumns = []string{"id", "at", "event", "actor", "client_id", "user_id", "grant_id", "scopes", "token", "detail", "request_id", "address", "user_agent", "seal"}

func (a *app) export(ctx context.Context, s *server.Server, f audit.Filter, format string, out io.Writer) error {
	total, err := s.Store.Audit.CountRows(ctx, f)
	if err != nil {
		return err
	}
	show, end := a.progress("exporting")
	defer end()
	buffered := bufio.NewWriterSize(out, 64<<10)
	var line bytes.Buffer
	lines, table := json.NewEncoder(&line), csv.NewWriter(buffered)
	lines.SetEscapeHTML(false)
	if format == "csv" {
		if err := table.Write(auditColumns); err != nil {
			return err
		}
	}
	n := int64(0)
	err = s.Store.Audit.EachRow(ctx, f, func(e audit.Row) error {
		if n++; n%100 == 0 || n == total {
			show(n, total)
		}
		if format == "jsonl" {
			if err := lines.Encode(printed(e)); err != nil {
				return err
			}
			_, err := buffered.WriteString(display.EscapeLines(line.String()))
			line.Reset()
			return err
		}
		seal := ""
		if e.Seal != nil {
			seal = strconv.FormatInt(*e.Seal, 10)
		}
		row := []string{e.ID, e.At.UTC().Format(time.RFC3339Nano), e.Event, e.Actor, e.ClientID, e.UserID, e.GrantID, e.Scopes, e.Token, e.Detail, e.RequestID, e.Address, e.UserAgent, seal}
		for i := range row {
			row[i] = display.Escape(notAFormula(row[i]))
		}
		return table.Write(row)
	})
	table.Flush()
	if err = errors.Join(err, table.Error(), buffered.Flush()); err == nil {
		fmt.Fprintf(a.stderr, "gatehouse: %d events\n", n)
		if s.Store.ReadOnly() {
			fmt.Fprintln(a.stderr, "gatehouse: the audit log has no record of this export: the database is read-only")
			return nil
		}
		err = s.Store.Audit.Record(ctx, audit.Event{Type: audit.AuditExported, ClientID: f.ClientID, UserID: f.UserID, Detail: map[string]any{"rows": n}})
	}
	return err
}

// notAFormula keeps a spreadsheet from running what a stranger wrote into a header.
func notAFormula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func (a *app) auditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify", Short: "Check that no audit row was changed or removed",
		Long: "Check every seal of the audit log against the rows that are there, in one snapshot. A seal is made each second over the rows since the last; without\n" +
			"the root key nobody can make one that fits other rows. Rows younger than the last seal are counted, not checked.\n" +
			"Without --head, the removal of the newest rows together with their seals cannot be detected unless records of their time are left. Give the number\n" +
			"and head of a seal that was stored elsewhere; the server logs them every hour.\n" +
			"It ends with 1 when something is wrong.",
		Example: "  gatehouse audit verify --head 8412:0f3c…",
		Args:    exactArgs(),
	}
	head := cmd.Flags().String("head", "", "a seal that was noted before, as NUMBER:HEAD")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		known := audit.Seal{}
		if *head != "" {
			number, mac, _ := strings.Cut(*head, ":")
			id, err := strconv.ParseInt(number, 10, 64)
			b, err2 := hex.DecodeString(mac)
			if err != nil || err2 != nil || id < 1 || len(b) != 32 {
				return usageError{errors.New("--head must be a number, a colon and 64 hexadecimal digits")}
			}
			known = audit.Seal{ID: id, MAC: b}
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			show, end := a.progress("verifying")
			report, err := s.Store.Audit.Verify(ctx, known, show)
			end()
			if err != nil {
				return err
			}
			if *asJSON {
				err = a.printJSON(report)
			} else {
				a.printReport(report)
			}
			if err == nil && report.Count > 0 {
				return errors.New("the audit log is not what was sealed")
			}
			return err
		})
	}
	return cmd
}

func (a *app) printReport(r audit.Report) {
	for _, p := range r.Problems {
		fmt.Fprintln(a.stdout, "PROBLEM: "+display.Escape(p))
	}
	if more := r.Count - len(r.Problems); more > 0 {
		fmt.Fprintf(a.stdout, "and %d more\n", more)
	}
	fmt.Fprintf(a.stdout, "%d seals, %d of them retired; %d rows sealed and present\n", r.Seals, r.Retired, r.Rows)
	if r.Unsealed > 0 {
		fmt.Fprintf(a.stdout, "%d rows not sealed yet, the oldest of %s; the server seals every second\n", r.Unsealed, formatTime(r.Oldest))
	}
	if r.Last > 0 {
		fmt.Fprintf(a.stdout, "head: %d:%s\n", r.Last, r.Head)
	}
	if r.Count == 0 && r.Compared {
		fmt.Fprintln(a.stdout, "audit log verified: no problems found")
	} else if r.Count == 0 {
		fmt.Fprintln(a.stdout, "no problems found; without --head, the removal of the newest rows together with their seals cannot be detected")
	}
}

func (a *app) auditRetire() *cobra.Command {
	cmd := &cobra.Command{
		Use: "retire", Short: "Delete old audit rows; their seals stay",
		Long: "Delete the rows of every seal that is older than --older-than, whole seals alone. The seals stay, so that the rest can still be verified, and one\n" +
			"event tells of it. With a role for the server that may not delete (docs/operate.md), run this as the owner of the schema.",
		Example: "  gatehouse audit retire --older-than 400d",
		Args:    exactArgs(),
	}
	yes := yesFlag(cmd)
	older := cmd.Flags().String("older-than", "", "how old a seal must be, a day at least: 400d, 58w, or a time")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *older == "" {
			return usageError{errors.New("say how old with --older-than, like 400d")}
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			now, err := s.Store.CleanupTime(ctx)
			if err != nil {
				return err
			}
			if behind := s.Store.Stats().CleanupBehind; behind > 0 {
				fmt.Fprintf(a.stderr, "the clock is %s ahead of the last deletion in this database; counting from %s. If the clock is correct, retry later or run `gatehouse serve` for a while.\n",
					behind.Round(time.Second), formatTime(&now))
			}
			before, err := moment(*older, now)
			if err != nil {
				return usageError{fmt.Errorf("--older-than: %w", err)}
			}
			if before.After(now.Add(-24 * time.Hour)) {
				return usageError{errors.New("--older-than must be a day at least")}
			}
			if err := a.confirm(*yes, "Delete every audit row sealed before "+formatTime(&before)+"?"); err != nil {
				return err
			}
			show, end := a.progress("retiring")
			n, err := s.Store.Audit.Retire(ctx, before, show)
			end()
			if db.IsDenied(err) {
				return errors.New("this database role may not delete audit rows, which is as it should be; run this as the owner of the schema")
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%d rows are gone\n", n)
			return err
		})
	}
	return cmd
}

func (a *app) auditErase() *cobra.Command {
	cmd := &cobra.Command{
		Use: "erase USER", Short: "Erase a user's addresses and user agents from the audit log",
		Long: "Make the addresses and user agents in the audit rows and browser sessions of a user permanently unreadable, by erasing their keys. The rows stay, with only the user's\n" +
			"sub, and their seals stay valid. USER may be the sub of a deleted user. Earlier backups still contain the keys.",
		Args: exactArgs("USER"),
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			id, err := auditUser(ctx, s, args[0])
			if err != nil {
				return err
			}
			if err := a.confirm(*yes, "Erase the addresses and user agents of "+args[0]+" in every audit row and session permanently?"); err != nil {
				return err
			}
			n, err := s.Store.EraseAddresses(ctx, id)
			if db.IsDenied(err) {
				return errors.New("this database role may not change audit rows, which is as it should be; run this as the owner of the schema")
			}
			if err != nil {
				return err
			}
			if n == 0 {
				fmt.Fprintf(a.stderr, "gatehouse: no audit row or session has an address of %s\n", display.Escape(args[0]))
			}
			_, err = fmt.Fprintf(a.stdout, "erased the address and user agent of %d rows; later rows have them again\n", n)
			return err
		})
	}
	return cmd
}
