// Command kubernetes authenticates tokens with the OpenID Connect authenticator of the Kubernetes API server. It is a
// separate module so that its dependencies are not in Gatehouse's module graph. Its argument is an
// AuthenticationConfiguration, which it reads as the API server does. It prints "ready" when it has the keys of the
// issuer. For every line of standard input, a token, it prints the user as JSON, or "error: " and the reason.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: kubernetes CONFIGURATION")
	}
	authenticator, err := newAuthenticator(ctx, args[0])
	if err != nil {
		return err
	}
	if err := waitUntilHealthy(ctx, authenticator); err != nil {
		return err
	}
	fmt.Println("ready")
	tokens := bufio.NewScanner(os.Stdin)
	tokens.Buffer(nil, 1<<20)
	for tokens.Scan() {
		response, ok, err := authenticator.AuthenticateToken(ctx, tokens.Text())
		switch {
		case err != nil:
			fmt.Printf("error: %v\n", err)
		case !ok:
			fmt.Println("error: the token is for another authenticator")
		default:
			if err := json.NewEncoder(os.Stdout).Encode(response.User); err != nil {
				return err
			}
		}
	}
	return tokens.Err()
}

// newAuthenticator returns the authenticator for the first issuer of an AuthenticationConfiguration. Like the API
// server with a configuration file, it accepts every asymmetric algorithm.
func newAuthenticator(ctx context.Context, file string) (oidc.AuthenticatorTokenWithHealthCheck, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	object, err := runtime.Decode(codecs.UniversalDecoder(), data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	config, ok := object.(*apiserver.AuthenticationConfiguration)
	if !ok || len(config.JWT) == 0 {
		return nil, fmt.Errorf("read %s: it is a %T, want an AuthenticationConfiguration with an issuer", file, object)
	}
	compiler := cel.NewDefaultCompiler()
	if err := validation.ValidateAuthenticationConfiguration(compiler, config, nil).ToAggregate(); err != nil {
		return nil, err
	}
	options := oidc.Options{
		JWTAuthenticator: config.JWT[0], Compiler: compiler,
		SupportedSigningAlgs: oidc.AllValidSigningAlgorithms(), APIServerID: "test",
	}
	if ca := config.JWT[0].Issuer.CertificateAuthority; ca != "" {
		options.CAContentProvider = certificates(ca)
	}
	return oidc.New(ctx, options)
}

// certificates is a PEM bundle.
type certificates string

func (c certificates) CurrentCABundleContent() []byte { return []byte(c) }

// waitUntilHealthy waits until the authenticator has read the metadata of the issuer.
func waitUntilHealthy(ctx context.Context, authenticator oidc.AuthenticatorTokenWithHealthCheck) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := authenticator.HealthCheck()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the metadata of the issuer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
