package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"syscall"

	"gatehouse/config"
	"gatehouse/lograte"
)

const (
	// ownFiles are the file descriptors that a process needs besides connections: listeners, log, certificates, admin
	// connections.
	ownFiles = 64
	// outgoingFiles are those of fetched documents and deliveries.
	outgoingFiles = 128
	// redisFiles are those of the pool to Redis.
	redisFiles = 64
	// sqliteFiles are those of one connection to an embedded database.
	sqliteFiles = 3
	// maxFiles is the limit on systems without one.
	maxFiles = 1 << 20
)

// maxConnections returns the maximum number of open connections of the public listener: the limit of open files minus
// those of the admin listener, the database and the rest of the process, but at least half of the limit.
func maxConnections(cfg config.Config) int {
	files := maxFiles
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < maxFiles {
		files = int(limit.Cur)
	}
	pool := cfg.DatabasePool
	if pool == 0 {
		pool = 4 * runtime.GOMAXPROCS(0)
	}
	reserved := ownFiles + outgoingFiles + pool
	if _, embedded := cfg.SQLitePath(); embedded {
		reserved += (sqliteFiles - 1) * pool
	}
	if cfg.RedisURL != "" {
		reserved += redisFiles
	}
	return max(files-reserved, files/2)
}

// boundedListener limits the number of open connections and logs why it cannot accept more; net/http only retries.
type boundedListener struct {
	net.Listener

	log    *slog.Logger
	slots  chan struct{} // nil: no limit
	closed chan struct{}
	close  func()

	mu       sync.Mutex
	reported map[string]*lograte.Limiter // by message
}

// newBoundedListener wraps a listener. maximum is the maximum number of open connections, 0 for no limit.
func newBoundedListener(l net.Listener, maximum int, log *slog.Logger) *boundedListener {
	b := &boundedListener{Listener: l, log: log, closed: make(chan struct{}), reported: map[string]*lograte.Limiter{}}
	b.close = sync.OnceFunc(func() { close(b.closed) })
	if maximum > 0 {
		b.slots = make(chan struct{}, maximum)
	}
	return b
}

// Accept waits for a slot and then for a connection.
func (b *boundedListener) Accept() (net.Conn, error) {
	release := func() {}
	if b.slots != nil {
		select {
		case b.slots <- struct{}{}:
		default:
			b.report(slog.LevelWarn, "connection limit reached, further connections wait; "+
				"raise the limit of open files (ulimit -n, LimitNOFILE)", slog.Int("limit", cap(b.slots)))
			select {
			case b.slots <- struct{}{}:
			case <-b.closed:
				return nil, net.ErrClosed
			}
		}
		release = sync.OnceFunc(func() { <-b.slots })
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		release()
		if !errors.Is(err, net.ErrClosed) {
			b.report(slog.LevelError, "cannot accept connections", slog.Any("error", err))
		}
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok && b.slots != nil {
		return &boundedConn{tcp, release}, nil
	}
	release()
	return conn, nil
}

// Close also ends an Accept that waits for a slot.
func (b *boundedListener) Close() error {
	b.close()
	return b.Listener.Close()
}

// report logs a condition at most once per minute.
func (b *boundedListener) report(level slog.Level, message string, attr slog.Attr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reported[message] == nil {
		b.reported[message] = &lograte.Limiter{}
	}
	if !b.reported[message].Allow() {
		return
	}
	b.log.Log(context.Background(), level, message, slog.String("address", b.Addr().String()), attr)
}

// boundedConn releases its slot when it is closed.
type boundedConn struct {
	*net.TCPConn

	release func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}
