package config

import (
	"math"
	"strings"
	"time"
)

// Admission is the section of the same name, and the flags that go before it:
// what it says, of which [Config.Gate] is what it comes to.
type Admission struct {
	// MaxConcurrent is how many requests may be in flight, and the capacity of
	// the bucket; 0 and -1 are no limit of either.
	MaxConcurrent int64
	// Refill is that of the bucket; nil when it was not said, which is
	// MaxConcurrent a second. An amount of 0 is no bucket.
	Refill *Rate
	// QueueSize is how many may wait; 0 is nobody.
	QueueSize int64
	// QueueTimeout is how long one may wait. It is 0 only where nobody waits.
	QueueTimeout time.Duration
	// Progress says that streams are told, while they wait, how far they are.
	Progress bool
	Adaptive Adaptive
}

// Rate is Amount in each Per, exactly. Per is positive and whole in seconds.
type Rate struct {
	Amount int64
	Per    time.Duration
}

// Adaptive says that the number of slots moves with what the workers can take.
type Adaptive struct {
	// Enabled is false when the section is absent, and when
	// max_concurrent_requests was said to be none.
	Enabled bool
	// Min and Max are the fewest and the most slots: at least 1, Max not below
	// Min.
	Min, Max int64
	// Signal is auto, metrics, queue or first_token.
	Signal string
}

// Gate is what stands in front of the workers: two exact limits, and the queue
// of those who wait for them. The zero Gate is open.
type Gate struct {
	// Slots is how many requests may be in flight at a time; 0 is any number.
	// Where Adaptive is enabled it is how many there are at first.
	Slots int64
	// Capacity and Refill are the bucket's, of which each request takes one;
	// both are 0 where there is none.
	Capacity int64
	Refill   Rate
	// QueueSize is how many may wait, each for at most QueueTimeout, which is 0
	// only where QueueSize is.
	QueueSize    int64
	QueueTimeout time.Duration
	Adaptive     Adaptive
}

// Most is the largest number of slots that there ever is; 0 is any number.
func (g Gate) Most() int64 {
	if g.Adaptive.Enabled {
		return g.Adaptive.Max
	}
	return g.Slots
}

// Gate returns what admission, or rate_limiting.concurrent in its place, comes
// to. Where the slots move, a bucket is there only when its refill was said, and
// holds as many as there can be slots.
func (c *Config) Gate() Gate {
	if k := c.RateLimiting.slots(); k != nil {
		return Gate{Slots: int64(k.MaxConcurrent), QueueSize: concurrentQueue, QueueTimeout: k.QueueTimeout}
	}
	a := &c.Admission
	if !a.on() {
		return Gate{}
	}
	g := Gate{Slots: a.MaxConcurrent, QueueSize: a.QueueSize, QueueTimeout: a.QueueTimeout, Adaptive: a.Adaptive}
	if a.Adaptive.Enabled && g.Slots <= 0 {
		g.Slots = a.Adaptive.Min
	}
	switch {
	case a.Refill != nil && a.Refill.Amount > 0:
		g.Capacity, g.Refill = g.Most(), *a.Refill
	case a.Refill == nil && !a.Adaptive.Enabled:
		g.Capacity, g.Refill = g.Slots, Rate{g.Slots, time.Second}
	}
	return g
}

// on reports whether there are slots.
func (a *Admission) on() bool { return a.MaxConcurrent > 0 || a.Adaptive.Enabled }

// valid reports whether the slots move between two numbers that were said.
func (a *Adaptive) valid() bool { return a.Enabled && a.Min > 0 && a.Max >= a.Min }

// slots returns rate_limiting.concurrent; nil when it has no effect.
func (c *RateLimiting) slots() *Concurrent {
	if c.Enabled && c.Concurrent.Enabled {
		return &c.Concurrent
	}
	return nil
}

const (
	maxConcurrentPath = "admission.max_concurrent_requests"
	adaptivePath      = "admission.adaptive"
	queueSizePath     = "admission.queue_size"
	queueTimeoutPath  = "admission.queue_timeout"

	// concurrentQueue is the queue of rate_limiting.concurrent, which has no
	// key for it.
	concurrentQueue = 100
	// maxSlots is the most that may be in flight, and the most that may wait.
	maxSlots = math.MaxInt32
)

// admission reads the section of the same name.
func (r *reader) admission(m *mapping, a *Admission) {
	m.number("max_concurrent_requests", maxConcurrentForm, a.setMaxConcurrent)
	m.number("refill_per_second", rateForm, a.setRefill)
	whole(m, "queue_size", &a.QueueSize, 0, maxSlots)
	m.durationOrNone("queue_timeout", &a.QueueTimeout)
	m.boolean("progress", &a.Progress)
	m.section("adaptive", func(m *mapping) {
		b := &a.Adaptive
		b.Enabled, b.Signal = true, "auto"
		for _, of := range []struct {
			key string
			to  *int64
			why string
		}{
			{"min", &b.Min, "the fewest requests that may be in flight at a time"},
			{"max", &b.Max, "the most requests that may be in flight at a time"},
		} {
			if !whole(m, of.key, of.to, 1, maxSlots) {
				m.missing(of.key, "%s", of.why)
			}
		}
		if b.Max > 0 && b.Max < b.Min {
			r.failAt(join(m.path, "max"), "less than min, %d: write at least that", b.Min)
		}
		m.word("signal", &b.Signal, "auto", "metrics", "queue", "first_token")
	})
}

