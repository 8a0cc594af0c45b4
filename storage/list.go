package storage

import (
	"context"
	"strings"

	"gatehouse/storage/db"
)

// Position is where a page of a list ends: the key by which the list is sorted and the id of a record. The zero
// Position is the beginning.
type Position struct{ Key, ID string }

// list is how the pages of a kind of records are read.
type list struct {
	table string // of the records
	key   string // the expression by which they are sorted
	terms string // the table with the words by which they are found
}

var (
	userList   = list{table: "users", key: "username_key", terms: "user_terms"}
	clientList = list{table: "clients", key: "lower(name)", terms: "client_terms"}
)

// UserPage returns up to limit users after a position, and the position of the next page, nil at the end. Without a
// search they are sorted by username. With one they are those of whom each word of the search begins a word of the
// username, email address or name, sorted by the word that was found; a page can then have fewer users although others
// follow.
func (s *Store) UserPage(ctx context.Context, search string, after Position, limit int) ([]User, *Position, error) {
	users, next, err := page[User](ctx, s, userList, search, after, limit, func(u *User) string { return u.ID })
	return users, next, db.Wrap("list users", err)
}

// ClientPage returns clients without their secrets, by name, as UserPage does users. Words of a search are found in
// client_id, name and owner.
func (s *Store) ClientPage(ctx context.Context, search string, after Position, limit int) ([]Client, *Position, error) {
	clients, next, err := page[Client](ctx, s, clientList, search, after, limit, func(c *Client) string { return c.ID })
	return clients, next, db.Wrap("list clients", err)
}

func page[T any](
	ctx context.Context, s *Store, l list, search string, after Position, limit int, id func(*T) string,
) (records []T, next *Position, err error) {
	var found []Position
	if words := searchWords(search); len(words) > 0 {
		found, next, err = s.search(ctx, l, words, after, limit)
	} else {
		found, next, err = s.byKey(ctx, l, after, limit)
	}
	if err != nil || len(found) == 0 {
		return []T{}, next, err
	}
	ids := make([]string, len(found))
	for i, p := range found {
		ids[i] = p.ID
	}
	condition, arg := s.Read.In("id", ids)
	unsorted, err := db.List[T](ctx, s.Read, "id", condition, arg)
	byID := make(map[string]int, len(unsorted))
	for i := range unsorted {
		byID[id(&unsorted[i])] = i
	}
	records = make([]T, 0, len(found))
	for _, p := range found {
		if i, ok := byID[p.ID]; ok { // it was not deleted in the meantime
			records = append(records, unsorted[i])
		}
	}
	return records, next, err
}

// byKey returns the positions of the records that follow a position in the order of their keys.
func (s *Store) byKey(ctx context.Context, l list, after Position, limit int) (found []Position, next *Position, err error) {
	key, id := s.Read.ByteOrder(l.key), s.Read.ByteOrder("id")
	err = db.Query(ctx, s.Read, func(scan func(dest ...any) error) error {
		var p Position
		err := scan(&p.Key, &p.ID)
		found = append(found, p)
		return err
	}, "SELECT "+l.key+", id FROM "+l.table+" WHERE ("+key+", "+id+") > (?, ?) ORDER BY "+key+", "+id+" LIMIT ?",
		after.Key, after.ID, limit+1)
	if len(found) > limit {
		found = found[:limit]
		next = &found[limit-1]
	}
	return found, next, err
}

const (
	// maxScanned bounds how many words one page of a search reads, for searches whose words are all frequent and rarely in
	// the same record.
	maxScanned = 4000
	// scanBatch is how many of them one statement reads.
	scanBatch = 1000
)

// search returns the positions of the records that follow a position in the order of the word that is found for the
// longest word of the search, and that have all words.
func (s *Store) search(
	ctx context.Context, l list, words []string, after Position, limit int,
) (found []Position, next *Position, err error) {
	query, args := searchStatement(s.Read, l, words)
	batch := scanBatch
	if len(words) == 1 {
		batch = min(batch, 2*limit)
	}
	for scanned := 0; ; {
		read := 0
		err = db.Query(ctx, s.Read, func(scan func(dest ...any) error) error {
			var p Position
			var all bool
			if err := scan(&p.Key, &p.ID, &all); err != nil {
				return err
			}
			if read++; len(found) > limit {
				return nil
			}
			after = p
			if all {
				found = append(found, p)
			}
			return nil
		}, query, append(args, after.Key, after.ID, batch)...)
		scanned += read
		switch {
		case err != nil:
			return nil, nil, err
		case len(found) > limit:
			found = found[:limit]
			return found, &found[limit-1], nil
		case read < batch:
			return found, nil, nil
		case scanned >= maxScanned:
			return found, &after, nil
		}
	}
}

// searchStatement returns the statement that reads the words of a table that begin with the longest word of a search,
// and whether their record has the other words too and no earlier one that begins with it, so that each record is found
// once. Its last three arguments, the position and the number of rows, are not in args.
func searchStatement(c db.Conn, l list, words []string) (query string, args []any) {
	longest := words[0]
	for _, w := range words {
		if len(w) > len(longest) {
			longest = w
		}
	}
	var q strings.Builder
	q.WriteString("SELECT term, record_id, NOT EXISTS (SELECT 1 FROM " + l.terms +
		" o WHERE o.record_id = t.record_id AND o.term >= ? AND o.term < t.term)")
	args = append(args, longest)
	for _, w := range words {
		if w != longest {
			q.WriteString(" AND EXISTS (SELECT 1 FROM " + l.terms +
				" o WHERE o.record_id = t.record_id AND o.term >= ? AND o.term < ?)")
			args = append(args, w, w+lastRune)
		}
	}
	id := c.ByteOrder("record_id")
	q.WriteString(" FROM (SELECT term, record_id FROM " + l.terms + " WHERE term >= ? AND term < ? AND (term, " + id +
		") > (?, ?) ORDER BY term, " + id + " LIMIT ?) t ORDER BY term, " + c.ByteOrder("record_id"))
	return q.String(), append(args, longest, longest+lastRune)
}

// lastRune follows every rune of a word.
const lastRune = "\U0010FFFF"
