package main

import (
	"errors"

	"github.com/spf13/cobra"

	"gatehouse/admin"
)

// listFlags adds the flags of a command that prints a list a page at a time. searched are the texts whose words are
// found.
func listFlags(cmd *cobra.Command, searched string) *admin.List {
	l := &admin.List{}
	cmd.Flags().StringVar(&l.Search, "search", "", "list only those with these words, or words that begin so, in "+searched)
	cmd.Flags().IntVar(&l.Limit, "limit", 0, "list at most so many; 0: no maximum")
	cmd.Flags().StringVar(&l.Cursor, "cursor", "", "list the page with this cursor, which the page before printed")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if l.Limit < 0 {
			return usageError{errors.New("--limit must not be negative")}
		}
		return nil
	}
	return l
}

// reportNextPage prints how to list the page after one that ended at the limit.
func (p *program) reportNextPage(next string) {
	if next != "" {
		p.notice("there are more; list the next page with the same flags and --cursor " + next)
	}
}

// emptyList returns the message for a list without records: none when nothing was searched for.
func emptyList(l *admin.List, records, none string) string {
	if l.Search != "" || l.Cursor != "" {
		return "no " + records + " found"
	}
	return none
}
