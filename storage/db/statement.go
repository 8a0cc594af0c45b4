package db

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Exec, ExecOne, ExecCount and QueryRow execute complete statements. They use gorm's connections, prepared statements
// and log but not its builder, which made a fifth of the allocations of an introspection.

// Exec executes one statement whose row count does not matter.
func Exec(ctx context.Context, c Conn, query string, args ...any) error {
	_, err := ExecCount(ctx, c, query, args...)
	return err
}

// ExecOne executes one conditional statement and returns ErrNotFound when it changed no row.
func ExecOne(ctx context.Context, c Conn, query string, args ...any) error {
	changed, err := ExecCount(ctx, c, query, args...)
	if err == nil && changed == 0 {
		return ErrNotFound
	}
	return err
}

// ExecCount executes one statement and returns how many rows it changed.
func ExecCount(ctx context.Context, c Conn, query string, args ...any) (changed int64, err error) {
	query = c.rebind(query, args)
	defer c.trace(ctx, time.Now(), query, &changed, &err)
	res, err := c.gorm.Statement.ConnPool.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// QueryRow reads the columns of one row into dest, or returns ErrNotFound.
func QueryRow(ctx context.Context, c Conn, dest []any, query string, args ...any) (err error) {
	query = c.rebind(query, args)
	found := int64(0)
	defer c.trace(ctx, time.Now(), query, &found, &err)
	rows, err := c.gorm.Statement.ConnPool.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if rows.Next() {
		found = 1
		err = rows.Scan(dest...)
	}
	// A fault must not look like a row that does not exist: it decides before ErrNotFound.
	err = errors.Join(err, rows.Err(), rows.Close()) //nolint:sqlclosecheck // deferred, it would come too late
	if err == nil && found == 0 {
		err = ErrNotFound
	}
	return err
}

// Query calls row for each row of the result, until it returns an error.
func Query(
	ctx context.Context, c Conn, row func(scan func(dest ...any) error) error, query string, args ...any,
) (err error) {
	query = c.rebind(query, args)
	found := int64(0)
	defer c.trace(ctx, time.Now(), query, &found, &err)
	rows, err := c.gorm.Statement.ConnPool.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		found++
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// trace reports a statement that has ended to gorm's log.
func (c Conn) trace(ctx context.Context, began time.Time, query string, rows *int64, err *error) {
	cause := *err
	if errors.Is(cause, ErrNotFound) {
		cause = nil
	}
	c.gorm.Logger.Trace(ctx, began, func() (string, int64) { return query, *rows }, cause)
}

// rebind replaces the placeholders "?" by those of the engine. A statement with values has no other question mark. One
// without values, which may contain the name of a role, stays as it is.
func (c Conn) rebind(query string, args []any) string {
	if c.gorm.Name() != Postgres || len(args) == 0 {
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

// In returns the condition that a column has one of the values, and its argument. The statement is the same for any
// number of values.
func (c Conn) In(column string, values []string) (condition string, arg any) {
	if c.gorm.Name() == Postgres {
		return column + " = ANY (?::text[])", values
	}
	list, _ := json.Marshal(values) // strings never fail
	return column + " IN (SELECT value FROM json_each(?))", string(list)
}

// ByteOrder returns a text expression that is compared and sorted by its bytes, as SQLite does, and not in the order of
// the language of a PostgreSQL database.
func (c Conn) ByteOrder(expression string) string {
	if c.gorm.Name() == Postgres {
		return expression + ` COLLATE "C"`
	}
	return expression
}

// translateError returns ErrConflict for an error of a complete statement about a duplicate key, and any other error as
// it is.
func (c Conn) translateError(err error) error {
	t, ok := c.gorm.Dialector.(gorm.ErrorTranslator)
	if ok && err != nil && errors.Is(t.Translate(err), gorm.ErrDuplicatedKey) {
		return ErrConflict
	}
	return err
}

// Insert adds one record, or returns ErrConflict.
func Insert(ctx context.Context, c Conn, record any) error {
	return translateConflict(c.gorm.WithContext(ctx).Create(record).Error)
}

// InsertMissing adds the records that do not exist yet.
func InsertMissing[T any](ctx context.Context, c Conn, records []T) error {
	return c.gorm.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&records).Error
}

// Update writes the given columns of a record to the rows that the condition matches, or returns ErrConflict.
func Update[T any](ctx context.Context, c Conn, record *T, columns []string, where string, args ...any) error {
	matching := c.gorm.WithContext(ctx).Model(new(T)).Where(where, args...)
	return translateConflict(matching.Select(columns).Updates(record).Error)
}

// UpdateAll does the same as Update for all columns except the omitted ones.
func UpdateAll[T any](ctx context.Context, c Conn, record *T, omitted []string, where string, args ...any) error {
	matching := c.gorm.WithContext(ctx).Model(new(T)).Where(where, args...)
	return translateConflict(matching.Select("*").Omit(omitted...).Updates(record).Error)
}

// translateConflict returns ErrConflict for gorm's error of a duplicate key, and any other error as it is.
func translateConflict(err error) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return ErrConflict
	}
	return err
}

// Take reads the one record that the condition matches, or returns ErrNotFound.
func Take[T any](ctx context.Context, c Conn, where string, args ...any) (T, error) {
	var out []T
	if err := c.gorm.WithContext(ctx).Where(where, args...).Limit(1).Find(&out).Error; err != nil {
		return *new(T), err
	}
	if len(out) == 0 {
		return *new(T), ErrNotFound
	}
	return out[0], nil
}

// List reads the records that the condition matches, in the given order.
func List[T any](ctx context.Context, c Conn, order, where string, args ...any) ([]T, error) {
	out := []T{}
	err := c.gorm.WithContext(ctx).Where(where, args...).Order(order).Find(&out).Error
	return out, err
}

// ListLimit does the same as List for at most limit records.
func ListLimit[T any](ctx context.Context, c Conn, limit int, order, where string, args ...any) ([]T, error) {
	out := []T{}
	err := c.gorm.WithContext(ctx).Where(where, args...).Order(order).Limit(limit).Find(&out).Error
	return out, err
}

// ListLocked does the same as ListLimit in a transaction and locks the records, without those that another transaction
// has locked. SQLite's transaction has the only lock already.
func ListLocked[T any](ctx context.Context, c Conn, limit int, order, where string, args ...any) ([]T, error) {
	out := []T{}
	q := c.gorm.WithContext(ctx).Where(where, args...).Order(order).Limit(limit)
	if c.gorm.Name() == Postgres {
		q = q.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate, Options: clause.LockingOptionsSkipLocked})
	}
	err := q.Find(&out).Error
	return out, err
}

