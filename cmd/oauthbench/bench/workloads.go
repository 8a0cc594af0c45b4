package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
)

// operation is what one connection does repeatedly and what is measured.
type operation func(ctx context.Context) error

// workload is a kind of operation.
type workload struct {
	name, doc  string
	repeatable bool // any number of times, so that it can be warmed up
	prepare    prepareFunc
}

// prepareFunc returns an operation for each connection; it is not measured. When each operation consumes something, it
// prepares up to maximum of these and returns their number, otherwise 0.
type prepareFunc func(
	ctx context.Context, d *driver, open []*connection, maximum int,
) (operations []operation, prepared int, err error)

// maxTokens is the maximum number of tokens issued for a workload that uses each once.
const maxTokens = 20_000

var workloads = []workload{
	{"metadata", "GET the metadata", true, prepareGet(func(d *driver) string { return d.metadataURL })},
	{"jwks", "GET the JWKS", true, prepareGet(func(d *driver) string { return d.metadata.JWKS })},
	{"client_credentials", "get a token with client credentials", true, prepareEach(issueServiceToken)},
	{"introspection_hot", "introspect one token repeatedly", true, prepareEach(introspectOne)},
	{"introspection_spread", "introspect tokens not seen before", false, prepareTokens((*connection).introspect)},
	{"revocation", "revoke a token", false, prepareTokens((*connection).revoke)},
	{"refresh", "refresh repeatedly, one grant for each connection", true, prepareEach(refresh)},
	{"code", "authorize in a signed-in browser with stored consent, and exchange the code", true, prepareEach(authorize)},
	{"sign_in", "sign in with a password in a new browser, authorize and exchange the code", true, prepareEach(signIn)},
}

func issueServiceToken(_ context.Context, c *connection) (operation, error) {
	return func(ctx context.Context) error {
		_, err := c.token(ctx, c.profile.Service, c.serviceForm())
		return err
	}, nil
}

func introspectOne(ctx context.Context, c *connection) (operation, error) {
	t, err := c.token(ctx, c.profile.Service, c.serviceForm())
	return func(ctx context.Context) error { return c.introspect(ctx, t.Access) }, err
}

func refresh(ctx context.Context, c *connection) (operation, error) {
	app := c.profile.App
	if app.RefreshScope != "" {
		app.Scope = app.RefreshScope
	}
	if err := c.signIn(ctx, app); err != nil {
		return nil, err
	}
	t, err := c.code(ctx, app)
	if err == nil && t.Refresh == "" {
		err = fmt.Errorf("no refresh token was issued for the scope %q", app.Scope)
	}
	return func(ctx context.Context) error {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {t.Refresh}}
		next, err := c.token(ctx, app, form)
		if err == nil && next.Refresh != "" {
			t = next
		}
		return err
	}, err
}

func authorize(ctx context.Context, c *connection) (operation, error) {
	if err := c.signIn(ctx, c.profile.App); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := c.code(ctx, c.profile.App)
		return err
	}, nil
}

func signIn(_ context.Context, c *connection) (operation, error) {
	return func(ctx context.Context) error {
		c.clearCookies()
		return c.signIn(ctx, c.profile.App)
	}, nil
}

// prepareEach prepares every connection separately.
func prepareEach(prepare func(ctx context.Context, c *connection) (operation, error)) prepareFunc {
	return func(ctx context.Context, _ *driver, open []*connection, _ int) ([]operation, int, error) {
		var out []operation
		for _, c := range open {
			op, err := prepare(ctx, c)
			if err != nil {
				return nil, 0, err
			}
			out = append(out, op)
		}
		return out, 0, nil
	}
}

func prepareGet(documentURL func(d *driver) string) prepareFunc {
	return prepareEach(func(_ context.Context, c *connection) (operation, error) {
		return func(ctx context.Context) error {
			_, err := c.get(ctx, documentURL(c.driver))
			return err
		}, nil
	})
}

// prepareTokens prepares tokens and runs the operation on each of them once.
func prepareTokens(do func(c *connection, ctx context.Context, token string) error) prepareFunc {
	return func(ctx context.Context, _ *driver, open []*connection, maximum int) ([]operation, int, error) {
		all, err := issueServiceTokens(ctx, open, min(maximum, maxTokens))
		if err != nil {
			return nil, 0, err
		}
		var next atomic.Int64
		var out []operation
		for _, c := range open {
			out = append(out, func(ctx context.Context) error {
				return do(c, ctx, all[(next.Add(1)-1)%int64(len(all))])
			})
		}
		return out, len(all), nil
	}
}

// issueServiceTokens requests n tokens with client credentials, on all connections concurrently.
func issueServiceTokens(ctx context.Context, open []*connection, n int) ([]string, error) {
	all, errs := make([]string, n), make([]error, len(open))
	var next atomic.Int64
	var running sync.WaitGroup
	for i, c := range open {
		running.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(all)); n = next.Add(1) - 1 {
				t, err := c.token(ctx, c.profile.Service, c.serviceForm())
				if err != nil {
					errs[i] = err
					return
				}
				all[n] = t.Access
			}
		})
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (c *connection) serviceForm() url.Values {
	form := url.Values{"grant_type": {"client_credentials"}}
	if s := c.profile.Service.Scope; s != "" {
		form.Set("scope", s)
	}
	return form
}

func (c *connection) introspect(ctx context.Context, token string) error {
	body, err := c.post(ctx, c.metadata.Introspection, c.profile.Service, url.Values{"token": {token}})
	if err == nil && !bytes.Contains(bytes.ReplaceAll(body, []byte(" "), nil), []byte(`"active":true`)) {
		err = fmt.Errorf("the token is not active: %.200s", body)
	}
	return err
}

func (c *connection) revoke(ctx context.Context, token string) error {
	_, err := c.post(ctx, c.metadata.Revocation, c.profile.Service, url.Values{"token": {token}})
	return err
}
