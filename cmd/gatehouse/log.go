package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"gatehouse/config"
	"gatehouse/web"
)

// logger writes structured events to standard error, each with the id of the request that it belongs to. Unless somebody looks
// on, lines wait a moment for others to be written with; end writes what waits, and from then on none does.
func (a *app) logger(cfg config.Config) (log *slog.Logger, end func()) {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "auto" && isTerminal(a.stderr) {
		return slog.New(web.LogHandler(slog.NewTextHandler(a.stderr, options))), func() {}
	}
	lines := &lines{to: a.stderr}
	var h slog.Handler = slog.NewJSONHandler(lines, options)
	if cfg.LogFormat == "text" {
		h = slog.NewTextHandler(lines, options)
	}
	return slog.New(web.LogHandler(prompt{h, lines})), lines.end
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

const (
	linesRoom = 32 << 10
	linesWait = 100 * time.Millisecond
)

// lines collects log lines for linesWait at most: one write for many instead of one for each. What a crash may lose is what
// came in the last moment and is no warning.
type lines struct {
	to io.Writer

	mu      sync.Mutex
	waiting []byte
	armed   bool
	ended   bool
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, b...)
	if l.ended || len(l.waiting) >= linesRoom {
		return len(b), l.write()
	}
	if !l.armed {
		l.armed = true
		time.AfterFunc(linesWait, l.flush)
	}
	return len(b), nil
}

func (l *lines) write() error {
	if len(l.waiting) == 0 {
		return nil
	}
	_, err := l.to.Write(l.waiting)
	l.waiting = l.waiting[:0]
	return err
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = false
	_ = l.write() // there is nobody to tell
}

func (l *lines) end() {
	l.flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// prompt lets no warning wait.
type prompt struct {
	slog.Handler

	lines *lines
}

func (p prompt) Handle(ctx context.Context, r slog.Record) error {
	err := p.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		p.lines.flush()
	}
	return err
}

func (p prompt) WithAttrs(attrs []slog.Attr) slog.Handler {
	return prompt{p.Handler.WithAttrs(attrs), p.lines}
}
func (p prompt) WithGroup(name string) slog.Handler {
	return prompt{p.Handler.WithGroup(name), p.lines}
}
