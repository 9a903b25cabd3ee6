package config

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/penstock-dev/penstock/internal/pricing/usd"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// tier is a set of limits as the file has it, for the checks.
type tier struct {
	path string
	own  Limits
	// plan is what holds for a caller of the tier: own and what is beside it.
	plan Limits
	// base says that there is nothing under it that unlimited could lift.
	base bool
}

// concurrentRequests is the one limit without a window.
const concurrentRequests = "concurrent_requests"

// limitNames returns every name that a limit can have.
func limitNames() []string {
	names := []string{concurrentRequests}
	for _, unit := range []string{"requests", "tokens", "input_tokens", "output_tokens", "cost"} {
		for _, window := range windowWords() {
			names = append(names, unit+"_per_"+window)
		}
	}
	return names
}

// windowWords returns the words for windows, the shortest first.
func windowWords() []string { return []string{"second", "minute", "hour", "day", "month"} }

// limits reads a set of limits. An empty one is an error: it looks like a
// limit and is none.
func (m *mapping) limits(key string) Limits {
	v, ok := m.get(key)
	if !ok {
		return nil
	}
	return v.limits(false, nil)
}

// limits reads the value. masked says that secrets stand close to it, so
// that the name of an unknown limit could be one, and is not shown. turn is
// where the class and the weight of a plan go; nil for what is no plan.
func (v value) limits(masked bool, turn *Turn) Limits {
	if v.node.ShortTag() == "!!null" || v.node.Kind == yaml.MappingNode && len(v.node.Content) == 0 {
		v.fail("an empty tier: name a limit such as requests_per_minute, or remove it")
		return nil
	}
	given, _ := v.entries(func(_ int, key string) string { return join(v.path, key) })
	var limits Limits
	names := limitNames()
	known := names
	if turn != nil {
		known = append(known, "priority", "weight")
	}
	for _, e := range given {
		v.r.places[e.path] = e.place()
		switch {
		case slices.Contains(names, e.key):
			if l, ok := e.limit(); ok {
				limits = append(limits, l)
			}
		case e.key == "priority" || e.key == "weight":
			e.turn(turn)
		default:
			message := "a limit is named <unit>_per_<window>, with requests, tokens, input_tokens, output_tokens or cost," +
				" and second, minute, hour, day or month; or concurrent_requests"
			path := v.path
			if near := nearest(e.key, known); near != "" {
				path, message = e.path, "unknown limit; did you mean "+near+"?"
			} else if !masked && plainName.MatchString(e.key) {
				path = e.path
			}
			v.r.fail(e.name.place(), path, "%s", message)
		}
	}
	return limits
}

// priorities returns the classes of those who wait, the one that goes first in
// front.
func priorities() (words []string) {
	for _, c := range traffic.Classes() {
		words = append(words, c.String())
	}
	return words
}

const maxWeight = 1000

// turn reads the class or the weight of a plan.
func (e entry) turn(to *Turn) {
	if to == nil {
		e.name.fail("belongs to a plan: write it under default, in roles or in per_key; a priority may also stand in a rule")
		return
	}
	e.r.turns = append(e.r.turns, e.path)
	if e.key == "weight" {
		wholeValue(e.value, &to.Weight, 1, maxWeight)
	} else {
		e.word(&to.Priority, priorities())
	}
}

// limit reads one limit, whose name is known.
func (e entry) limit() (Limit, bool) {
	l := Limit{Name: e.key, Unit: "concurrent", Line: e.name.node.Line}
	if e.key != concurrentRequests {
		l.Unit, l.Per, _ = strings.Cut(e.key, "_per_")
	}
	s, ok := e.scalar(expectedAmount(l.Unit) + orUnlimited)
	if !ok {
		return l, false
	}
	if s.text == "unlimited" {
		l.Unlimited = true
		return l, true
	}
	l.Amount, ok = s.amount(l.Unit, true)
	return l, ok
}

const orUnlimited = " or unlimited"

// expectedAmount says what an amount of a unit looks like.
func expectedAmount(unit string) string {
	if unit == "cost" {
		return "US dollars such as 1.00"
	}
	return "a positive whole number"
}

// amount reads how much of a unit a limit is. liftable says that unlimited
// could stand in its place.
func (s scalar) amount(unit string, liftable bool) (n int64, ok bool) {
	expected, instead := expectedAmount(unit), ""
	if liftable {
		expected, instead = expected+orUnlimited, ", or unlimited"
	}
	n, ok = wholeNumber(s.text)
	if unit == "cost" {
		if n, ok = s.dollars(); !ok {
			return 0, false
		}
	}
	switch {
	case !ok || !s.plain():
		s.expected(expected)
	case n == 0 && liftable:
		s.fail("a limit of 0 lets nothing pass: remove it, or say unlimited")
	case n == 0:
		s.fail("a limit of 0 lets nothing pass: remove it")
	case n > maxAmount:
		s.fail("larger than can be counted: write at most %d%s", int64(maxAmount), instead)
	default:
		return n, true
	}
	return 0, false
}

// amountText writes an amount of a unit as the file has it.
func amountText(unit string, n int64) string {
	if unit == "cost" {
		return usd.Format(n)
	}
	return strconv.FormatInt(n, 10)
}

// get returns the limit of that name.
func (l Limits) get(name string) (Limit, bool) {
	i := slices.IndexFunc(l, func(l Limit) bool { return l.Name == name })
	if i < 0 {
		return Limit{}, false
	}
	return l[i], true
}

// over returns base with the limits of l in place of those of the same name.
func (l Limits) over(base Limits) Limits {
	plan := slices.Clone(l)
	for _, b := range base {
		if _, ok := l.get(b.Name); !ok {
			plan = append(plan, b)
		}
	}
	return plan
}

// longest returns the longest that a limit's window can be; it has one.
func (l Limit) longest() time.Duration {
	switch l.Per {
	case "second":
		return time.Second
	case "minute":
		return time.Minute
	case "hour":
		return time.Hour
	case "day":
		return day
	}
	return 31 * day
}
