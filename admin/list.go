package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"

	"gatehouse/storage"
)

// List selects a page of a list.
type List struct {
	Search string // words that must be found; empty: all records
	Limit  int    // the maximum number of records; 0: no maximum
	Cursor string // Next of the previous page; empty: the first page
}

// Page is a part of a list.
type Page[T any] struct {
	Items []T
	Next  string // the cursor of the next page; empty at the end
}

// ErrInvalidCursor is returned for a cursor that no page of a list has returned.
var ErrInvalidCursor = errors.New("the cursor is not one of this list; repeat the list without it")

// pageSize is how many records are read by one query.
const pageSize = 1000

// readPage reads a page of a list.
func readPage[T any](
	ctx context.Context, l List,
	read func(ctx context.Context, search string, after storage.Position, limit int) ([]T, *storage.Position, error),
) (Page[T], error) {
	page := Page[T]{Items: []T{}}
	next, err := parseCursor(l.Cursor)
	if err != nil {
		return page, err
	}
	for next != nil {
		limit := pageSize
		if l.Limit > 0 {
			if limit = min(limit, l.Limit-len(page.Items)); limit == 0 {
				page.Next = cursorOf(*next)
				return page, nil
			}
		}
		var items []T
		if items, next, err = read(ctx, l.Search, *next, limit); err != nil {
			return page, err
		}
		page.Items = append(page.Items, items...)
	}
	return page, nil
}

// cursorOf returns a position as a cursor.
func cursorOf(p storage.Position) string {
	b, _ := json.Marshal([]string{p.Key, p.ID}) // strings never fail
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor returns the position of a cursor, the beginning for an empty one.
func parseCursor(cursor string) (*storage.Position, error) {
	if cursor == "" {
		return &storage.Position{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	var parts []string
	if err != nil || json.Unmarshal(b, &parts) != nil || len(parts) != 2 {
		return nil, ErrInvalidCursor
	}
	return &storage.Position{Key: parts[0], ID: parts[1]}, nil
}
