package gateway

import (
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/standin"
)

// prices are of a model whose input costs $10 a million tokens, whose output $30,
// and whose input from the cache $1.
const prices = "pricing: {default: {input: 100, output: 100}, models: {m: {input: 10, output: 30, cached_input: 1}}}\n"

// TestMoneyIsSettled reads what was reserved in money from what is left, and what
// the answer cost in the end, to the nano-dollar.
func TestMoneyIsSettled(t *testing.T) {
	for name, c := range map[string]struct {
		model, usage   string
		reserved, cost int64
	}{
		"reported":        {"m", `{"prompt_tokens":30,"completion_tokens":70}`, 10*10_000 + 50*30_000, 30*10_000 + 70*30_000},
		"from the cache":  {"m", `{"prompt_tokens":30,"completion_tokens":0,"prompt_tokens_details":{"cached_tokens":20}}`, 10*10_000 + 50*30_000, 10*10_000 + 20*1_000},
		"not listed":      {"x", `{"prompt_tokens":1,"completion_tokens":2}`, 60 * 100_000, 3 * 100_000},
		"a dated version": {"m-2026-01-01", `{"prompt_tokens":1,"completion_tokens":1}`, 10*10_000 + 50*30_000, 10_000 + 30_000},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, prices+"rate_limiting: {default: {cost_per_hour: 1}}", p)
			a := r.ask(r.client, "POST", "/v1/chat/completions", strings.Replace(prompt(40, `"max_tokens":50,`), `"m"`, `"`+c.model+`"`, 1))
			<-p.asked
			if used := r.usedBy(r.caller(""), "")["cost_per_hour"]; used != c.reserved {
				t.Errorf("reserved %d nano-dollars, want %d", used, c.reserved)
			}
			p.headers("application/json")
			p.says(`{"usage":` + c.usage + `}`)
			p.ends()
			readAll(a.headers())
			if used := r.usedBy(r.caller(""), "")["cost_per_hour"]; used != c.cost {
				t.Errorf("charged %d nano-dollars, want %d", used, c.cost)
			}
			if got, want := r.metric(`cost_usd_total{model="`+c.model+`"}`), float64(c.cost)/1e9; got != want {
				t.Errorf("the metric says %v dollars, want %v", got, want)
			}
			if got, want := r.metric(`unlisted_price_total{model="x"}`), float64(strings.Count(name, "not listed")); got != want {
				t.Errorf("%v requests without a price, want %v", got, want)
			}
		})
	}
}

// TestMoneyRunsOut: once the budget is used up, also by more than was reserved,
// nothing passes, and what streams takes its money as it goes.
func TestMoneyRunsOut(t *testing.T) {
	p := newPuppet(t)
	// 10 tokens of input and 10 of output are $0.0004; the stream has 1000.
	r := newRig(t, prices+"rate_limiting: {default: {cost_per_day: 0.01}}", p)
	a := r.ask(r.client, "POST", "/v1/chat/completions", prompt(40, `"stream":true,"max_tokens":10,`))
	<-p.asked
	p.headers(sse)
	resp := a.headers()
	p.says(event(100))
	reads(t, resp.Body, event(100))
	// It has outgrown its 10 tokens, and taken the first 256.
	if used := r.usedBy(r.caller(""), "")["cost_per_day"]; used != 10*10_000+256*30_000 {
		t.Errorf("%d nano-dollars are taken", used)
	}
	p.says(event(900) + lastEvent)
	p.ends()
	readAll(resp)
	if used := r.usedBy(r.caller(""), "")["cost_per_day"]; used != 10*10_000+1000*30_000 {
		t.Errorf("%d nano-dollars are charged", used)
	}
	b := r.send("POST", "/v1/chat/completions", prompt(40, `"max_tokens":10,`))
	if b.status != 429 || b.header.Get("X-Should-Retry") != "false" {
		t.Errorf("the next is answered %d, and may be retried: %q", b.status, b.header.Get("X-Should-Retry"))
	}
}

// TestShadows: what a rule in shadow mode and a candidate would deny passes, is
// counted and logged, and leaves no trace in the answer.
func TestShadows(t *testing.T) {
	r := newRig(t, `
log: {decisions: denied}
rate_limiting:
  rules:
    - {name: tried, limit: {requests: 2, per: 1h}, mode: shadow}
    - {name: held, limit: {requests: 4, per: 1h}, candidate: 3}
`, standin.New(standin.Options{}))
	for i := range 6 {
		a := r.send("POST", "/v1/embeddings", `{"model":"m","input":"x"}`)
		want := 200
		if i >= 4 {
			want = 429
		}
		if a.status != want || a.header.Get("X-Ratelimit-Limit") != "4" {
			t.Errorf("request %d: answer %d under a limit of %s", i+1, a.status, a.header.Get("X-Ratelimit-Limit"))
		}
	}
	for rule, want := range map[string]float64{"rules.tried": 2, "rules.held.candidate": 1} {
		if got := r.metric(`shadow_hits_total{rule="` + rule + `"}`); got != want {
			t.Errorf("%s would have denied %v of those let through, want %v", rule, got, want)
		}
		if got := strings.Count(r.log.String(), `msg="request would be denied" rule=`+rule+" "); got != int(want) {
			t.Errorf("%s has %d lines in the log, want %v", rule, got, want)
		}
	}
	if got := r.metric(`rate_limit_hits_total{key="other",rule="rules.held"}`); got != 2 {
		t.Errorf("rules.held denied %v, want 2", got)
	}
}

// TestNearLimit: from 80 % on an answer warns, and the rule is counted.
func TestNearLimit(t *testing.T) {
	r := newRig(t, "rate_limiting: {default: {requests_per_hour: 5, concurrent_requests: 1}, global: {requests_per_day: 6}}", standin.New(standin.Options{}))
	for i, want := range []string{
		"", "", "",
		"requests_per_hour: 80% used",
		"requests_per_hour: 100% used, global.requests_per_day: 83% used",
		"",
	} {
		a := r.send("POST", "/v1/embeddings", `{"model":"m","input":"x"}`)
		if got := a.header.Get("X-Ratelimit-Warning"); got != want {
			t.Errorf("request %d, answered %d, warns of %q, want %q", i+1, a.status, got, want)
		}
	}
	for rule, want := range map[string]float64{"default.requests_per_hour": 2, "global.requests_per_day": 1} {
		if got := r.metric(`near_limit_total{rule="` + rule + `"}`); got != want {
			t.Errorf("%s was near %v times, want %v", rule, got, want)
		}
	}
}
