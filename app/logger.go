package app

import (
	"io"
	"log/slog"
	"os"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/logflood"
)

// NewLogger returns a logger to f. The format is JSON unless f is a terminal or cfg says
// text. Floods of one warning or error are bounded.
func NewLogger(f *os.File, cfg config.Service) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	format := cfg.LogFormat
	if format == "" && term.IsTerminal(int(f.Fd())) {
		format = "text"
	}
	var lines slog.Handler = slog.NewJSONHandler(jsonEscaper{f}, options)
	if format == "text" {
		lines = slog.NewTextHandler(f, options) // it quotes what is not printable
	}
	return slog.New(logflood.New(lines, logflood.Config{}))
}

// jsonEscaper escapes the characters that steer a terminal or turn the direction of text.
// Names of tasks and texts of servers are chosen by others, and slog escapes in JSON only
// what JSON asks for. Each Write is a whole line, in which such a character can only stand in
// a string.
type jsonEscaper struct{ w io.Writer }

// Write implements [io.Writer].
func (e jsonEscaper) Write(line []byte) (int, error) {
	clean := escapeJSON(line)
	if n, err := e.w.Write(clean); err != nil {
		return min(n, len(line)), err
	}
	return len(line), nil
}

// escapeJSON returns line, or a copy with the characters escaped.
func escapeJSON(line []byte) []byte {
	var out []byte // nil: nothing was found yet
	kept := 0
	for i := 0; i < len(line); {
		if line[i] < 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRune(line[i:])
		if steers(r) {
			out = append(out, line[kept:i]...)
			for _, unit := range utf16.Encode([]rune{r}) {
				out = append(out, `\u`...)
				out = append(out, strconv.FormatUint(0x10000+uint64(unit), 16)[1:]...)
			}
			kept = i + size
		}
		i += size
	}
	if out == nil {
		return line
	}
	return append(out, line[kept:]...)
}

// steers reports whether a character is a control character, or one of format: those of
// direction, of no width, and of tags.
func steers(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// flushLog writes what is left to say about lines that were left out.
func flushLog(log *slog.Logger) {
	if h, ok := log.Handler().(*logflood.Handler); ok {
		h.Flush()
	}
}
