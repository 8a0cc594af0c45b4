package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/display"
	"gatehouse/duration"
	"gatehouse/storage/audit"
)

func (p *program) auditCommand() *cobra.Command {
	return group("audit", "Read, export, verify and retire the audit log, and erase addresses in it", "",
		p.auditList(), p.auditExport(), p.auditVerify(), p.auditRetire(), p.auditErase())
}

// auditFlags are the flags that filter audit rows.
type auditFlags struct {
	filter                     audit.Filter
	client, user, since, until string
	token                      bool
}

func addAuditFlags(cmd *cobra.Command) *auditFlags {
	f := &auditFlags{}
	flags := cmd.Flags()
	flags.StringVar(&f.filter.Event, "event", "",
		"only this type, like user.signed_in, or all types with a prefix, like 'key.*'")
	flags.StringVar(&f.filter.Actor, "actor", "",
		"only events of this actor, like client:ID, user:SUB, cli:NAME, system or anonymous")
	flags.StringVar(&f.client, "client", "", "only this client: client_id or name")
	flags.StringVar(&f.user, "user", "", "only this user: username, email address or sub")
	flags.StringVar(&f.filter.GrantID, "grant", "", "only this grant (gid)")
	flags.StringVar(&f.filter.RequestID, "request", "", "only this request id (X-Request-Id)")
	flags.BoolVar(&f.token, "token-stdin", false,
		"only the token, code or secret on standard input, to find the origin of a leaked one")
	flags.StringVar(&f.since, "since", "", "only newer events: 24h, 7d, or a time like 2026-11-25T08:00:00Z")
	flags.StringVar(&f.until, "until", "", "only older events: a duration or a time, as --since")
	return f
}

// auditFilter returns the filter of the flags.
func (p *program) auditFilter(ctx context.Context, s *server.Server, flags *auditFlags) (audit.Filter, error) {
	f := flags.filter
	var err error
	if f.UserID, err = s.Admin.AuditUserID(ctx, flags.user); err != nil {
		return f, operatorError(err, "user "+flags.user)
	}
	if f.ClientID, err = s.Admin.AuditClientID(ctx, flags.client); err != nil {
		return f, err
	}
	if f.Since, err = parseTime(flags.since, s.Store.Now()); err != nil {
		return f, usageError{fmt.Errorf("--since: %w", err)}
	}
	if f.Until, err = parseTime(flags.until, s.Store.Now()); err != nil {
		return f, usageError{fmt.Errorf("--until: %w", err)}
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return f, usageError{errors.New("--since must be before --until: durations count back from now, " +
			"so --since is the longer one")}
	}
	if !audit.IsType(f.Event) {
		types := audit.Types()
		return f, usageError{fmt.Errorf("--event: there is no event %s; the types are %s%s",
			f.Event, strings.Join(types, ", "), display.DidYouMean(f.Event, types))}
	}
	if flags.token {
		token, err := p.readToken()
		if err != nil {
			return f, err
		}
		f.Token = audit.TokenReference(token)
	}
	return f, nil
}

// readToken reads one line from standard input.
func (p *program) readToken() (string, error) {
	line, err := bufio.NewReader(io.LimitReader(p.stdin, 1<<20)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", usageError{errors.New("--token-stdin: standard input is empty")}
	}
	return line, nil
}

// parseTime parses a time, or a duration that counts back from now.
func parseTime(s string, now time.Time) (time.Time, error) {
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

const maxListedEvents = 10_000

func (p *program) auditList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List audit events, newest first",
		Example: "  gatehouse audit list --since 24h --event refresh_token.reused\n" +
			"  gatehouse audit list --user alice --since 7d\n" +
			"  printf %s \"$LEAKED\" | gatehouse audit list --token-stdin",
		Args: exactArgs(),
	}
	flags := addAuditFlags(cmd)
	limit := cmd.Flags().Int("limit", 100, "maximum number of events, 1 to 10000")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *limit < 1 || *limit > maxListedEvents {
			return usageError{errors.New("--limit must be 1 to 10000; `gatehouse audit export` has no limit")}
		}
		return p.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			f, err := p.auditFilter(ctx, s, flags)
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
				p.notice(counted(int64(*limit), "this is the newest event", "these are the newest %d events") +
					"; --limit shows more, `gatehouse audit export` all")
			}
			return p.printEvents(events, *asJSON)
		})
	}
	return cmd
}

func (p *program) printEvents(events []audit.Row, asJSON bool) error {
	if asJSON {
		out := make([]printedEvent, 0, len(events))
		for _, e := range events {
			out = append(out, newPrintedEvent(e))
		}
		return p.printJSON(out)
	}
	var rows [][]string
	for _, e := range events {
		rows = append(rows, []string{
			e.At.UTC().Format(time.RFC3339), e.Event, e.Actor, e.ClientID, e.UserID, e.Scopes, e.Address, e.Detail,
		})
	}
	return p.table("there are no such events",
		[]string{"at", "event", "actor", "client", "user", "scopes", "address", "detail"}, rows)
}

// printedEvent has the detail of an event as an object.
type printedEvent struct {
	audit.Row

	Detail json.RawMessage `json:"detail,omitempty"`
}

func newPrintedEvent(e audit.Row) printedEvent {
	p := printedEvent{Row: e}
	if json.Valid([]byte(e.Detail)) {
		p.Detail = json.RawMessage(e.Detail)
	}
	return p
}
