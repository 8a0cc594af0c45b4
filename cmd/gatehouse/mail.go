package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/notify/mail"
)

func (p *program) mailCommand() *cobra.Command {
	return group("mail", "Check that emails are sent",
		"Gatehouse sends emails to users through the mail server of GATEHOUSE_SMTP_URL.", p.mailTest())
}

func (p *program) mailTest() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test --to ADDRESS", Short: "Send a test email",
		Long: "Send a test email immediately and print what happened: the connection, TLS and the response of the\n" +
			"mail server. An address that the server had rejected before gets emails again after a successful test.",
		Example: "  gatehouse mail test --to you@example.com",
		Args:    exactArgs(),
	}
	to := cmd.Flags().String("to", "", "address of the recipient")
	language := cmd.Flags().String("language", "", "language of the email, like de (default en)")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *to == "" {
			return usageError{errors.New("--to is required, like --to you@example.com")}
		}
		if _, err := mail.ParseRecipient(*to); err != nil {
			return usageError{fmt.Errorf("--to %w", err)}
		}
		return p.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			if err := checkLanguage(*language, s.Languages()); err != nil {
				return err
			}
			report, err := s.SendTestMail(ctx, *to, *language)
			if errors.Is(err, server.ErrNoMailServer) {
				return fmt.Errorf("%w; set it to your mail server, like smtp://user:password@mail.example.com, "+
					"and GATEHOUSE_MAIL_FROM to the sender", err)
			}
			if *asJSON && err == nil {
				return p.printJSON(report)
			}
			if err := p.printMailReport(report); err != nil {
				return err
			}
			if failed := (*mail.Error)(nil); errors.As(err, &failed) {
				return fmt.Errorf("the email was not sent: %w; %s", err, failed.Remedy())
			}
			return err
		})
	}
	return cmd
}

// printMailReport prints how far the dialogue with the mail server came.
func (p *program) printMailReport(r mail.Report) error {
	if r.Connected == "" {
		return nil
	}
	rows := [][]string{{"connected to", r.Connected}, {"encryption", orNone(r.TLS)}}
	if r.Authentication != "" {
		rows = append(rows, []string{"authentication", r.Authentication})
	}
	if r.Response != "" {
		rows = append(rows, []string{"response", r.Response})
	}
	return p.table("", []string{"step", "result"}, rows)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
