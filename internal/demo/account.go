package demo

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock-dev/penstock/internal/standin"
)

// account is what became of the requests of one client of a trace. Its work is
// weighed as the queue does it: input tokens, and output tokens twice.
type account struct {
	asked      int
	fates      [fates]int
	workAsked  int64
	workServed int64
	first      []time.Duration // to the first token, of those who had one
	streaming  time.Duration   // from the first token to the last, over all
	tokens     int64           // of output, the first of each aside
}

func (a *account) add(b *account) {
	a.asked += b.asked
	for i, n := range b.fates {
		a.fates[i] += n
	}
	a.workAsked, a.workServed = a.workAsked+b.workAsked, a.workServed+b.workServed
	a.first = append(a.first, b.first...)
	a.streaming, a.tokens = a.streaming+b.streaming, a.tokens+b.tokens
}

// note counts one request.
func (s *sender) note(q standin.Request, e ending) {
	one := account{asked: 1, workAsked: q.InputTokens + 2*q.OutputTokens}
	one.fates[e.fate] = 1
	if e.tokens > 0 {
		one.workServed = q.InputTokens + 2*e.tokens
		one.first = []time.Duration{e.first}
		one.streaming, one.tokens = e.last-e.first, e.tokens-1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[q.Caller]
	if a == nil {
		a = new(account)
		s.accounts[q.Caller] = a
	}
	a.add(&one)
	switch {
	case e.fate == refused:
		s.refusals[e.status]++
	case e.fate == failed && s.failure == nil:
		s.failure = e.err
	}
}

// all is the account of all clients together. s.mu is held.
func (s *sender) all() *account {
	sum := new(account)
	for _, a := range s.accounts {
		sum.add(a)
	}
	return sum
}

// progress says how it goes.
func (s *sender) progress() {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.all().fates
	at := (time.Since(s.began) * time.Duration(s.Speed)).Round(time.Second)
	fmt.Fprintf(s.Out, "%7s   %d answered, %d refused, %d gave up, %d failed\n", at, f[answered], f[refused], f[gaveUp], f[failed])
}

// summarize says what became of everyone, who asked for most at first.
func (s *sender) summarize() {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all()
	fmt.Fprintln(s.Out)
	table := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "client\tasked\tanswered\trefused\tgave up\tfailed\tunder way\tasked of all\tserved of all\tserved of asked\tfirst token: 50 %\t90 %\t99 %\ta token\t")
	row := func(name string, a *account) {
		pause := "-"
		if a.tokens > 0 {
			pause = fmt.Sprintf("%d ms", (a.streaming / time.Duration(a.tokens) * time.Duration(s.Speed)).Round(time.Millisecond).Milliseconds())
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, a.asked,
			a.fates[answered], a.fates[refused], a.fates[gaveUp], a.fates[failed], a.fates[underWay],
			share(a.workAsked, all.workAsked), share(a.workServed, all.workServed), share(a.workServed, a.workAsked),
			s.wait(a, 50), s.wait(a, 90), s.wait(a, 99), pause)
	}
	for _, client := range slices.SortedFunc(maps.Keys(s.accounts), func(a, b int) int {
		return cmp.Or(cmp.Compare(s.accounts[b].workAsked, s.accounts[a].workAsked), cmp.Compare(a, b))
	}) {
		row(fmt.Sprint(client), s.accounts[client])
	}
	row("all", all)
	_ = table.Flush()
	if len(s.refusals) > 0 {
		var by []string
		for _, status := range slices.Sorted(maps.Keys(s.refusals)) {
			by = append(by, fmt.Sprintf("%d of %d", s.refusals[status], status))
		}
		fmt.Fprintf(s.Out, "\nRefused by status: %s.\n", strings.Join(by, ", "))
	}
	if s.failure != nil {
		fmt.Fprintf(s.Out, "\nThe first failure: %v.\n", s.failure)
	}
	fmt.Fprintf(s.Out, "\nAsked and served are input tokens, and output tokens twice. Output came at %d tokens a second.\n", s.rate(all))
}

// rate is how many output tokens came in a second of the trace, over all of it.
func (s *sender) rate(all *account) int64 {
	n := all.tokens + int64(len(all.first))
	return int64(float64(n)/(time.Since(s.began)*time.Duration(s.Speed)).Seconds() + 0.5)
}

// wait is a percentile of the times to the first token, in the trace's time.
func (s *sender) wait(a *account, percent int) string {
	if len(a.first) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", (percentile(a.first, percent) * time.Duration(s.Speed)).Seconds())
}

// share is n of all, in percent.
func share(n, all int64) string {
	if all == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(all))
}

// percentile is the least of them that so many percent of all are at or below; 0
// of none.
func percentile(of []time.Duration, percent int) time.Duration {
	if len(of) == 0 {
		return 0
	}
	of = slices.Sorted(slices.Values(of))
	return of[(len(of)*percent+99)/100-1]
}
