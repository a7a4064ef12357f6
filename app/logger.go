package app

import (
	"log/slog"
	"os"

	"golang.org/x/term"

	"github.com/evently/workers/config"
)

// NewLogger returns a logger to f. The format is JSON unless f is a terminal or cfg says
// text.
func NewLogger(f *os.File, cfg config.Service) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	format := cfg.LogFormat
	if format == "" && term.IsTerminal(int(f.Fd())) {
		format = "text"
	}
	if format == "text" {
		return slog.New(slog.NewTextHandler(f, options))
	}
	return slog.New(slog.NewJSONHandler(f, options))
}
