package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/display"
	"gatehouse/storage"
)

func (p *program) userExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export USER", Short: "Print everything that is stored about a user as JSON",
		Long: "Print everything that is stored about a user as JSON: profile, sessions, consents, factors, events.\n" +
			"Secrets and their hashes are not in it. The export is recorded in the audit log. " + userArgument,
		Example: "  gatehouse user export alice > alice.json",
		Args:    exactArgs("USER"),
	}
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.withUser(cmd, args[0], func(ctx context.Context, a *admin.Admin, u storage.User) error {
			out, err := a.ExportUser(ctx, u)
			if err != nil {
				return err
			}
			return p.printJSON(out)
		})
	}
	return cmd
}

func (p *program) userDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete USER", Short: "Delete a user with the user's sessions and consents",
		Long: "Delete a user with the user's sessions and consents. With --grace, every session, grant and token ends\n" +
			"now, the user is notified by email and deleted later, unless the user signs in before. The username\n" +
			"stays reserved for GATEHOUSE_USERNAME_RETENTION. " + userArgument,
		Example: "  gatehouse user delete alice\n" +
			"  gatehouse user delete alice --grace 7d",
		Args: exactArgs("USER"),
	}
	grace := durationFlag(cmd, "grace", 0,
		"how long the user can cancel the deletion by signing in, like 7d; 0 deletes immediately")
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *grace < 0 || *grace > 365*24*time.Hour {
			return usageError{errors.New("--grace must be 0 to 365d")}
		}
		return p.withUser(cmd, args[0], func(ctx context.Context, a *admin.Admin, u storage.User) error {
			question := fmt.Sprintf("Delete user %q <%s> with all sessions and consents?", u.Username, u.Email)
			if err := p.confirm(*yes, question); err != nil {
				return err
			}
			if *grace > 0 {
				at, err := a.ScheduleUserDeletion(ctx, u, *grace)
				if err == nil {
					_, err = fmt.Fprintf(p.stdout, "user %s will be deleted at %s, unless the user signs in before\n",
						display.Escape(u.Username), formatTime(&at))
				}
				return operatorError(err, "user "+args[0])
			}
			if err := a.DeleteUser(ctx, u.ID); err != nil {
				return operatorError(err, "user "+args[0])
			}
			p.notice(fmt.Sprintf("the sub of the user was %[1]s; `gatehouse audit erase %[1]s` erases the user's addresses "+
				"from the audit log", u.ID))
			_, err := fmt.Fprintf(p.stdout, "user %s is deleted\n", display.Escape(u.Username))
			return err
		})
	}
	return cmd
}
