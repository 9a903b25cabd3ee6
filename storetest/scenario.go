package storetest

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
)

// Play plays a scenario against a store and compares every answer. A scenario
// is lines of text; # begins a comment. Times are counted from the start of a
// UTC day, 2026-01-01 unless a start line says another moment:
//
//	start 2026-01-31 23:59:00
//
// Limits get a name, and may be given anew later, as by a reload:
//
//	limits plan = 60 requests/1m, 1000 tokens/1h fixed_window, 2 in flight
//	limits burst = 60 requests/1m token_bucket capacity 10, 5 tokens/10s precision 5s, 9 tokens/month
//	limits soft = 5 tokens/10s overdraw
//
// A limit may begin with a name of its own and a colon. Then, at a time:
//
//	at 1s  take alice plan requests=1 tokens=200 -> ok requests=59 tokens=800
//	at 2s  take alice plan tokens=900            -> denied tokens retry=59m58s
//	at 2s  take alice plan tokens=1001           -> denied tokens never
//	at 2s  look alice plan tokens=1              -> ok tokens=800
//
// After the arrow stands ok, or denied and every limit that does not fit with
// how long to wait; then what remains of limits, and how long until one is
// whole again (reset:tokens=1h). A limit is called by its unit where that is
// plain, else by its name. A take may name several keys, joined by "+":
//
//	at 3s  take alice plan requests=1 + all global requests=1 -> ok requests=58 all.requests=99
//
// A key in brackets is a shadow: it decides nothing, and is taken if it fits.
//
//	at 3s  take alice plan requests=1 + [alice] tight requests=1 -> ok
//
// A reservation is a take with a name, to which one can come back:
//
//	at 4s  reserve r1 alice plan tokens=500 -> ok tokens=300
//	at 5s  raise   r1 tokens=600
//	at 6s  settle  r1 tokens=450
//
// and likewise keep and cancel.
func Play(t *testing.T, store penstock.Store, file, text string) {
	t.Helper()
	p := player{
		limiter:      penstock.New(store),
		start:        time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC),
		limits:       map[string]*penstock.Limits{},
		reservations: map[string]*penstock.Reservation{},
	}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := p.line(line); err != nil {
			t.Errorf("%s:%d: %s\n\t%v", file, i+1, line, err)
		}
	}
}

type player struct {
	limiter      *penstock.Limiter
	start        time.Time
	limits       map[string]*penstock.Limits
	reservations map[string]*penstock.Reservation
}

func (p *player) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "start":
		at, err := time.Parse(time.DateTime, rest)
		p.start = at
		return err
	case "limits":
		return p.define(rest)
	case "at":
		return p.step(rest)
	}
	return fmt.Errorf("%q: a line begins with start, limits or at", word)
}

var limitForm = regexp.MustCompile(`^(?:([\w.-]+):\s*)?(\d+) (?:in flight|(\w+)/(\w+)((?: \w+)*))$`)

func (p *player) define(text string) error {
	name, list, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("limits NAME = LIMIT, …")
	}
	var limits []penstock.Limit
	for _, text := range strings.Split(list, ",") {
		l, err := parseLimit(strings.TrimSpace(text))
		if err != nil {
			return err
		}
		limits = append(limits, l)
	}
	set, err := penstock.NewLimits(limits...)
	p.limits[strings.TrimSpace(name)] = set
	return err
}

func parseLimit(text string) (l penstock.Limit, err error) {
	m := limitForm.FindStringSubmatch(text)
	if m == nil {
		return l, fmt.Errorf("%q is no limit", text)
	}
	l.Name = m[1]
	if l.Amount, err = strconv.ParseInt(m[2], 10, 64); err != nil {
		return l, err
	}
	if m[3] == "" {
		l.Unit = penstock.Concurrent
		return l, nil
	}
	if l.Unit, err = parseUnit(m[3]); err != nil {
		return l, err
	}
	if m[4] == "month" {
		l.Window = penstock.Month
	} else if l.Window, err = time.ParseDuration(m[4]); err != nil {
		return l, err
	}
	words := strings.Fields(m[5])
	for i := 0; i < len(words) && err == nil; i++ {
		switch words[i] {
		case "sliding_window":
			l.Algorithm = penstock.SlidingWindow
		case "fixed_window":
			l.Algorithm = penstock.FixedWindow
		case "token_bucket":
			l.Algorithm = penstock.TokenBucket
		case "overdraw":
			l.Overdraw = true
		case "capacity", "precision":
			if i++; i == len(words) {
				return l, fmt.Errorf("%s of what", words[i-1])
			}
			if words[i-1] == "capacity" {
				l.Capacity, err = strconv.ParseInt(words[i], 10, 64)
			} else {
				l.Precision, err = time.ParseDuration(words[i])
			}
		default:
			err = fmt.Errorf("%q: a limit has an algorithm, a capacity or a precision", words[i])
		}
	}
	return l, err
}

func parseUnit(name string) (penstock.Unit, error) {
	for u := range penstock.Unit(penstock.NumUnits) {
		if u.String() == name {
			return u, nil
		}
	}
	return 0, fmt.Errorf("%q is no unit", name)
}

