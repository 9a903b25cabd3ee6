package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/policy"
)

// TestMemoryOfManyRules: the more counters each caller has the fewer callers are
// measured, so that check ends, whatever the configuration.
func TestMemoryOfManyRules(t *testing.T) {
	var text strings.Builder
	text.WriteString("rate_limiting:\n  rules:\n")
	for i := range 400 {
		fmt.Fprintf(&text, "    - {name: r%d, per: [caller], limit: {requests: 10, per: 1m}}\n", i)
	}
	c, _, err := config.Parse("penstock.yaml", []byte(text.String()), config.Flags{}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(samples(c, p)); n != 1 {
		t.Errorf("%d requests are looked at, want 1: no rule tells two apart", n)
	}
	var out strings.Builder
	if err := printMemory(&out, c, p); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "as measured with 2500.") {
		t.Errorf("it prints %s, want 2500 callers of 400 counters", out.String())
	}
}
