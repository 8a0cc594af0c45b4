package client

import (
	"context"
	"errors"
	"sync"

	"gatehouse/oauth/fetch"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// maxDocumentFetches is how many documents are fetched at a time. Only half of it is for documents that are not on the
// operator's list, so that an attacker's slow servers do not keep the listed ones out.
const maxDocumentFetches = 32

// fetches has the documents that are being fetched, so that concurrent first uses of a client_id cause one fetch.
type fetches struct {
	mu      sync.Mutex
	running map[string]*documentFetch
	// unlisted is how many of them are not on the operator's list.
	unlisted int
}

type documentFetch struct {
	done   chan struct{} // closed when client and err are set
	client *storage.Client
	err    error
}

// share returns the result of a running fetch of the document, or runs it. It returns temporarily_unavailable when too
// many are running.
func (f *fetches) share(
	ctx context.Context, id string, isListed bool, run func(context.Context) (*storage.Client, error),
) (*storage.Client, error) {
	f.mu.Lock()
	running, ok := f.running[id]
	if ok {
		f.mu.Unlock()
		select {
		case <-running.done:
			return running.client, running.err
		case <-ctx.Done():
			return nil, protocol.UnavailableError(ctx.Err())
		}
	}
	if len(f.running) >= maxDocumentFetches || !isListed && f.unlisted >= maxDocumentFetches/2 {
		f.mu.Unlock()
		return nil, protocol.UnavailableError(fetch.ErrBusy)
	}
	own := &documentFetch{done: make(chan struct{}), err: errors.New("the fetch did not end")}
	f.running[id] = own
	if !isListed {
		f.unlisted++
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.running, id)
		if !isListed {
			f.unlisted--
		}
		f.mu.Unlock()
		close(own.done)
	}()
	// Not the context of this request: others may wait for the result.
	own.client, own.err = run(context.WithoutCancel(ctx))
	return own.client, own.err
}
