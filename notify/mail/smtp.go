package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"gatehouse/loopback"
)

// sendTimeout is how long the dialogue with the mail server may take.
const sendTimeout = 25 * time.Second

// Server is a mail server that accepts emails for others (RFC 6409).
type Server struct {
	Host string
	Port string
	// ImplicitTLS: TLS starts with the connection (RFC 8314 §3.3). Otherwise STARTTLS (RFC 3207) is required, unless the
	// host is loopback: then the connection is not encrypted.
	ImplicitTLS bool
	Username    string // empty: no authentication
	Password    string
	Hello       string         // the name of this server
	RootCAs     *x509.CertPool // nil: those of the system

	// Dial opens the connection. Nil: by TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	down atomic.Bool
}

// Up reports whether the server accepted the last email, or refused only that email or its recipient.
func (s *Server) Up() bool { return !s.down.Load() }

// NewServer returns the server of GATEHOUSE_SMTP_URL. hello is the host name of the issuer.
func NewServer(smtpURL, hello string) (*Server, error) {
	u, err := url.Parse(smtpURL)
	if err != nil {
		return nil, errors.New("the URL of the mail server is invalid") // the error contains the password
	}
	password, _ := u.User.Password()
	s := &Server{
		Host: u.Hostname(), Port: u.Port(), ImplicitTLS: u.Scheme == "smtps", Username: u.User.Username(),
		Password: password, Hello: hello,
	}
	switch {
	case s.Port != "":
	case s.ImplicitTLS:
		s.Port = "465"
	default:
		s.Port = "587"
	}
	return s, nil
}

// Report is what happened while an email was sent, as far as it came.
type Report struct {
	Connected      string `json:"connected"`                // address of the server
	TLS            string `json:"tls,omitempty"`            // version, empty without TLS
	Authentication string `json:"authentication,omitempty"` // mechanism, empty without authentication
	Response       string `json:"response"`                 // of the server to the email
}

// The steps of sending an email.
const (
	StepConnect      = "connect"
	StepTLS          = "TLS"
	StepAuthenticate = "authenticate"
	StepSender       = "sender"
	StepRecipient    = "recipient"
	StepContent      = "content"
)

// Error is the failure of a step.
type Error struct {
	Step string
	Err  error
}

// Error returns the step with its cause.
func (e *Error) Error() string { return e.Step + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the reply code of the server (RFC 5321 §4.2) and the enhanced status code (RFC 3463), or 0 and an empty
// string.
func (e *Error) Code() (code int, enhanced string) {
	var reply *textproto.Error
	if !errors.As(e.Err, &reply) {
		return 0, ""
	}
	first, _, _ := strings.Cut(strings.TrimSpace(reply.Msg), " ")
	if len(first) >= len("5.1.1") && strings.Count(first, ".") == 2 && strings.Trim(first, "0123456789.") == "" {
		enhanced = first
	}
	return reply.Code, enhanced
}

// badAddresses are the enhanced status codes of an address that does not exist or accepts no messages (RFC 3463 §3.2
// and §3.3, RFC 7505). A full mailbox is not one: an attacker who fills it must not stop the notices that matter.
var badAddresses = []string{"5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"}

// RejectsRecipient reports whether the server has refused the address permanently: it does not exist or accepts no
// messages. A refusal for another reason, such as a server that accepts none of this sender, is not one of the address.
func (e *Error) RejectsRecipient() bool {
	code, enhanced := e.Code()
	if e.Step != StepRecipient || code < 500 {
		return false
	}
	if enhanced != "" {
		return slices.Contains(badAddresses, enhanced)
	}
	return code == 550 || code == 551 || code == 553
}

// RejectsContent reports whether the server has refused this email permanently.
func (e *Error) RejectsContent() bool {
	code, _ := e.Code()
	return e.Step == StepContent && code >= 500
}

// Send sends a message. The error is an *Error, except for an invalid message. It ends with ctx.
func (s *Server) Send(ctx context.Context, m Message) (Report, error) {
	var report Report
	content, err := m.Bytes()
	if err != nil {
		return report, err
	}
	limited, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err = s.send(limited, m, content, &report)
	failed := (*Error)(nil)
	if ctx.Err() == nil { // otherwise this process stops
		s.down.Store(errors.As(err, &failed) && !failed.RejectsRecipient() && !failed.RejectsContent())
	}
	return report, err
}

// Check connects and authenticates without sending anything. The error is an *Error. It ends with ctx.
func (s *Server) Check(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	var report Report
	return s.converse(limited, &report, func(client *smtp.Client) error { return s.begin(client, &report) })
}

func (s *Server) send(ctx context.Context, m Message, content []byte, report *Report) error {
	return s.converse(ctx, report, func(client *smtp.Client) error { return s.dialogue(client, m, content, report) })
}

// converse opens a connection for a dialogue and closes it.
func (s *Server) converse(ctx context.Context, report *Report, dialogue func(client *smtp.Client) error) error {
	conn, client, err := s.connect(ctx, report)
	if err != nil {
		return withContext(ctx, err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	defer func() { _ = conn.Close() }()
	err = dialogue(client)
	if err == nil {
		_ = client.Quit() // the email is accepted in any case
	}
	return withContext(ctx, err)
}

// withContext makes the end of ctx the cause of an error that it caused.
func withContext(ctx context.Context, err error) error {
	var failed *Error
	if ctx.Err() != nil && errors.As(err, &failed) {
		return &Error{failed.Step, fmt.Errorf("the server did not respond in time: %w", ctx.Err())}
	}
	return err
}

// connect opens the connection and reads the greeting.
func (s *Server) connect(ctx context.Context, report *Report) (net.Conn, *smtp.Client, error) {
	dial := s.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(s.Host, s.Port))
	if err != nil {
		return nil, nil, &Error{StepConnect, err}
	}
	report.Connected = conn.RemoteAddr().String()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if s.ImplicitTLS {
		secure := tls.Client(conn, s.tlsConfig())
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, nil, errors.Join(&Error{StepTLS, err}, conn.Close())
		}
		conn = secure
	}
	client, err := smtp.NewClient(conn, s.Host)
	if err != nil {
		return nil, nil, errors.Join(&Error{StepConnect, fmt.Errorf("read the greeting: %w", err)}, conn.Close())
	}
	return conn, client, nil
}

func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: s.Host, RootCAs: s.RootCAs, MinVersion: tls.VersionTLS12}
}

