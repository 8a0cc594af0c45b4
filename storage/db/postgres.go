package db

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

// connectTimeout limits how long one host of the URL takes to accept a connection, unless the URL has connect_timeout.
const connectTimeout = 5 * time.Second

// limits are timeouts that PostgreSQL enforces, so that a process that stops within a transaction does not delay
// others for longer. Zero is no limit. Values in the URL, of the role or of the server take precedence.
type limits struct{ lock, idle, statement time.Duration }

var (
	// defaultLimits: a transaction that waits for the lock of a stopped process fails before the request's own timeout,
	// and soon afterwards PostgreSQL ends the stopped one.
	defaultLimits = limits{lock: 20 * time.Second, idle: 30 * time.Second, statement: 2 * time.Minute}
	// commandLimits: a command may read the whole audit log in one statement.
	commandLimits = limits{lock: defaultLimits.lock, idle: defaultLimits.idle}
	// migrationLimits: building an index may take hours, and waits for transactions that are open.
	migrationLimits = limits{lock: 5 * time.Minute, idle: 30 * time.Second}
)

// postgresURL is a parsed connection URL.
type postgresURL struct {
	config pgx.ConnConfig
	// pooled is set when a connection goes through a pooler such as PgBouncer.
	pooled atomic.Bool
	// explicitMode is set when the URL chooses how statements are executed.
	explicitMode bool
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
		// A connection that waits for a response detects within half a minute that the other side is gone.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}).DialContext
	return &postgresURL{config: *config, explicitMode: strings.Contains(dsn, "default_query_exec_mode")}, nil
}

// maxConnectTime returns the maximum time to try all hosts.
func (p *postgresURL) maxConnectTime() time.Duration {
	if p == nil {
		return 0
	}
	hosts := map[string]bool{net.JoinHostPort(p.config.Host, fmt.Sprint(p.config.Port)): true}
	for _, f := range p.config.Fallbacks {
		hosts[net.JoinHostPort(f.Host, fmt.Sprint(f.Port))] = true
	}
	return time.Duration(len(hosts)) * p.config.ConnectTimeout
}

func (d *DB) connectPostgres(dsn string, pool int, l limits) (err error) {
	if d.pg, err = parsePostgresURL(dsn); err != nil {
		return err
	}
	conns := d.pg.open(l)
	// pgx caches prepared statements, so the cache of gorm is off.
	conn, err := d.openPool(postgres.New(postgres.Config{Conn: postgresPool{conns, d.pg, l}}), false)
	if err != nil {
		return errors.Join(err, conns.Close())
	}
	d.Write, d.Read = conn, conn
	d.pools[0].SetMaxOpenConns(pool)
	d.pools[0].SetMaxIdleConns(pool)
	d.pools[0].SetConnMaxLifetime(30 * time.Minute)
	d.pools[0].SetConnMaxIdleTime(5 * time.Minute)
	return nil
}

// open returns a connection pool with these limits.
func (p *postgresURL) open(l limits) *sql.DB {
	return stdlib.OpenDB(p.config,
		stdlib.OptionBeforeConnect(func(_ context.Context, config *pgx.ConnConfig) error {
			if p.pooled.Load() && !p.explicitMode {
				// Each statement is sent as text, and each may be executed by another server. Only the types of its
				// parameters and columns are cached.
				config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
			}
			return nil
		}),
		stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
			err := p.prepare(ctx, c, l)
			if err != nil { // database/sql never sees this connection
				closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer cancel()
				_ = c.Close(closing) // err is the error to report
			}
			return err
		}))
}

// prepare configures a new connection. Through a pooler the backend key of the connection is the pooler's, while
// pg_backend_pid is the server's. There, no setting may outlive a transaction, because the next one may belong to
// another client, and prepared statements are unreliable; a connection that was opened with them is closed and opened
// again.
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
	// A prepared plan is created while its table is small and is still used when the table has grown a thousandfold.
	// Without an index it is a scan, which must not be compiled because of its estimated cost.
	_, err := c.Exec(ctx, "SET enable_seqscan = off; SET jit = off;"+p.statements(l, false),
		pgx.QueryExecModeSimpleProtocol)
	return err
}

// statements returns the statements that set the limits, only for the transaction when local.
func (p *postgresURL) statements(l limits, local bool) string {
	var out strings.Builder
	for _, v := range []struct {
		name  string
		value time.Duration
	}{{"lock_timeout", l.lock}, {"idle_in_transaction_session_timeout", l.idle}, {"statement_timeout", l.statement}} {
		if _, own := p.config.RuntimeParams[v.name]; v.value > 0 && !own {
			fmt.Fprintf(&out, "SELECT set_config('%s', '%d', %t) WHERE current_setting('%[1]s') = '0';", v.name,
				v.value.Milliseconds(), local)
		}
	}
	return out.String()
}

// postgresPool is PostgreSQL's pool. Behind a pooler it sets the limits in each transaction.
type postgresPool struct {
	*sql.DB

	url    *postgresURL
	limits limits
}

var _ gorm.TxBeginner = postgresPool{}

// GetDBConn returns the pool to gorm.
func (p postgresPool) GetDBConn() (*sql.DB, error) { return p.DB, nil }

// BeginTx begins a transaction with its limits.
func (p postgresPool) BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error) {
	tx, err := p.DB.BeginTx(ctx, opts)
	if err != nil || !p.url.pooled.Load() {
		return tx, err
	}
	if limits := p.url.statements(p.limits, true); limits != "" {
		if _, err := tx.ExecContext(ctx, limits); err != nil {
			return nil, errors.Join(err, tx.Rollback())
		}
	}
	return tx, nil
}