const maxConcurrentForm = "a whole number up to 2147483647, or -1 for no limit"

// setMaxConcurrent takes a number in the file's and the flag's form. Every
// negative one is -1.
func (a *Admission) setMaxConcurrent(s string) bool {
	digits, negative := strings.CutPrefix(s, "-")
	n, ok := wholeNumber(digits)
	if negative {
		n = max(-n, -1)
	}
	if !ok || n > maxSlots {
		return false
	}
	a.MaxConcurrent = n
	return true
}

const (
	rateForm     = "a number such as 50 or 0.5, from 0 to 1000000000 and with at most 6 decimals"
	maxRate      = 1_000_000_000
	rateDecimals = 6
)

// setRefill takes a number of tokens a second.
func (a *Admission) setRefill(s string) bool {
	rate, ok := parseRate(s)
	if ok {
		a.Refill = &rate
	}
	return ok
}

// parseRate reads a decimal number a second, exactly.
func parseRate(s string) (rate Rate, ok bool) {
	ones, decimals, dotted := strings.Cut(s, ".")
	n, ok := wholeNumber(ones)
	if !ok || n > maxRate || dotted && decimals == "" || len(decimals) > rateDecimals || strings.Trim(decimals, "0123456789") != "" {
		return Rate{}, false
	}
	seconds := int64(1)
	for _, digit := range decimals {
		n, seconds = 10*n+int64(digit-'0'), 10*seconds
	}
	if n > maxRate*seconds {
		return Rate{}, false
	}
	common := gcd(n, seconds)
	return Rate{n / common, time.Duration(seconds/common) * time.Second}, true
}

// number reads a number that set takes; form says what it takes.
func (m *mapping) number(key, form string, set func(text string) bool) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	if s, ok := v.scalar(form); ok && !(s.plain() && set(s.text)) {
		s.expected(form)
	}
}

// checkAdmission settles what depends on several keys of admission, and on what
// rate_limiting says of the same. Who says that nothing is limited is obeyed,
// whatever else is said.
func (r *reader) checkAdmission(c *Config) {
	a, k := &c.Admission, c.RateLimiting.slots()
	adaptive := a.Adaptive.Enabled
	a.Adaptive.Enabled = adaptive && (a.MaxConcurrent > 0 || !r.has(maxConcurrentPath))
	switch {
	case k != nil && a.on():
		r.failAt(r.given(maxConcurrentPath, adaptivePath), "rate_limiting.concurrent at %s limits what is in flight, too: keep one of them", r.where("rate_limiting.concurrent"))
	case k != nil:
		r.idleAdmission("rate_limiting.concurrent has slots alone and a queue of 100 of its own; write admission.max_concurrent_requests in its place")
	case !a.on():
		r.idleAdmission("there is no limit of what is in flight; admission.max_concurrent_requests, or --max-concurrent-requests, sets one")
	case a.QueueTimeout == 0 && a.QueueSize > 0:
		r.failAt(r.given(queueTimeoutPath, queueSizePath),
			"a queue of %d in which nobody may wait: say how long with --queue-timeout-secs or admission.queue_timeout, or that there is no queue with --queue-size 0 or admission.queue_size: 0", a.QueueSize)
	case a.Adaptive.valid() && a.MaxConcurrent > 0 && (a.MaxConcurrent < a.Adaptive.Min || a.MaxConcurrent > a.Adaptive.Max):
		r.failAt(maxConcurrentPath, "admission.adaptive at %s moves the slots between %d and %d, and they cannot start at %d: write a number between, or remove it to start at %d",
			r.where(adaptivePath), a.Adaptive.Min, a.Adaptive.Max, a.MaxConcurrent, a.Adaptive.Min)
	}
	if len(r.errors.list) == 0 { // else what is wrong may be among what makes requests wait
		r.idleTurns(c)
	}
}

// idleAdmission warns of all that admission says, which has no effect.
func (r *reader) idleAdmission(why string) {
	if len(r.errors.list) > 0 { // what is wrong may be what gives it an effect
		return
	}
	for _, key := range []string{"refill_per_second", "queue_size", "queue_timeout", "progress", "adaptive"} {
		if path := "admission." + key; r.has(path) {
			r.warnAt(path, "has no effect: %s", why)
		}
	}
}

// idleTurns warns of classes and weights where nobody ever waits.
func (r *reader) idleTurns(c *Config) {
	g := c.Gate()
	why := ""
	switch {
	case !c.RateLimiting.Enabled: // which has a warning of its own
	case g.Slots == 0:
		why = "there is no limit of what is in flight; admission.max_concurrent_requests, or --max-concurrent-requests, sets one"
	case g.QueueSize == 0:
		why = "with a queue_size of 0 it is denied at once"
	}
	if why == "" {
		return
	}
	for _, path := range r.turns {
		r.warnAt(path, "has no effect, since no request waits: %s", why)
	}
}

// where says for messages where a key stands.
func (r *reader) where(path string) string {
	return finding(r.name, r.places.of(path), "", "").place()
}