// begin encrypts the connection and authenticates.
func (s *Server) begin(client *smtp.Client, report *Report) error {
	if err := client.Hello(s.Hello); err != nil {
		return &Error{StepConnect, err}
	}
	if err := s.startTLS(client, report); err != nil {
		return &Error{StepTLS, err}
	}
	if err := s.authenticate(client, report); err != nil {
		return &Error{StepAuthenticate, err}
	}
	return nil
}

// dialogue sends the message through a connection.
func (s *Server) dialogue(client *smtp.Client, m Message, content []byte, report *Report) error {
	if err := s.begin(client, report); err != nil {
		return err
	}
	if err := client.Mail("<" + m.From.Address + ">"); err != nil {
		return &Error{StepSender, err}
	}
	if err := client.Rcpt("<" + m.To + ">"); err != nil {
		return &Error{StepRecipient, err}
	}
	writer, err := client.Data()
	if err != nil {
		return &Error{StepContent, err}
	}
	if _, err := writer.Write(content); err != nil {
		return &Error{StepContent, err}
	}
	if err := writer.Close(); err != nil {
		return &Error{StepContent, err}
	}
	if closer, ok := writer.(*smtp.DataCloser); ok {
		report.Response = closer.ServerResponse()
	}
	return nil
}

// startTLS encrypts the connection unless it is encrypted or the server is loopback.
func (s *Server) startTLS(client *smtp.Client, report *Report) error {
	if !s.ImplicitTLS {
		if loopback.IsHost(s.Host) {
			return nil
		}
		if ok, _ := client.Extension("STARTTLS"); !ok {
			return errors.New("the server does not offer STARTTLS; use another port, smtps:// if the port is 465, " +
				"or a server that supports TLS")
		}
		if err := client.StartTLS(s.tlsConfig()); err != nil {
			return err
		}
	}
	state, ok := client.TLSConnectionState()
	if !ok || !state.HandshakeComplete {
		return errors.New("the connection is not encrypted")
	}
	report.TLS = tls.VersionName(state.Version)
	return nil
}

// authenticate authenticates with the first mechanism that the server offers (RFC 4954).
func (s *Server) authenticate(client *smtp.Client, report *Report) error {
	if s.Username == "" {
		return nil
	}
	unencrypted := report.TLS == "" // on loopback alone
	_, offered := client.Extension("AUTH")
	for _, mechanism := range []struct {
		name string
		auth func() smtp.Auth
	}{
		{"SCRAM-SHA-256", func() smtp.Auth { return smtp.ScramSHA256Auth(s.Username, s.Password) }},
		{"PLAIN", func() smtp.Auth { return smtp.PlainAuth("", s.Username, s.Password, s.Host, unencrypted) }},
		{"LOGIN", func() smtp.Auth { return smtp.LoginAuth(s.Username, s.Password, s.Host, unencrypted) }},
	} {
		for name := range strings.FieldsSeq(offered) {
			if strings.EqualFold(name, mechanism.name) {
				report.Authentication = mechanism.name
				return client.Auth(mechanism.auth())
			}
		}
	}
	return fmt.Errorf("the server offers no supported mechanism (SCRAM-SHA-256, PLAIN, LOGIN), only %q", offered)
}

// Remedy returns what an operator can do about the failure.
func (e *Error) Remedy() string {
	switch e.Step {
	case StepConnect:
		return "check the host and port in GATEHOUSE_SMTP_URL, and that a firewall allows the connection"
	case StepTLS:
		return "GATEHOUSE_SMTP_URL must have the host name of the server's certificate; if its certificate authority is " +
			"your own, add it to those of this host (SSL_CERT_FILE)"
	case StepAuthenticate:
		return "check the user name and password in GATEHOUSE_SMTP_URL"
	case StepSender:
		return "set GATEHOUSE_MAIL_FROM to an address that the server accepts from this user"
	case StepRecipient:
		return "check the address, and that the server accepts emails to it from this user"
	}
	return "see the log of the mail server"
}
