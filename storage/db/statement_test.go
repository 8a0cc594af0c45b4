package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

var errClose = errors.New("the connection broke")

// brokenRows is a driver whose results have no rows and cannot be closed.
type brokenRows struct{}

func (brokenRows) Connect(context.Context) (driver.Conn, error) { return brokenRows{}, nil }
func (brokenRows) Driver() driver.Driver                        { return nil }
func (brokenRows) Prepare(string) (driver.Stmt, error)          { return brokenRows{}, nil }
func (brokenRows) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
func (brokenRows) NumInput() int                                { return -1 }
func (brokenRows) Exec([]driver.Value) (driver.Result, error)   { return nil, driver.ErrSkip }
func (brokenRows) Query([]driver.Value) (driver.Rows, error)    { return emptyRows{}, nil }
func (brokenRows) Close() error                                 { return nil }

type emptyRows struct{}

func (emptyRows) Columns() []string         { return []string{"one"} }
func (emptyRows) Next([]driver.Value) error { return io.EOF }
func (emptyRows) Close() error              { return errClose }

func TestCloseFaultIsNotErrNotFound(t *testing.T) {
	t.Parallel()
	pool := sql.OpenDB(brokenRows{})
	t.Cleanup(func() { _ = pool.Close() })
	g, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}),
		&gorm.Config{Logger: logger.Discard, DisableAutomaticPing: true})
	if err != nil {
		t.Fatal(err)
	}
	err = QueryRow(t.Context(), Conn{g}, []any{new(int)}, "SELECT 1")
	if !errors.Is(err, errClose) || errors.Is(err, ErrNotFound) {
		t.Errorf("QueryRow = %v, want only the error of Close", err)
	}
}
