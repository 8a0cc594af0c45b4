package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
)

// operation is one thing to measure, done again and again by one connection.
type operation func(ctx context.Context) error

// workload makes an operation for each connection. prepare is not measured. What it made ready may be used up; then it says
// how many there are.
type workload struct {
	name, doc string
	again     bool // may be warmed up by doing it
	prepare   func(ctx context.Context, d *driver, callers []*caller, most int) (operations []operation, ready int, err error)
}

// fresh is how many tokens are made for a workload that uses each once.
const fresh = 20_000

var workloads = []workload{
	{"metadata", "GET the metadata", true, fetching(func(d *driver) string { return d.at })},
	{"jwks", "GET the key set", true, fetching(func(d *driver) string { return d.metadata.JWKS })},
	{"client_credentials", "get a token as a machine", true, each(func(_ context.Context, c *caller) (operation, error) {
		return func(ctx context.Context) error {
			_, err := c.token(ctx, c.profile.Machine, c.machineForm())
			return err
		}, nil
	})},
	{"introspection_hot", "introspect one token again and again", true, each(func(ctx context.Context, c *caller) (operation, error) {
		t, err := c.token(ctx, c.profile.Machine, c.machineForm())
		return func(ctx context.Context) error { return c.introspect(ctx, t.Access) }, err
	})},
	{"introspection_spread", "introspect tokens not seen before", false, onFresh((*caller).introspect)},
	{"revocation", "revoke a token", false, onFresh(func(c *caller, ctx context.Context, token string) error {
		_, err := c.post(ctx, c.metadata.Revocation, c.profile.Machine, url.Values{"token": {token}})
		return err
	})},
	{"refresh", "refresh again and again, each connection a grant", true, each(func(ctx context.Context, c *caller) (operation, error) {
		app := c.profile.App
		if app.RefreshScope != "" {
			app.Scope = app.RefreshScope
		}
		if err := c.signIn(ctx, app); err != nil {
			return nil, err
		}
		t, err := c.code(ctx, app)
		if err == nil && t.Refresh == "" {
			err = fmt.Errorf("no refresh token was given for the scope %q", app.Scope)
		}
		return func(ctx context.Context) error {
			next, err := c.token(ctx, app, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {t.Refresh}})
			if err == nil && next.Refresh != "" {
				t = next
			}
			return err
		}, err
	})},
	{"code", "authorize in a signed-in browser with remembered consent, and exchange the code", true, each(func(ctx context.Context, c *caller) (operation, error) {
		if err := c.signIn(ctx, c.profile.App); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			_, err := c.code(ctx, c.profile.App)
			return err
		}, nil
	})},
	{"sign_in", "sign in with a password in a new browser, and get a code exchanged", true, each(func(_ context.Context, c *caller) (operation, error) {
		return func(ctx context.Context) error {
			c.forget()
			return c.signIn(ctx, c.profile.App)
		}, nil
	})},
}

// each prepares every connection by itself.
func each(one func(ctx context.Context, c *caller) (operation, error)) func(context.Context, *driver, []*caller, int) ([]operation, int, error) {
	return func(ctx context.Context, _ *driver, callers []*caller, _ int) ([]operation, int, error) {
		var out []operation
		for _, c := range callers {
			op, err := one(ctx, c)
			if err != nil {
				return nil, 0, err
			}
			out = append(out, op)
		}
		return out, 0, nil
	}
}

func fetching(address func(d *driver) string) func(context.Context, *driver, []*caller, int) ([]operation, int, error) {
	return each(func(_ context.Context, c *caller) (operation, error) {
		return func(ctx context.Context) error {
			_, err := c.get(ctx, address(c.driver))
			return err
		}, nil
	})
}

// onFresh does something with each of many tokens once.
func onFresh(do func(c *caller, ctx context.Context, token string) error) func(context.Context, *driver, []*caller, int) ([]operation, int, error) {
	return func(ctx context.Context, _ *driver, callers []*caller, most int) ([]operation, int, error) {
		all := make([]string, min(most, fresh))
		errs := make([]error, len(callers))
		var next atomic.Int64
		var running sync.WaitGroup
		for i, c := range callers {
			running.Go(func() {
				for n := next.Add(1) - 1; n < int64(len(all)); n = next.Add(1) - 1 {
					t, err := c.token(ctx, c.profile.Machine, c.machineForm())
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
				return nil, 0, err
			}
		}
		next.Store(0)
		var out []operation
		for _, c := range callers {
			out = append(out, func(ctx context.Context) error { return do(c, ctx, all[(next.Add(1)-1)%int64(len(all))]) })
		}
		return out, len(all), nil
	}
}

func (c *caller) machineForm() url.Values {
	form := url.Values{"grant_type": {"client_credentials"}}
	if s := c.profile.Machine.Scope; s != "" {
		form.Set("scope", s)
	}
	return form
}

func (c *caller) introspect(ctx context.Context, token string) error {
	body, err := c.post(ctx, c.metadata.Introspection, c.profile.Machine, url.Values{"token": {token}})
	if err == nil && !bytes.Contains(bytes.ReplaceAll(body, []byte(" "), nil), []byte(`"active":true`)) {
		err = fmt.Errorf("the token is not active: %.200s", body)
	}
	return err
}
