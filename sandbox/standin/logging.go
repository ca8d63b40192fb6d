package main

import (
	"io"
	"log/slog"
)

// levelTrace is below what slog has a name for; the platform's devnet logs at it.
const levelTrace = slog.Level(-8)

// newLogger writes lines as docs/log-line.schema.json has them.
func newLogger(out io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: named}))
}

func named(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return attr
	}
	switch attr.Key {
	case slog.TimeKey:
		return slog.String("timestamp", attr.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
	case slog.LevelKey:
		if level, isLevel := attr.Value.Any().(slog.Level); isLevel && level <= levelTrace {
			return slog.String("level", "TRACE")
		}
	case slog.MessageKey:
		attr.Key = "message"
	}
	return attr
}
