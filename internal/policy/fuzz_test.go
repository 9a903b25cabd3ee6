package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
)

// FuzzNew compiles every configuration that is valid, and charges a request by
// it: the only one that cannot be counted is a bucket that fills too fast.
func FuzzNew(f *testing.F) {
	for _, pattern := range []string{"../config/testdata/*.good.yaml", "../../examples/configs/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) < 5 {
			f.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	getenv := func(name string) (string, bool) { return "value-of-" + name, true }
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "file:") {
			return // of a file on this machine
		}
		c, _, err := config.Parse("p.yaml", data, config.Flags{}, getenv)
		if err != nil {
			return
		}
		p, err := New(c, nil)
		if err != nil {
			if !strings.Contains(err.Error(), "cannot be counted for ten years") {
				t.Fatal(err)
			}
			return
		}
		p.Idle(c, kinds)
		for _, who := range []string{"alice", "bob", "", "trusted", "socket"} {
			caller, a := someone(who), chat("gpt-4", 100, -1)
			n := p.Need(caller, a)
			charges, _ := p.Charges(nil, caller, Target{Method: "POST", Path: "/v1/chat/completions"}, a, &n)
			if err := penstock.ValidateCharges(charges); err != nil {
				t.Fatal(err)
			}
			if _, weight := p.Turn(caller, Target{Method: "POST", Path: "/v1/chat/completions"}, a); weight < 1 {
				t.Fatalf("a weight of %d", weight)
			}
			shown := map[string]bool{}
			for i := range charges {
				rule := p.Rule(&charges[i])
				if shown[rule.Shown] {
					t.Fatalf("two rules of a request are shown as %s", rule.Shown)
				}
				shown[rule.Shown] = true
			}
		}
	})
}
