package telemetry

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// Decisions says which decisions are logged.
type Decisions uint8

const (
	// Denied logs every denial.
	Denied Decisions = iota
	// All logs what was allowed, too.
	All
	// Sampled logs one decision in a hundred.
	Sampled
)

// A Log writes one line for each decision that is to be logged; above a hundred
// a second for a rule only each hundredth, with how many were left out. It may
// be used by any number of goroutines.
type Log struct {
	logger *slog.Logger
	which  Decisions
	*tally
}

// tally is what was logged, and what was not.
type tally struct {
	mu    sync.Mutex
	rules map[string]*second // by rule
	seen  uint64             // decisions, for Sampled
}

// second is what was logged of one rule in the present second.
type second struct {
	at      time.Time
	lines   int
	dropped int
}

const (
	linesASecond = 100
	sampleOne    = 100
	mostRules    = 1000 // whose seconds are kept
	mostBytes    = 128  // of a string from a client
)

// NewLog returns a log that writes to logger.
func NewLog(logger *slog.Logger, which Decisions) *Log {
	return &Log{logger, which, &tally{rules: map[string]*second{}}}
}

// Only returns a log of these decisions that goes on with what l has counted.
func (l *Log) Only(which Decisions) *Log { return &Log{l.logger, which, l.tally} }

// Decided writes the line of one decision about a request that came at now.
func (l *Log) Decided(now time.Time, v *traffic.Verdict) {
	if v.Allowed && !v.Shadow && l.which == Denied {
		return
	}
	l.write(now, v, nil)
}

// Failed writes the line of a request that came at now and that no limit denied:
// a worker or the gateway has failed it, with an error.
func (l *Log) Failed(now time.Time, v *traffic.Verdict, err error) { l.write(now, v, err) }

func (l *Log) write(now time.Time, v *traffic.Verdict, err error) {
	dropped, write := l.sample(now, v, err != nil)
	if !write {
		return
	}
	message, level := "request denied", slog.LevelWarn
	switch {
	case err != nil:
		message = "request failed"
	case v.Shadow:
		message, level = "request would be denied", slog.LevelInfo
	case v.Allowed:
		message, level = "request allowed", slog.LevelInfo
	}
	attrs := make([]slog.Attr, 0, 10)
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, Shown(value)))
		}
	}
	add("code", v.Code)
	add("rule", v.Rule)
	if v.Caller != nil {
		add("caller", v.Caller.Name)
		add("tenant", v.Caller.Tenant)
	}
	add("path", v.Path)
	add("model", v.Model)
	if err != nil {
		add("error", err.Error())
	} else if !v.Allowed || v.Shadow {
		attrs = append(attrs, slog.Float64("wait_seconds", v.Wait.Seconds()))
	}
	add("request_id", v.RequestID)
	if dropped > 0 {
		attrs = append(attrs, slog.Int("dropped", dropped))
	}
	l.logger.LogAttrs(context.Background(), level, message, attrs...)
}

// sample reports whether to write a line, and how many were left out since the
// one before. What has failed is no decision, of which one in a hundred is enough.
func (l *Log) sample(now time.Time, v *traffic.Verdict, failed bool) (dropped int, write bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.which == Sampled && !failed {
		l.seen++
		return 0, l.seen%sampleOne == 1
	}
	if v.Allowed && !v.Shadow {
		return 0, true
	}
	name := v.Rule
	if name == "" {
		name = v.Code
	}
	s := l.rules[name]
	if s == nil {
		if len(l.rules) >= mostRules { // names of rules that reloads have replaced
			clear(l.rules)
		}
		s = &second{at: now}
		l.rules[name] = s
	}
	// A request that waited long comes with an earlier time: it is of the
	// present second, too.
	if now.Sub(s.at) >= time.Second {
		s.at, s.lines = now, 0
	}
	s.lines++
	if s.lines > linesASecond && s.lines%sampleOne != 0 {
		s.dropped++
		return 0, false
	}
	dropped, s.dropped = s.dropped, 0
	return dropped, true
}

// Shown is a string that a client may have chosen as logs have it: cut at 128 bytes,
// and with U+FFFD for what a terminal may obey and JSON leaves as it is, the controls
// beyond ASCII, and for what turns text around or is none.
func Shown(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 0x7f && !unicode.IsGraphic(c) {
			return utf8.RuneError
		}
		return c
	}, cut(s))
}

// cut shortens what a client may have chosen, between two letters.
func cut(s string) string {
	if len(s) <= mostBytes {
		return s
	}
	end := mostBytes
	for end > mostBytes-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
