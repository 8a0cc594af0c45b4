package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/google/uuid"

	"gatehouse/oauth/jwt"
	"gatehouse/storage"
)

const (
	maxConcurrentDeliveries = 64
	deliveryBatch           = 20
	deliveryPause           = 100 * time.Millisecond
	dueTimeout              = 10 * time.Second
	// deliveryLease is longer than any attempt takes.
	deliveryLease = 30 * time.Second
	// deliveryLifetime is how long an app may be away and still hear of a logout.
	deliveryLifetime = 24 * time.Hour
	maxBackoff       = time.Hour
	// minAttempts is the number of attempts before a logout is given up, even by a process with a clock that is
	// ahead.
	minAttempts    = 12
	logoutTokenTTL = 2 * time.Minute
	logoutEvent    = "http://schemas.openid.net/event/backchannel-logout"
)

// Deliver sends what is due, and returns when nothing is. Every process may do so at once. An app that is slow to answer
// takes one of many places and keeps nobody else waiting.
func (s *Server) Deliver(ctx context.Context) error {
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	slots := make(chan struct{}, maxConcurrentDeliveries)
	for {
		select {
		case slots <- struct{}{}: // as soon as one is free
		case <-ctx.Done():
			wait.Wait() // none goes on without its context
			return errors.Join(errs...)
		}
		free := 1
		for more := true; more && free < deliveryBatch; {
			select {
			case slots <- struct{}{}:
				free++
			default:
				more = false
			}
		}
		limited, cancel := context.WithTimeout(ctx, dueTimeout)
		due, err := s.store.LeaseDeliveries(limited, free, deliveryLease)
		cancel()
		for range free - len(due) {
			<-slots
		}
		for _, d := range due {
			wait.Go(func() {
				err := s.deliver(ctx, d)
				<-slots
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
		if err != nil || len(due) == 0 && len(slots) == 0 {
			wait.Wait()
			return errors.Join(append(errs, err)...)
		}
		if len(due) < free {
			select { // the rest is on its way: look for more in a moment
			case <-time.After(deliveryPause):
			case <-ctx.Done():
			}
		}
	}
}

// deliver makes one attempt within its lease. A failed delivery is retried for a day with exponential backoff.
func (s *Server) deliver(parent context.Context, d storage.Delivery) error {
	ctx, cancel := context.WithTimeout(parent, deliveryLease)
	defer cancel()
	c, err := s.store.Client(ctx, d.ClientID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && (c.BackchannelLogoutURI == "" || c.DisabledAt != nil) {
		return s.store.FinishDelivery(ctx, d, storage.Event{Type: storage.LogoutUndelivered, Detail: map[string]any{"reason": "the client takes no logouts any more"}})
	}
	if err != nil {
		return err
	}
	failure := s.sendLogout(ctx, c, d)
	if parent.Err() != nil {
		return nil //nolint:nilerr // the process stops; the lease runs out and another attempt follows
	}
	if failure == nil {
		return s.store.FinishDelivery(ctx, d, storage.Event{Type: storage.LogoutDelivered, Detail: map[string]any{"attempts": d.Attempts}})
	}
	s.options.Log.WarnContext(ctx, "a logout did not reach its app", slog.String("client_id", c.ID), slog.Int64("attempt", d.Attempts), slog.Any("cause", failure))
	now := s.store.Now()
	if now.Sub(d.CreatedAt) >= deliveryLifetime && d.Attempts >= minAttempts {
		return s.store.FinishDelivery(ctx, d, storage.Event{Type: storage.LogoutUndelivered, Detail: map[string]any{"attempts": d.Attempts}})
	}
	return s.store.PostponeDelivery(ctx, d.ID, now.Add(backoff(d.Attempts)))
}

// backoff is 1, 2, 4 … seconds, an hour at most.
func backoff(attempts int64) time.Duration {
	if attempts > 12 {
		return maxBackoff
	}
	return min(time.Second<<max(0, attempts-1), maxBackoff)
}

// logoutToken tells an app that a session is over (OIDC Back-Channel Logout §2.4).
type logoutToken struct {
	Issuer   string              `json:"iss"`
	Subject  string              `json:"sub"`
	Audience string              `json:"aud"`
	IssuedAt int64               `json:"iat"`
	Expires  int64               `json:"exp"`
	JTI      string              `json:"jti"`
	Events   map[string]struct{} `json:"events"`
	SID      string              `json:"sid"`
}

// sendLogout posts a fresh logout token (§2.5). 200 is the answer of an app that signed the person out, and 204 of some.
func (s *Server) sendLogout(ctx context.Context, c *storage.Client, d storage.Delivery) error {
	now := s.store.Now()
	token, err := s.Keyring.SignJWT(ctx, c.IDTokenAlg, jwt.TypeLogout, logoutToken{
		Issuer: s.options.Issuer, Subject: s.Subject(c, d.UserID), Audience: c.ID, IssuedAt: now.Unix(), Expires: now.Add(logoutTokenTTL).Unix(),
		JTI: uuid.NewString(), Events: map[string]struct{}{logoutEvent: {}}, SID: s.sid(c, d.SessionID),
	})
	if err != nil {
		return err
	}
	status, err := s.fetch.Post(ctx, c.BackchannelLogoutURI, url.Values{"logout_token": {token}})
	if err != nil {
		return err
	}
	if status != http.StatusOK && status != http.StatusNoContent {
		return fmt.Errorf("answered %d", status)
	}
	return nil
}
