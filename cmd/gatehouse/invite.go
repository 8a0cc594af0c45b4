package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/cmd/gatehouse/server"
	"gatehouse/identity"
	"gatehouse/storage"
)

func (p *program) inviteCommand() *cobra.Command {
	return group("invite", "Invite users to create an account",
		"An invitation is a link with which one user can create an account, once. It has no effect while\n"+
			"GATEHOUSE_SIGN_UP is off.",
		p.inviteCreate(), p.inviteList(), p.inviteRevoke())
}

func (p *program) inviteCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Create an invitation",
		Long: "Create an invitation. With --email and a mail server, the link is sent to that address and not printed, so\n" +
			"that using it proves the address; --print-link prints it instead, and the user proves the address by a second\n" +
			"email. Without --email the link is printed, and the user enters an address and proves it in the same way. The\n" +
			"pages of the invitation are in --language unless the user chooses another language; the account gets that of\n" +
			"the page.",
		Example: "  gatehouse invite create --email bob@example.com --group staff\n" +
			"  gatehouse invite create --email bob@example.com --print-link --expires 24h",
		Args: exactArgs(),
	}
	var n identity.NewInvitation
	cmd.Flags().StringVar(&n.Email, "email", "", "the only email address that may use it")
	cmd.Flags().StringArrayVar(&n.Groups, "group", nil, "group of the account (repeat for several)")
	cmd.Flags().StringVar(&n.Language, "language", "",
		"language of the email and of the pages that the link opens, like en or de")
	printLink := cmd.Flags().Bool("print-link", false,
		"print the link instead of sending it; the user then proves the address by a second email")
	expires := durationFlag(cmd, "expires", 7*24*time.Hour, "how long it is valid, like 72h or 7d")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *expires < time.Minute || *expires > 365*24*time.Hour {
			return usageError{errors.New("--expires must be 1m to 365d")}
		}
		return p.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			mail := s.Users.MailAvailable()
			if err := checkLanguage(n.Language, s.Languages()); err != nil {
				return err
			}
			if n.Email == "" && !mail {
				return errors.New("--email is required without a mail server: nothing else would prove the address")
			}
			n.Lifetime, n.Mail = *expires, n.Email != "" && mail && !*printLink
			i, link, err := s.Admin.Invite(ctx, n)
			if errors.Is(err, storage.ErrNotFound) {
				return fmt.Errorf("one of the groups %s does not exist; see `gatehouse group list`, or create it with "+
					"`gatehouse group create`", strings.Join(n.Groups, ", "))
			}
			if err != nil {
				return err
			}
			if link != "" {
				link = s.Config.Issuer + link
			}
			if s.Config.SignUp == identity.SignUpOff {
				p.notice("GATEHOUSE_SIGN_UP is off here; the invitation has no effect until the server runs with " +
					"GATEHOUSE_SIGN_UP=invite")
			}
			if err := p.noticeOpenInvitations(ctx, s.Admin, i); err != nil {
				return err
			}
			return p.printJSON(struct {
				Link string `json:"link,omitempty"`
				storage.Invitation
			}{link, i})
		})
	}
	return cmd
}

// noticeOpenInvitations prints how many other invitations for the same address can still be used.
func (p *program) noticeOpenInvitations(ctx context.Context, a *admin.Admin, i storage.Invitation) error {
	if i.Email == "" {
		return nil
	}
	all, err := a.Invitations(ctx)
	others := 0
	for _, other := range all {
		if other.ID != i.ID && other.EmailKey == i.EmailKey && other.UsedAt == nil && other.ExpiresAt.After(i.CreatedAt) {
			others++
		}
	}
	switch {
	case err != nil || others == 0:
		return err
	case others == 1:
		p.notice(i.Email + " has another open invitation; revoke the one that is not needed: `gatehouse invite list`")
	default:
		p.notice(fmt.Sprintf("%s has %d other open invitations; revoke those that are not needed: `gatehouse invite list`",
			i.Email, others))
	}
	return nil
}

func (p *program) inviteList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List invitations, without those that expired a day ago",
		Example: "  gatehouse invite list", Args: exactArgs(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			all, err := a.Invitations(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(all)
			}
			var rows [][]string
			for _, i := range all {
				rows = append(rows, []string{
					i.ID, i.Email, i.Groups.String(), formatTime(&i.ExpiresAt), formatTime(i.UsedAt),
				})
			}
			return p.table("there are no invitations; create one with `gatehouse invite create`",
				[]string{"id", "email", "groups", "expires at", "used at"}, rows)
		})
	}
	return cmd
}

func (p *program) inviteRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "Revoke an invitation that was not used",
		Example: "  gatehouse invite revoke 4f6a52d0-58c6-4a5e-9b0e-2f1a4c1f7c3d", Args: exactArgs("ID"),
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := p.confirm(*yes, "Revoke invitation "+args[0]+"?"); err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			if err := a.RevokeInvitation(ctx, args[0]); err != nil {
				return operatorError(err, "unused invitation "+args[0])
			}
			_, err := fmt.Fprintf(p.stdout, "invitation %s is revoked\n", args[0])
			return err
		})
	}
	return cmd
}
