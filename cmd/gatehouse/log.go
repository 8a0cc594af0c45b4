package main

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"gatehouse/config"
	"gatehouse/web"
)

// logger writes structured events to standard error, each with the id of the request that it belongs to.
func (a *app) logger(cfg config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	var h slog.Handler = slog.NewJSONHandler(a.stderr, options)
	if cfg.LogFormat == "text" || cfg.LogFormat == "auto" && isTerminal(a.stderr) {
		h = slog.NewTextHandler(a.stderr, options)
	}
	return slog.New(web.LogHandler(h))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
