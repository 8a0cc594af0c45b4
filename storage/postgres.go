package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// connectTimeout is how long one host of the URL may take to accept a connection, unless the URL has connect_timeout.
const connectTimeout = 5 * time.Second

// limits are what PostgreSQL enforces, so that a process that stops in the middle of a transaction delays others only for so
// long. Zero is no limit. Values that the URL, the role or the server has win.
type limits struct{ lock, idle, statement time.Duration }

var (
	// usualLimits: a transaction that waits for the lock of a stopped process fails before the request's own timeout, and
	// soon afterwards PostgreSQL ends the stopped one.
	usualLimits = limits{lock: 20 * time.Second, idle: 30 * time.Second, statement: 2 * time.Minute}
	// migrationLimits: building an index may take hours, and waits for transactions that are open.
	migrationLimits = limits{lock: 5 * time.Minute, idle: 30 * time.Second}
)

// postgresURL is how to connect.
type postgresURL struct {
	config pgx.ConnConfig
	// pooled is set when a connection was found to be shared: there is a pooler such as PgBouncer between.
	pooled atomic.Bool
	// ownMode is set when the URL chooses how statements are executed.
	ownMode bool
}

func parsePostgresURL(dsn string) (*postgresURL, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	config.DialFunc = (&net.Dialer{
		Timeout: config.ConnectTimeout,
		Control: controlSocket,
		// Also a connection that waits for an answer notices within half a minute that the other side is gone.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}).DialContext
	return &postgresURL{config: *config, ownMode: strings.Contains(dsn, "default_query_exec_mode")}, nil
}

// connectTime is how long it may take to go through all hosts.
func (p *postgresURL) connectTime() time.Duration {
	if p == nil {
		return 0
	}
	hosts := map[string]bool{net.JoinHostPort(p.config.Host, fmt.Sprint(p.config.Port)): true}
	for _, f := range p.config.Fallbacks {
		hosts[net.JoinHostPort(f.Host, fmt.Sprint(f.Port))] = true
	}
	return time.Duration(len(hosts)) * p.config.ConnectTimeout
}

func (s *Store) connectPostgres(dsn string, pool int) (err error) {
	if s.pg, err = parsePostgresURL(dsn); err != nil {
		return err
	}
	conns := s.pg.open(usualLimits)
	// pgx caches prepared statements itself, so gorm's own cache stays off.
	db, err := s.openPool(postgres.New(postgres.Config{Conn: sharedPool{conns, s.pg}}), false)
	if err != nil {
		return errors.Join(err, conns.Close())
	}
	s.write, s.read = db, db
	s.pools[0].SetMaxOpenConns(pool)
	s.pools[0].SetMaxIdleConns(pool)
	s.pools[0].SetConnMaxLifetime(30 * time.Minute)
	s.pools[0].SetConnMaxIdleTime(5 * time.Minute)
	return nil
}

// open returns a pool of connections with these limits.
func (p *postgresURL) open(l limits) *sql.DB {
	return stdlib.OpenDB(p.config,
		stdlib.OptionBeforeConnect(func(_ context.Context, config *pgx.ConnConfig) error {
			if p.pooled.Load() && !p.ownMode {
				// Each statement brings its text, and the server that executes it may be another one each time. What
				// is cached are the types of its parameters and columns.
				config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
			}
			return nil
		}),
		stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
			err := p.prepare(ctx, c, l)
			if err != nil { // database/sql never sees this connection
				closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer cancel()
				_ = c.Close(closing) // err is what matters
			}
			return err
		}))
}

// prepare sets a connection up. A pooler answers a connection with a key of its own, while pg_backend_pid is that of the
// server behind it. There nothing may be set that outlives a transaction, for the next one may belong to another client, and
// prepared statements are not to be relied on; a connection that was opened otherwise is opened again.
func (p *postgresURL) prepare(ctx context.Context, c *pgx.Conn, l limits) error {
	var pid uint32
	if err := c.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return err
	}
	if pid != c.PgConn().PID() {
		if p.pooled.CompareAndSwap(false, true) {
			return driver.ErrBadConn
		}
		return nil
	}
	// A prepared plan is made while its table is young and small, and kept when the table has grown a thousandfold: without an
	// index a scan is still what it does, and must not be compiled for its pretended cost.
	_, err := c.Exec(ctx, "SET enable_seqscan = off; SET jit = off;"+p.statements(l, false), pgx.QueryExecModeSimpleProtocol)
	return err
}

// statements set the limits, for the transaction alone when local.
func (p *postgresURL) statements(l limits, local bool) string {
	var out strings.Builder
	for _, v := range []struct {
		name  string
		value time.Duration
	}{{"lock_timeout", l.lock}, {"idle_in_transaction_session_timeout", l.idle}, {"statement_timeout", l.statement}} {
		if _, own := p.config.RuntimeParams[v.name]; v.value > 0 && !own {
			fmt.Fprintf(&out, "SELECT set_config('%s', '%d', %t) WHERE current_setting('%[1]s') = '0';", v.name, v.value.Milliseconds(), local)
		}
	}
	return out.String()
}

// sharedPool is PostgreSQL's pool. Behind a pooler it sets the limits in each transaction.
type sharedPool struct {
	*sql.DB

	url *postgresURL
}

var _ gorm.TxBeginner = sharedPool{}

// GetDBConn gives gorm the pool.
func (p sharedPool) GetDBConn() (*sql.DB, error) { return p.DB, nil }

// BeginTx begins a transaction with its limits.
func (p sharedPool) BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error) {
	tx, err := p.DB.BeginTx(ctx, opts)
	if err != nil || !p.url.pooled.Load() {
		return tx, err
	}
	if limits := p.url.statements(usualLimits, true); limits != "" {
		if _, err := tx.ExecContext(ctx, limits); err != nil {
			return nil, errors.Join(err, tx.Rollback())
		}
	}
	return tx, nil
}
