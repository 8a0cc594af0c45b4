// Command relying-party uses Gatehouse with the relying party of github.com/zitadel/oidc. It is a separate module so
// that its dependencies are not in Gatehouse's module graph. Its arguments are the issuer, a client, its secret and its
// redirect URI. It prints the authorization URL, reads the callback from standard input, and fails if the library
// returns an error.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

type nonce struct{}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return errors.New("usage: relying-party ISSUER CLIENT_ID CLIENT_SECRET REDIRECT_URI")
	}
	scopes := []string{oidc.ScopeOpenID, oidc.ScopeEmail, oidc.ScopeOfflineAccess}
	party, err := rp.NewRelyingPartyOIDC(ctx, args[0], args[1], args[2], args[3], scopes,
		rp.WithAuthStyle(oauth2.AuthStyleInHeader), rp.WithSigningAlgsFromDiscovery(),
		rp.WithVerifierOpts(rp.WithIssuedAtOffset(5*time.Second), rp.WithAuthTimeMaxAge(time.Hour),
			rp.WithNonce(func(ctx context.Context) string { s, _ := ctx.Value(nonce{}).(string); return s })))
	if err != nil {
		return fmt.Errorf("discovery: %w", err)
	}
	verifier := oauth2.GenerateVerifier()
	fmt.Println(rp.AuthURL("the state", party, rp.WithCodeChallenge(oidc.NewSHACodeChallenge(verifier)),
		rp.AuthURLOpt(rp.WithURLParam("nonce", "the nonce"))))
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return err
	}
	callback, err := url.Parse(strings.TrimSpace(line))
	if err != nil {
		return err
	}
	tokens, err := rp.CodeExchange[*oidc.IDTokenClaims](context.WithValue(ctx, nonce{}, "the nonce"),
		callback.Query().Get("code"), party, rp.WithCodeVerifier(verifier))
	if err != nil {
		return fmt.Errorf("code exchange: %w", err)
	}
	subject := tokens.IDTokenClaims.Subject
	info, err := rp.Userinfo[*oidc.UserInfo](ctx, tokens.AccessToken, tokens.TokenType, subject, party)
	if err != nil {
		return fmt.Errorf("userinfo: %w", err)
	}
	refreshed, err := rp.RefreshTokens[*oidc.IDTokenClaims](ctx, party, tokens.RefreshToken, "", "")
	if err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	if err := rp.RevokeToken(ctx, party, refreshed.RefreshToken, "refresh_token"); err != nil {
		return fmt.Errorf("revocation: %w", err)
	}
	location, err := rp.EndSession(ctx, party, tokens.IDToken, "https://app.example/bye", "the state", "", nil)
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	fmt.Println("ok", info.Email, location)
	return nil
}
