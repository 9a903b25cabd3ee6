package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock-dev/penstock/internal/standin"
)

// reportEvery is how often the demo says how it goes.
const reportEvery = 5 * time.Second

// tally is what became of one caller's requests.
type tally struct {
	asked, through, limited, failed, left int
	first                                 []time.Duration // to the first byte of what was let through
}

// note counts one request; a status of 0 is no answer, or not a whole one.
func (d *demo) note(q standin.Request, status int, refusal string, first time.Duration, left bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &d.tallies[q.Caller]
	t.asked++
	switch {
	case left:
		t.left++
	case status == http.StatusOK:
		t.through++
		t.first = append(t.first, first)
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout: // it waited in vain for a slot
		t.limited++
		if d.refusal == "" {
			d.refusal = refusal
		}
	default:
		t.failed++
	}
}

func (d *demo) policyText(text string) {
	fmt.Fprintln(d.out, "The policy:")
	fmt.Fprintln(d.out)
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		fmt.Fprintln(d.out, "    "+line)
	}
	fmt.Fprintln(d.out)
}

// introduce says what is running and where to look.
func (d *demo) introduce() {
	gateway, adm := port(d.server.Addr()), port(d.server.AdminAddr())
	fmt.Fprintf(d.out, "The gateway listens on http://127.0.0.1:%d before two stand-in workers. While it runs:\n\n", gateway)
	fmt.Fprintf(d.out, "    curl -i http://127.0.0.1:%d/v1/chat/completions -d '{\"model\":\"demo-small\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}'\n", gateway)
	fmt.Fprintf(d.out, "    curl -s http://127.0.0.1:%d/metrics | grep -E '^penstock_(http_rate_limit|rate_limit|tokens|inflight)'\n\n", adm)
	if d.Trace != nil {
		fmt.Fprintf(d.out, "A trace of %d requests plays at %d times its speed.\n\n", len(d.Trace), d.Speed)
		return
	}
	fmt.Fprintf(d.out, "Requests come as they do in production: bursts, short and long prompts.\n\n")
}

// progress says how it goes.
func (d *demo) progress() {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, "%4s ", time.Since(d.began).Round(time.Second))
	for i := range d.tallies {
		t := &d.tallies[i]
		fmt.Fprintf(d.out, "  %s: %d through, %d limited", d.callers[i].Name, t.through, t.limited)
	}
	fmt.Fprintln(d.out)
}

// hits are the denials by caller and rule, as the gateway's own metrics have
// them.
func (d *demo) hits() map[string]map[string]int {
	hits := map[string]map[string]int{}
	for _, h := range d.server.Hits() {
		if hits[h.Key] == nil {
			hits[h.Key] = map[string]int{}
		}
		hits[h.Key][h.Rule] += h.Count
	}
	return hits
}

// summarize says what became of everyone.
func (d *demo) summarize() {
	hits := d.hits()
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, "\nAfter %v:\n\n", time.Since(d.began).Round(time.Second))
	table := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "    caller\tasked\tlet through\tlimited\tfailed\tunder way\tfirst byte (median)\tlimited by")
	for i := range d.tallies {
		t := &d.tallies[i]
		name := d.callers[i].Name
		key := name
		if d.callers[i].Key == "" {
			key = "other"
		}
		var by []string
		for rule, n := range hits[key] {
			by = append(by, fmt.Sprintf("%s %d", rule, n))
		}
		slices.Sort(by)
		fmt.Fprintf(table, "    %s\t%d\t%d\t%d\t%d\t%d\t%v\t%s\n", name, t.asked, t.through, t.limited, t.failed, t.left, percentile(t.first, 50).Round(time.Millisecond), strings.Join(by, ", "))
	}
	_ = table.Flush()
	if d.refusal != "" {
		fmt.Fprint(d.out, "\nOne refusal in full:\n\n")
		for _, line := range strings.Split(pretty(d.refusal), "\n") {
			fmt.Fprintln(d.out, "    "+line)
		}
	}
	if d.Trace != nil {
		d.windows()
	}
	share, tokens, limit := d.ledger.most()
	fmt.Fprintf(d.out, "\nThe most tokens that counted under one limit when a request was admitted: %d of %d (%.1f %%).\n", tokens, limit, 100*share)
}

// windows prints what was asked and admitted in each minute of a trace.
func (d *demo) windows() {
	size := time.Minute / time.Duration(d.Speed)
	admitted := d.ledger.perWindow(d.began, size)
	asked := make([]int64, len(admitted))
	for _, q := range d.Trace {
		w := int(q.At / time.Minute)
		for len(asked) <= w {
			asked = append(asked, 0)
		}
		asked[w] += q.InputTokens + q.OutputTokens
	}
	fmt.Fprintf(d.out, "\nTokens by minute of the trace, limit %d:\n\n", traceLimit)
	table := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "    minute\tasked\tadmitted\t")
	for i, n := range admitted {
		fmt.Fprintf(table, "    %d\t%d\t%d\t\n", i, asked[i], n)
	}
	_ = table.Flush()
}

// pretty spreads a JSON body over lines.
func pretty(answer string) string {
	head, body, ok := strings.Cut(answer, "\n\n{")
	var text bytes.Buffer
	if !ok || json.Indent(&text, []byte("{"+body), "", "  ") != nil {
		return answer
	}
	return head + "\n\n" + text.String()
}