// Select reads the rows of a complete statement, which may also change them and return their columns.
func Select[T any](ctx context.Context, c Conn, query string, args ...any) ([]T, error) {
	var out []T
	err := c.gorm.WithContext(ctx).Raw(query, args...).Scan(&out).Error
	return out, err
}

// Lock locks the row of a table in a transaction, or returns ErrNotFound. SQLite's transaction has the only lock
// already.
func Lock(ctx context.Context, c Conn, table string, id any) error {
	query := "SELECT 1 FROM " + table + " WHERE id = ?"
	if c.gorm.Name() == Postgres {
		query += " FOR UPDATE"
	}
	rows, err := Select[int](ctx, c, query, id)
	if err == nil && len(rows) == 0 {
		err = ErrNotFound
	}
	return err
}

// SkipLocked returns the condition that a column is among what the query selects, without the rows that another
// process has locked on PostgreSQL. There it is an array, which is evaluated once: for IN, the planner may execute the
// query again for every row, so that its LIMIT bounds nothing.
func (d *DB) SkipLocked(column, query string) string {
	if d.engine == Postgres {
		return column + " = ANY (ARRAY (" + query + " FOR UPDATE SKIP LOCKED))"
	}
	return column + " IN (" + query + ")"
}

// BatchRows is the number of rows that one statement of ExecBatches changes at most.
const BatchRows = 500

// ExecBatches executes a statement that changes at most BatchRows rows until it finds no more, and throttles itself
// between two batches. It returns the number of rows.
func ExecBatches(ctx context.Context, c Conn, query string, args ...any) (int64, error) {
	var total int64
	for {
		began := time.Now()
		n, err := ExecCount(ctx, c, query, args...)
		total += n
		if err != nil || n < BatchRows {
			return total, err
		}
		if err := Throttle(ctx, began); err != nil {
			return total, err
		}
	}
}

// throttleFactor is how many times as long as the batch took the pause after it is.
const throttleFactor = 8

// Throttle waits for longer than what began then took, so that background work never delays requests much.
func Throttle(ctx context.Context, began time.Time) error {
	select {
	case <-time.After(throttleFactor * time.Since(began)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
