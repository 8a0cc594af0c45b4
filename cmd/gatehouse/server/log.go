package server

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"gatehouse/config"
	"gatehouse/web"
)

// NewLog returns a log of structured events on w, each with the id of its request. On a terminal, lines are written
// immediately; otherwise they are buffered for up to bufferTime. end flushes the buffer and disables it.
func NewLog(w io.Writer, terminal bool, cfg config.Config) (log *slog.Logger, end func()) {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "auto" && terminal {
		return slog.New(web.LogHandler(slog.NewTextHandler(w, options))), func() {}
	}
	buffered := &bufferedWriter{w: w}
	var h slog.Handler = slog.NewJSONHandler(buffered, options)
	if cfg.LogFormat == "text" {
		h = slog.NewTextHandler(buffered, options)
	}
	return slog.New(web.LogHandler(flushOnWarn{h, buffered})), buffered.end
}

const (
	// bufferSize is the number of bytes from which a bufferedWriter writes immediately.
	bufferSize = 32 << 10
	// bufferTime is the longest time that a line is buffered.
	bufferTime = 100 * time.Millisecond
)

// bufferedWriter collects log lines, so that many need one write. A crash loses at most the lines of the last
// bufferTime, and no warning.
type bufferedWriter struct {
	w io.Writer

	mu        sync.Mutex
	buffered  []byte
	scheduled bool // a flush is scheduled
	ended     bool
}

// Write implements io.Writer.
func (b *bufferedWriter) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buffered = append(b.buffered, p...)
	if b.ended || len(b.buffered) >= bufferSize {
		return len(p), b.writeBuffered()
	}
	if !b.scheduled {
		b.scheduled = true
		time.AfterFunc(bufferTime, b.flush)
	}
	return len(p), nil
}

func (b *bufferedWriter) writeBuffered() error {
	if len(b.buffered) == 0 {
		return nil
	}
	_, err := b.w.Write(b.buffered)
	b.buffered = b.buffered[:0]
	return err
}

func (b *bufferedWriter) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scheduled = false
	_ = b.writeBuffered() // an error of the log cannot be logged
}

func (b *bufferedWriter) end() {
	b.flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
}

// flushOnWarn writes warnings and errors immediately.
type flushOnWarn struct {
	slog.Handler

	buffered *bufferedWriter
}

// Handle implements slog.Handler.
func (h flushOnWarn) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		h.buffered.flush()
	}
	return err
}

// WithAttrs implements slog.Handler.
func (h flushOnWarn) WithAttrs(attrs []slog.Attr) slog.Handler {
	return flushOnWarn{h.Handler.WithAttrs(attrs), h.buffered}
}

// WithGroup implements slog.Handler.
func (h flushOnWarn) WithGroup(name string) slog.Handler {
	return flushOnWarn{h.Handler.WithGroup(name), h.buffered}
}
