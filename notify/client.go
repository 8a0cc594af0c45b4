package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"gatehouse/oauth/fetch"
	"gatehouse/storage"
)

// ConcurrentPosts is the Sender.Concurrent of messages to clients. A client that responds slowly uses one slot of many.
const ConcurrentPosts = 64

// Build returns the URL and the form of a message to a client. An empty URL means that the client no longer wants such
// messages.
type Build func(ctx context.Context, c *storage.Client, d storage.Delivery) (url string, form url.Values, err error)

// ToClient returns a kind of delivery that is posted to a URL of a client for up to a day.
func ToClient(store *storage.Store, client *fetch.Client, failedMessage string, build Build) Kind {
	unwanted := &Abandoned{Reason: "the client no longer accepts these messages"}
	deliver := func(ctx context.Context, d storage.Delivery) error {
		c, err := store.Client(ctx, d.ClientID)
		if errors.Is(err, storage.ErrNotFound) || err == nil && c.DisabledAt != nil {
			return unwanted
		}
		if err != nil {
			return err
		}
		target, form, err := build(ctx, c, d)
		if err != nil {
			return err
		}
		if target == "" {
			return unwanted
		}
		return post(ctx, client, target, form)
	}
	return Kind{Deliver: deliver, FailedMessage: failedMessage, Lifetime: 24 * time.Hour, MaxBackoff: time.Hour}
}

func post(ctx context.Context, client *fetch.Client, target string, form url.Values) error {
	status, err := client.Post(ctx, target, form)
	if err != nil {
		return err
	}
	if status != http.StatusOK && status != http.StatusNoContent {
		return fmt.Errorf("responded with status %d", status)
	}
	return nil
}
