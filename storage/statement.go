package storage

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
)

// The statements of the hot paths are whole when they are written. They go to gorm's connections, prepared statements and log
// past its builder, which took a fifth of what an introspection allocates.

// exec runs one statement whose row count does not matter.
func (s *Store) exec(ctx context.Context, query string, args ...any) error {
	_, err := run(ctx, s.write, query, args)
	return err
}

// execOne runs one conditional statement and returns ErrNotFound when it changed no row.
func (s *Store) execOne(ctx context.Context, query string, args ...any) error {
	changed, err := run(ctx, s.write, query, args)
	if err == nil && changed == 0 {
		return ErrNotFound
	}
	return err
}

func run(ctx context.Context, db *gorm.DB, query string, args []any) (changed int64, err error) {
	query = placed(db, query, args)
	defer traced(ctx, db, time.Now(), query, &changed, &err)
	res, err := db.Statement.ConnPool.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// queryRow reads the columns of one row into dest, or returns ErrNotFound.
func queryRow(ctx context.Context, db *gorm.DB, dest []any, query string, args ...any) (err error) {
	query = placed(db, query, args)
	found := int64(0)
	defer traced(ctx, db, time.Now(), query, &found, &err)
	rows, err := db.Statement.ConnPool.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return ErrNotFound
	}
	found = 1
	return rows.Scan(dest...)
}

// traced tells gorm's log of a statement that is done.
func traced(ctx context.Context, db *gorm.DB, began time.Time, query string, rows *int64, err *error) {
	cause := *err
	if errors.Is(cause, ErrNotFound) {
		cause = nil
	}
	db.Logger.Trace(ctx, began, func() (string, int64) { return query, *rows }, cause)
}

// placed writes the places of values, "?" in this package, as the engine does. A statement with values has no question mark
// otherwise; one without, which may have the name of a role in it, stays as it is.
func placed(db *gorm.DB, query string, args []any) string {
	if db.Name() != Postgres || len(args) == 0 {
		return query
	}
	var out strings.Builder
	out.Grow(len(query) + 64)
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteByte('$')
		out.WriteString(strconv.Itoa(n))
		query = after
	}
}
