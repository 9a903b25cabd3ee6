package gateway

import (
	"net/http"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// foresee counts and logs the rules that would deny the request if they were
// enforced, and counts those that are near to denying others.
func (x *exchange) foresee() {
	if x.res == nil {
		return
	}
	for i := range x.res.Charges {
		c := &x.res.Charges[i]
		rule := x.rules.Policy.Rule(c)
		if !c.Shadow {
			if l := limitOf(rule, c); l.Near() {
				x.g.Metrics.Near(rule.Name)
			}
			continue
		}
		if c.RetryAfter == 0 {
			continue
		}
		x.g.Metrics.Shadow(rule.Name)
		v := traffic.Verdict{Allowed: true, Shadow: true, Rule: rule.Name, Wait: c.RetryAfter}
		x.describe(&v)
		x.rules.Decisions.Decided(x.began, &v)
	}
}

// limitOf is how a rule's limit stands for a client.
func limitOf(rule *policy.Rule, c *penstock.Charge) reply.Limit {
	return reply.Limit{
		Name:      rule.Shown,
		Unit:      rule.Limit.Unit.String(),
		Smooths:   rule.Burst,
		Limit:     rule.Limit.Size(),
		Remaining: c.Remaining(),
		Window:    rule.Limit.Window,
		Reset:     c.Reset,
	}
}

// setLimits sets the headers of how the limits stand. An answer may come long
// after they were looked at.
func (x *exchange) setLimits(h http.Header) {
	d := x.standing
	if d == nil || len(d.Charges) == 0 {
		return
	}
	var room [8]reply.Limit
	limits := room[:0]
	binding := 0
	passed := time.Since(x.stood)
	for i := range d.Charges {
		c := &d.Charges[i]
		if c.Shadow {
			continue
		}
		rule := x.rules.Policy.Rule(c)
		if x.binds == nil && c == d.Binding() || x.binds == rule {
			binding = len(limits)
		}
		l := limitOf(rule, c)
		l.Reset = max(l.Reset-passed, 0)
		limits = append(limits, l)
	}
	x.rules.Headers.Set(h, x.endpoint.Dialect, x.stood.Add(passed), limits, binding)
	if d.Allowed {
		x.rules.Headers.Warn(h, limits)
	}
}