func (p *player) step(text string) error {
	text, want, compare := strings.Cut(text, "->")
	fields := strings.Fields(text)
	if len(fields) < 3 {
		return fmt.Errorf("at TIME DO WHAT")
	}
	after, err := time.ParseDuration(fields[0])
	if err != nil {
		return err
	}
	now, verb, fields := p.start.Add(after), fields[1], fields[2:]
	ctx := context.Background()
	switch verb {
	case "take", "look", "reserve":
		name := ""
		if verb == "reserve" {
			name, fields = fields[0], fields[1:]
		}
		charges, err := p.charges(fields)
		if err != nil {
			return err
		}
		var d penstock.Decision
		if verb == "look" {
			d, err = p.limiter.LookAt(ctx, now, charges...)
		} else {
			var r *penstock.Reservation
			if r, err = p.limiter.ReserveAt(ctx, now, charges...); err == nil {
				d = r.Decision
				p.reservations[name] = r
			}
		}
		if err != nil {
			return err
		}
		if !compare {
			return fmt.Errorf("say after -> what is to come")
		}
		return p.compare(&d, strings.Fields(want))
	case "raise", "settle", "keep", "cancel":
		r := p.reservations[fields[0]]
		if r == nil {
			return fmt.Errorf("there is no reservation %q", fields[0])
		}
		amounts, err := parseAmounts(fields[1:])
		if err != nil {
			return err
		}
		switch verb {
		case "raise":
			_, err = r.RaiseAt(ctx, now, amounts)
		case "keep":
			err = r.KeepAt(ctx, now)
		case "settle":
			err = r.SettleAt(ctx, now, amounts)
		default:
			err = r.CancelAt(ctx, now)
		}
		return err
	}
	return fmt.Errorf("%q: take, look, reserve, raise, settle, keep or cancel", verb)
}

// charges reads KEY LIMITS unit=n … + KEY LIMITS unit=n …
func (p *player) charges(fields []string) (charges []penstock.Charge, err error) {
	for len(fields) > 0 {
		part := fields
		fields = nil
		for i, f := range part {
			if f == "+" {
				part, fields = part[:i], part[i+1:]
				break
			}
		}
		if len(part) < 2 || p.limits[part[1]] == nil {
			return nil, fmt.Errorf("KEY LIMITS unit=n …, with limits given before")
		}
		amounts, err := parseAmounts(part[2:])
		if err != nil {
			return nil, err
		}
		key, shadow := strings.CutPrefix(part[0], "[")
		from := len(charges)
		charges = p.limits[part[1]].AppendCharges(charges, strings.TrimSuffix(key, "]"), &amounts)
		for i := range charges[from:] {
			charges[from+i].Shadow = shadow
		}
	}
	return charges, nil
}

func parseAmounts(fields []string) (a penstock.Amounts, err error) {
	for _, f := range fields {
		name, number, _ := strings.Cut(f, "=")
		u, err := parseUnit(name)
		if err != nil {
			return a, err
		}
		if a[u], err = strconv.ParseInt(number, 10, 64); err != nil {
			return a, err
		}
	}
	return a, nil
}

// compare holds a decision against what was expected of it.
func (p *player) compare(d *penstock.Decision, want []string) error {
	var problems []string
	complain := func(format string, args ...any) {
		problems = append(problems, fmt.Sprintf(format, args...))
	}
	if len(want) == 0 || want[0] != "ok" && want[0] != "denied" {
		return fmt.Errorf("after the arrow stands ok or denied")
	}
	if allowed := want[0] == "ok"; allowed != d.Allowed {
		complain("allowed = %v", d.Allowed)
	}
	denied := map[*penstock.Charge]bool{}
	var last *penstock.Charge
	for _, w := range want[1:] {
		name, value, valued := strings.Cut(w, "=")
		switch {
		case !valued && name != "never":
			c, err := p.find(d, name)
			if err != nil {
				return err
			}
			last = c
			denied[c] = true
		case name == "never" || name == "retry":
			wait := penstock.Never
			if valued {
				var err error
				if wait, err = time.ParseDuration(value); err != nil {
					return err
				}
			}
			if last == nil {
				return fmt.Errorf("say which limit denies before its wait")
			}
			if last.RetryAfter != wait {
				complain("retry = %v", last.RetryAfter)
			}
		default:
			limit, reset := strings.CutPrefix(name, "reset:")
			c, err := p.find(d, limit)
			if err != nil {
				return err
			}
			if reset {
				if r, err := time.ParseDuration(value); err != nil || c.Reset != r {
					complain("reset of %s = %v", limit, c.Reset)
				}
			} else if n, err := strconv.ParseInt(value, 10, 64); err != nil || c.Remaining() != n {
				complain("%s = %d", limit, c.Remaining())
			}
		}
	}
	for i := range d.Charges {
		if c := &d.Charges[i]; (c.RetryAfter != 0) != denied[c] && !c.Shadow {
			complain("%s has retry = %v", c.Limit().Name, c.RetryAfter)
		}
	}
	if problems != nil {
		return fmt.Errorf("%s", strings.Join(problems, "; "))
	}
	return nil
}

// find returns the charge that is called name: KEY.LIMIT or LIMIT, the limit by
// its name or, if no other has it, by its unit.
func (p *player) find(d *penstock.Decision, name string) (*penstock.Charge, error) {
	var found *penstock.Charge
	for i := range d.Charges {
		c := &d.Charges[i]
		l := c.Limit()
		for _, n := range []string{l.Name, l.Unit.String(), c.Key + "." + l.Name, c.Key + "." + l.Unit.String()} {
			if n == name {
				if found != nil {
					return nil, fmt.Errorf("%q: more than one limit is called so", name)
				}
				found = c
				break
			}
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%q: no limit that was charged is called so", name)
	}
	return found, nil
}
