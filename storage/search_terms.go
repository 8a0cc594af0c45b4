package storage

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"gatehouse/storage/db"
)

const (
	maxTermBytes = 254 // the longest email address
	maxTerms     = 40  // of a record
	maxWords     = 8   // of a search
)

// searchTerm is a word by which a record is found.
type searchTerm struct {
	RecordID string
	Term     string
}

var termRows = map[string]*db.Record[searchTerm]{
	userList.terms:   db.NewRecord[searchTerm](userList.terms),
	clientList.terms: db.NewRecord[searchTerm](clientList.terms),
}

// foldWords returns the words of a text without regard to case, width and accents.
func foldWords(text string) []string {
	decomposed := norm.NFKD.String(text)
	letters := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, decomposed)
	return strings.Fields(cases.Fold().String(letters))
}

// searchWords returns the words of a search.
func searchWords(search string) []string {
	words := foldWords(search)
	return words[:min(len(words), maxWords)]
}

// terms are the words by which a record is found.
type terms []string

// add adds the words of a text, and the parts of words that punctuation separates.
func (t *terms) add(texts ...string) {
	for _, text := range texts {
		for _, word := range foldWords(text) {
			*t = append(*t, truncate(word))
			for _, part := range strings.FieldsFunc(word, isPunctuation) {
				*t = append(*t, truncate(part))
			}
		}
	}
}

func isPunctuation(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// distinct returns the words without those that begin another, because a search for them finds the longer one.
func (t terms) distinct() []string {
	slices.Sort(t)
	out := []string{}
	for i, word := range t {
		if i+1 == len(t) || !strings.HasPrefix(t[i+1], word) {
			out = append(out, word)
		}
	}
	if len(out) > maxTerms {
		slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
		out = out[:maxTerms]
	}
	return out
}

// truncate shortens a word to maxTermBytes, at the end of a rune.
func truncate(word string) string {
	if len(word) <= maxTermBytes {
		return word
	}
	end := maxTermBytes
	for !utf8.RuneStart(word[end]) {
		end--
	}
	return word[:end]
}

// userTerms returns the words by which a user is found. Of the email address these are the complete address, the domain
// and the parts of the name before it, so that "com" is not a word of every user.
func userTerms(u *User) []string {
	local, domain, _ := strings.Cut(u.Email, "@")
	var t terms
	t.add(u.Username, local, u.Name, u.Profile.GivenName, u.Profile.FamilyName, u.Profile.Nickname)
	for _, whole := range append(foldWords(u.Email), foldWords(domain)...) {
		t = append(t, truncate(whole))
	}
	return t.distinct()
}

// clientTerms returns the words by which a client is found.
func clientTerms(c *Client) []string {
	var t terms
	t.add(c.Name, c.Owner)
	t = append(t, truncate(strings.Join(foldWords(c.ID), "")))
	return t.distinct()
}

// setUserTerms stores the words by which a user is found, in the current transaction.
func (s *Store) setUserTerms(ctx context.Context, u *User) error {
	return s.replaceTerms(ctx, userList, u.ID, userTerms(u))
}

// setClientTerms stores the words by which a client is found, in the current transaction.
func (s *Store) setClientTerms(ctx context.Context, c *Client) error {
	return s.replaceTerms(ctx, clientList, c.ID, clientTerms(c))
}

func (s *Store) replaceTerms(ctx context.Context, l list, id string, words []string) error {
	if err := db.Exec(ctx, s.Write, "DELETE FROM "+l.terms+" WHERE record_id = ?", id); err != nil {
		return err
	}
	return termRows[l.terms].InsertAll(ctx, s.Write, searchTerms(id, words))
}

func searchTerms(id string, words []string) []searchTerm {
	out := make([]searchTerm, len(words))
	for i, w := range words {
		out[i] = searchTerm{RecordID: id, Term: w}
	}
	return out
}

// IndexRecords stores the words of records of a version that did not store them, so that they are found too. Several
// processes may call it concurrently.
func (s *Store) IndexRecords(ctx context.Context) error {
	if err := indexRecords(ctx, s, userList, func(u *User) (string, []string) { return u.ID, userTerms(u) }); err != nil {
		return db.Wrap("index users", err)
	}
	err := indexRecords(ctx, s, clientList, func(c *Client) (string, []string) { return c.ID, clientTerms(c) })
	return db.Wrap("index clients", err)
}

// indexBatch is how many records one transaction indexes.
const indexBatch = 500

func indexRecords[T any](ctx context.Context, s *Store, l list, of func(*T) (id string, words []string)) error {
	for {
		indexed := 0
		err := s.Tx(ctx, func(tx *Store) error {
			query := "NOT EXISTS (SELECT 1 FROM " + l.terms + " t WHERE t.record_id = " + l.table + ".id)"
			records, err := db.ListLocked[T](ctx, tx.Write, indexBatch, "id", query)
			if err != nil {
				return err
			}
			var all []searchTerm
			for i := range records {
				all = append(all, searchTerms(of(&records[i]))...)
			}
			indexed = len(records)
			// Another process may have indexed some of them after this statement's snapshot.
			return termRows[l.terms].InsertMissing(ctx, tx.Write, all)
		})
		if err != nil || indexed < indexBatch {
			return err
		}
	}
}
