package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/glebarez/sqlite"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"gatehouse/storage/reqevent"
)

// registerMillis makes the scanner of instants known to gorm, which keeps serializers in a global table.
var registerMillis = sync.OnceFunc(func() { schema.RegisterSerializer("millis", millis{}) })

func (s *Store) connect(ctx context.Context, o Options) error {
	registerMillis()
	pool := o.Pool
	if pool == 0 {
		pool = 4 * runtime.GOMAXPROCS(0)
	}
	var err error
	if path, ok := strings.CutPrefix(o.URL, "sqlite:"); ok {
		s.engine = SQLite
		err = s.connectSQLite(path, pool, o.ReadOnlyAllowed)
	} else {
		s.engine = Postgres
		limits := usualLimits
		if o.Command {
			limits = commandLimits
		}
		err = s.connectPostgres(o.URL, pool, limits)
	}
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, s.pg.connectTime()+5*time.Second, errPingTimeout)
	defer cancel()
	if err = queryRow(limited, s.write, []any{new(int64)}, "SELECT 1"); err != nil && errors.Is(context.Cause(limited), errPingTimeout) {
		err = errors.Join(errPingTimeout, err)
	}
	return wrap("reach the database", err)
}

var errPingTimeout = errors.New("no response within the time limit")

// connectSQLite opens one writer connection and a pool of readers. FULL costs about 0.3 ms a commit, but with NORMAL a
// power loss could forget a revocation. Transactions take the write lock at once, or two of them could wait for each
// other's upgrade.
func (s *Store) connectSQLite(path string, readers int, readOnlyAllowed bool) (err error) {
	if dir := filepath.Dir(path); dir != "." {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return wrap("create the directory of the database", err)
		}
	}
	if s.readOnly, err = openFile(path, readOnlyAllowed); err != nil {
		return err
	}
	s.file = &databaseFile{path: path}
	if s.file.opened, err = os.Stat(path); err != nil {
		return wrap("open the database", err)
	}
	// A wait inside SQLite hears of no deadline, so it is short, and patient waits on.
	pragmas := url.Values{"_pragma": {
		"busy_timeout(1000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(2)",
		"journal_size_limit(67108864)",
	}}
	name := "file:" + (&url.URL{Path: path}).EscapedPath()
	if s.readOnly {
		name += readOnlyParameters(path)
	} else {
		name += "?" + pragmas.Encode()
	}
	// No statement cache on the one writer: gorm lets only one caller prepare a statement, and if that one waits for the
	// connection while the transaction that holds it needs the same statement, both wait for ever.
	writer, err := sql.Open(sqlite.DriverName, name+"&_txlock=immediate")
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	if s.write, err = s.openPool(sqlite.Dialector{Conn: patient{writer, s.file}}, false); err != nil {
		return errors.Join(err, writer.Close())
	}
	if s.read, err = s.openPool(sqlite.Open(name+"&_pragma=query_only(1)"), true); err != nil {
		return err
	}
	s.pools[0].SetMaxOpenConns(1)
	s.pools[1].SetMaxOpenConns(readers)
	s.pools[1].SetMaxIdleConns(readers)
	return nil
}

func (s *Store) openPool(d gorm.Dialector, prepare bool) (*gorm.DB, error) {
	db, err := gorm.Open(d, &gorm.Config{
		SkipDefaultTransaction: true,
		// Columns by their names, never *: PostgreSQL refuses a prepared * once a later version has added a column.
		QueryFields:          true,
		TranslateError:       true,
		PrepareStmt:          prepare,
		PrepareStmtMaxSize:   256,
		PrepareStmtTTL:       time.Hour,
		NowFunc:              func() time.Time { return s.now().UTC() },
		Logger:               quiet{s.log, &s.slow, &s.asked},
		DisableAutomaticPing: true,
	})
	if err != nil {
		return nil, wrap("open the database", err)
	}
	pool, err := db.DB()
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	s.pools = append(s.pools, pool)
	return db, nil
}

// quiet is gorm's logger: it reports slow statements by their text alone. Arguments carry hashes and personal data,
// and errors are reported by whoever asked.
type quiet struct {
	log  *slog.Logger
	slow *atomic.Uint64
	// asked counts the statements of requests, which have an id; those of jobs are others.
	asked *atomic.Uint64
}

func (q quiet) LogMode(logger.LogLevel) logger.Interface { return q }
func (q quiet) Info(context.Context, string, ...any)     {}
func (q quiet) Warn(context.Context, string, ...any)     {}
func (q quiet) Error(context.Context, string, ...any)    {}
func (q quiet) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}

// Trace also makes the statement part of the trace of its request, where that is traced.
func (q quiet) Trace(ctx context.Context, begin time.Time, fc func() (string, int64), err error) {
	if reqevent.From(ctx).RequestID != "" {
		q.asked.Add(1)
	}
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		query, _ := fc()
		_, statement := span.TracerProvider().Tracer("gatehouse/storage").Start(ctx, "database", trace.WithTimestamp(begin), trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(attribute.String("db.query.text", query)))
		if err != nil && !errors.Is(err, context.Canceled) {
			statement.SetStatus(codes.Error, "")
		}
		statement.End()
	}
	if took := time.Since(begin); took > time.Second && !errors.Is(err, context.Canceled) {
		q.slow.Add(1)
		query, rows := fc()
		q.log.WarnContext(ctx, "slow statement", slog.String("sql", query), slog.Int64("rows", rows), slog.Float64("took_ms", float64(took.Microseconds())/1000))
	}
}

var _ gorm.ParamsFilter = quiet{}

// pool is the database/sql pool that writes.
func (s *Store) pool() *sql.DB { return s.pools[0] }
