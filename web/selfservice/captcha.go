package selfservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

// Captcha is the service that verifies sign-ups, if the operator has set one.
type Captcha struct {
	VerifyURL, Secret          string
	ScriptURL, SiteKey, Widget string // Widget is the class of the element
	Sources                    string // of what the widget loads, for the Content-Security-Policy
}

// Host returns the host of the script.
func (c Captcha) Host() string {
	u, err := url.Parse(c.ScriptURL)
	if err != nil {
		return ""
	}
	return u.Host
}

// Limits of a request to the service.
const (
	captchaTimeout     = 5 * time.Second
	captchaConnections = 8 // concurrent; others wait until the timeout
	maxCaptchaResponse = 16 << 10
	maxCaptchaToken    = 16 << 10
)

var (
	errCaptchaRefused     = errors.New("the captcha was not accepted")
	errCaptchaUnavailable = errors.New("the captcha could not be verified")
)

// newCaptchaClient returns the client of the service. It follows no redirects, which would send the secret elsewhere.
func newCaptchaClient() *http.Client {
	return &http.Client{
		Timeout: captchaTimeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: captchaConnections, DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// showCaptcha adds the widget to the sign-up page, whose policy then allows what it loads. Other pages load nothing
// from another server.
func (p *Pages) showCaptcha(w http.ResponseWriter, v *view) {
	if p.captcha.VerifyURL != "" {
		v.Captcha = &p.captcha
		page.AllowSources(w.Header(), p.captcha.Sources)
	}
}

// checkCaptcha verifies the response of the widget in a form. The service gets it and the secret, and nothing about the
// user. It returns errCaptchaRefused, or errCaptchaUnavailable when the service gave no valid response: then no account
// can be created.
func (p *Pages) checkCaptcha(ctx context.Context, form url.Values) error {
	if p.captcha.VerifyURL == "" {
		return nil
	}
	token := form.Get(p.captcha.Widget + "-response")
	if token == "" || len(token) > maxCaptchaToken {
		return errCaptchaRefused
	}
	body := url.Values{"secret": {p.captcha.Secret}, "response": {token}, "sitekey": {p.captcha.SiteKey}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.captcha.VerifyURL, strings.NewReader(body.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := p.captchaClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errCaptchaUnavailable, err)
	}
	defer func() { _ = res.Body.Close() }()
	var result struct {
		Success *bool `json:"success"`
	}
	err = json.NewDecoder(io.LimitReader(res.Body, maxCaptchaResponse)).Decode(&result)
	switch {
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: status %d", errCaptchaUnavailable, res.StatusCode)
	case err != nil:
		return fmt.Errorf("%w: %w", errCaptchaUnavailable, err)
	case result.Success == nil:
		return fmt.Errorf("%w: the response has no success", errCaptchaUnavailable)
	case !*result.Success:
		return errCaptchaRefused
	}
	return nil
}

// captchaFailed shows the form again, with what to do next.
func (p *Pages) captchaFailed(w http.ResponseWriter, r *http.Request, v view, problem error) error {
	reqevent.FromContext(r.Context()).Err = problem
	status, key := http.StatusBadRequest, "captcha.problem"
	if !errors.Is(problem, errCaptchaRefused) {
		w.Header().Set("Retry-After", "60")
		status, key = http.StatusServiceUnavailable, "captcha.unavailable"
	}
	v.Problem = p.pages.Text(r, key)
	return p.pages.Render(w, status, "self_service", v)
}
