package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/display"
	"gatehouse/storage/audit"
)

func (p *program) auditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify", Short: "Verify that no audit row was changed or removed",
		Long: "Verify every seal of the audit log with the rows that it covers, in one snapshot. A seal is created each\n" +
			"second over the rows since the last one; without the root key no valid seal can be created for other rows.\n" +
			"Rows newer than the last seal are counted, not verified.\n" +
			"Without --head, the removal of the newest rows together with their seals cannot be detected unless records of\n" +
			"their time are left. Pass the number and head of a seal that was stored elsewhere; the server logs them every\n" +
			"hour.\n" +
			"The exit code is 1 when a problem is found.",
		Example: "  gatehouse audit verify --head 8412:0f3c…",
		Args:    exactArgs(),
	}
	head := cmd.Flags().String("head", "", "an earlier seal, as NUMBER:HEAD")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		earlier, err := parseHead(*head)
		if err != nil {
			return usageError{err}
		}
		return p.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			show, end := p.progress("verifying")
			report, err := s.Store.Audit.Verify(ctx, earlier, show)
			end()
			if err != nil {
				return err
			}
			if *asJSON {
				err = p.printJSON(report)
			} else {
				p.printReport(report)
			}
			if err == nil && report.Count > 0 {
				return errors.New("the audit log differs from what was sealed")
			}
			return err
		})
	}
	return cmd
}

// parseHead parses NUMBER:HEAD; an empty string is no seal.
func parseHead(head string) (audit.Seal, error) {
	if head == "" {
		return audit.Seal{}, nil
	}
	number, digits, _ := strings.Cut(head, ":")
	id, err := strconv.ParseInt(number, 10, 64)
	mac, err2 := hex.DecodeString(digits)
	if err != nil || err2 != nil || id < 1 || len(mac) != 32 {
		return audit.Seal{}, errors.New("--head must be a number, a colon and 64 hexadecimal digits")
	}
	return audit.Seal{ID: id, MAC: mac}, nil
}

func (p *program) printReport(r audit.Report) {
	for _, problem := range r.Problems {
		fmt.Fprintln(p.stdout, "PROBLEM: "+display.Escape(problem))
	}
	if more := r.Count - len(r.Problems); more > 0 {
		fmt.Fprintf(p.stdout, "and %d more\n", more)
	}
	fmt.Fprintf(p.stdout, "%s, %d of them retired; %s sealed and present\n", counted(r.Seals, "1 seal", "%d seals"),
		r.Retired, counted(r.Rows, "1 row", "%d rows"))
	if r.Unsealed > 0 {
		fmt.Fprintf(p.stdout, "%s not sealed yet, the oldest of %s; the server seals every second\n",
			counted(r.Unsealed, "1 row", "%d rows"), formatTime(r.Oldest))
	}
	if r.Last > 0 {
		fmt.Fprintf(p.stdout, "head: %d:%s\n", r.Last, r.Head)
	}
	if r.Count == 0 && r.Compared {
		fmt.Fprintln(p.stdout, "audit log verified: no problems found")
	} else if r.Count == 0 {
		fmt.Fprintln(p.stdout, "no problems found; without --head, the removal of the newest rows together with their seals "+
			"cannot be detected")
	}
}
