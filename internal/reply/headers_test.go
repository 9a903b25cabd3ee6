package reply_test

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// now is 0.4 s past a whole second, in another zone than UTC.
var now = time.Unix(1699574355, 400_000_000).In(time.FixedZone("", 3600))

var limits = []reply.Limit{
	{Name: "requests_per_minute", Unit: "requests", Limit: 60, Remaining: 45, Window: time.Minute, Reset: 15 * time.Second},
	{Name: "requests_per_day", Unit: "requests", Limit: 10000, Remaining: 7499, Window: 24 * time.Hour, Reset: 6 * time.Hour},
	{Name: "gpt-4.tokens_per_minute", Unit: "tokens", Limit: 100000, Remaining: 85600, Window: time.Minute, Reset: 8_639_000_001},
	{Name: "input_tokens_per_minute", Unit: "input_tokens", Limit: 50000, Remaining: 50000, Window: time.Minute},
	{Name: "output_tokens_per_second", Unit: "output_tokens", Limit: 500, Remaining: -20, Window: 500 * time.Millisecond, Reset: 20 * time.Millisecond},
	{Name: "cost_per_day", Unit: "cost", Limit: 100_000_000_000, Remaining: 99_000_000_000, Window: 24 * time.Hour, Reset: 24 * time.Minute},
	{Name: "concurrent_requests", Unit: "concurrent", Limit: 10, Remaining: 7},
}

func newHeaders(t interface{ Fatal(...any) }, o reply.HeaderOptions) *reply.Headers {
	h, err := reply.NewHeaders(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

var allSets = []reply.Set{reply.IETF, reply.OpenAI, reply.Anthropic}

// TestGoldenHeaders pins the headers of every set and of every dialect's own.
func TestGoldenHeaders(t *testing.T) {
	var b strings.Builder
	add := func(name string, o reply.HeaderOptions, d traffic.Dialect, limits []reply.Limit, binding int) {
		h := http.Header{}
		newHeaders(t, o).Set(h, d, now, limits, binding)
		fmt.Fprintf(&b, "--- %s\n%s\n", name, headerText(h))
	}
	for _, d := range dialects {
		add(d.String(), reply.HeaderOptions{}, d, limits, 0)
	}
	add("ietf", reply.HeaderOptions{Sets: []reply.Set{reply.IETF}}, traffic.OpenAI, limits, 2)
	add("openai on any path", reply.HeaderOptions{Sets: []reply.Set{reply.OpenAI}}, traffic.Plain, limits, 2)
	add("anthropic on any path", reply.HeaderOptions{Sets: []reply.Set{reply.Anthropic}}, traffic.OpenAI, limits, 2)
	add("all", reply.HeaderOptions{Sets: allSets}, traffic.OpenAI, limits, 4)
	add("no sets", reply.HeaderOptions{Sets: []reply.Set{}}, traffic.OpenAI, limits, 4)
	add("own names", reply.HeaderOptions{Limit: "x-my-limit", Remaining: "X-MY-REMAINING", Reset: "RateLimit-Reset"}, traffic.Plain, limits, 0)
	add("no binding limit", reply.HeaderOptions{}, traffic.OpenAI, limits, -1)
	add("binding past the end", reply.HeaderOptions{}, traffic.OpenAI, limits, len(limits))
	add("a concurrent limit alone", reply.HeaderOptions{Sets: allSets}, traffic.OpenAI, limits[6:], 0)
	add("no limits", reply.HeaderOptions{Sets: allSets}, traffic.OpenAI, nil, 0)
	add("off", reply.HeaderOptions{Off: true, Sets: allSets}, traffic.OpenAI, limits, 0)
	golden(t, "headers.txt", b.String())
}

func TestOpenAIReset(t *testing.T) {
	headers := newHeaders(t, reply.HeaderOptions{})
	for _, c := range []struct {
		reset time.Duration
		want  string
	}{
		{0, "0s"},
		{-1, "0s"},
		{1, "1ms"},
		{120 * time.Millisecond, "120ms"},
		{8640 * time.Millisecond, "8.64s"},
		{6 * time.Minute, "6m0s"},
		{time.Hour - 1, "1h0m0s"},
		{math.MaxInt64, "2562047h47m16.854s"},
	} {
		h := http.Header{}
		headers.Set(h, traffic.OpenAI, now, []reply.Limit{{Unit: "tokens", Limit: 1, Reset: c.reset}}, 0)
		if got := h.Get("x-ratelimit-reset-tokens"); got != c.want {
			t.Errorf("%d ns: %q, want %q", c.reset, got, c.want)
		}
	}
}

func TestNewHeadersErrors(t *testing.T) {
	for _, c := range []struct {
		o    reply.HeaderOptions
		want string
	}{
		{reply.HeaderOptions{Limit: "X Limit"}, `reply: the name of the limit header is "X Limit": use letters, digits and hyphens`},
		{reply.HeaderOptions{Remaining: "X-Ü"}, `reply: the name of the remaining header is "X-Ü": use letters, digits and hyphens`},
		{reply.HeaderOptions{Reset: "X:\r\n"}, `reply: the name of the reset header is "X:\r\n": use letters, digits and hyphens`},
		{
			reply.HeaderOptions{Limit: "x-a", Reset: "X-A"},
			`reply: the name of the reset header is "X-A", as another's is: give each its own`,
		},
		{
			reply.HeaderOptions{Limit: "x-ratelimit-reset-after"},
			`reply: "X-Ratelimit-Reset-After" is the name of two headers, since the reset header's is followed by -After: give each its own`,
		},
		{reply.HeaderOptions{Sets: []reply.Set{3}}, `reply: there is no set 3 of headers`},
	} {
		if _, err := reply.NewHeaders(c.o); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v, want %s", c.o, err, c.want)
		}
	}
}

// drawLimits draws limits of any unit and size; few shares, so that many are
// equal.
func drawLimits(t *rapid.T) []reply.Limit {
	amount := rapid.OneOf(rapid.Int64Range(-2, 4), rapid.Int64())
	duration := rapid.Map(rapid.OneOf(rapid.Int64Range(-1, 3_000_000_000), rapid.Int64()), func(n int64) time.Duration { return time.Duration(n) })
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) reply.Limit {
		return reply.Limit{
			Name:      rapid.String().Draw(t, "name"),
			Unit:      rapid.SampledFrom([]string{"requests", "tokens", "input_tokens", "output_tokens", "cost", "concurrent", ""}).Draw(t, "unit"),
			Limit:     max(0, amount.Draw(t, "limit")),
			Remaining: amount.Draw(t, "remaining"),
			Window:    duration.Draw(t, "window"),
			Reset:     duration.Draw(t, "reset"),
		}
	}), 1, 6).Draw(t, "limits")
}

// What Set sets, Drop drops, and it leaves what else a worker answered.
func TestDropUndoesSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := reply.HeaderOptions{Off: rapid.Bool().Draw(t, "off"), Reset: rapid.SampledFrom([]string{"", "x-reset"}).Draw(t, "reset")}
		if rapid.Bool().Draw(t, "own sets") {
			o.Sets = append([]reply.Set{}, rapid.SliceOf(rapid.SampledFrom(allSets)).Draw(t, "sets")...)
		}
		d := rapid.SampledFrom(dialects).Draw(t, "dialect")
		limits := drawLimits(t)
		headers := newHeaders(t, o)

		worker := http.Header{"Retry-After": {"7"}, "X-Request-Id": {"id"}, "X-Ratelimit-Limit-Images": {"1"}}
		out := worker.Clone()
		headers.Set(out, d, now, limits, rapid.IntRange(-1, len(limits)).Draw(t, "binding"))
		for name, values := range out {
			if http.CanonicalHeaderKey(name) != name || len(values) != 1 || cap(values) != 1 {
				t.Fatalf("%s: %q, %d of %d", name, values, len(values), cap(values))
			}
			if strings.ContainsFunc(values[0], func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("%s: %q", name, values[0])
			}
		}
		headers.Drop(out, d)
		if diff := cmp.Diff(worker, out); diff != "" {
			t.Fatalf("after Set and Drop (-before +after):\n%s", diff)
		}
	})
}

// A worker's header goes where a header of that name would be ours, be it set
// this time or not, and stays everywhere else.
func TestDrop(t *testing.T) {
	const (
		own       = "X-Ratelimit-Remaining"
		openAI    = "X-Ratelimit-Remaining-Tokens"
		anthropic = "Anthropic-Ratelimit-Input-Tokens-Reset"
		ietf      = "Ratelimit"
		retry     = "Retry-After"
	)
	for _, c := range []struct {
		name string
		o    reply.HeaderOptions
		d    traffic.Dialect
		kept []string
	}{
		{"plain", reply.HeaderOptions{}, traffic.Plain, []string{anthropic, ietf, retry, openAI}},
		{"openai", reply.HeaderOptions{}, traffic.OpenAI, []string{anthropic, ietf, retry}},
		{"anthropic", reply.HeaderOptions{}, traffic.Anthropic, []string{ietf, retry, openAI}},
		{"ietf", reply.HeaderOptions{Sets: []reply.Set{reply.IETF}}, traffic.OpenAI, []string{anthropic, retry, openAI}},
		{"all", reply.HeaderOptions{Sets: allSets}, traffic.Plain, []string{retry}},
		{"own name", reply.HeaderOptions{Remaining: "X-Left"}, traffic.Plain, []string{anthropic, ietf, retry, own, openAI}},
		{"off", reply.HeaderOptions{Off: true, Sets: allSets}, traffic.OpenAI, []string{anthropic, ietf, retry, own, openAI}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := http.Header{}
			for _, name := range []string{own, openAI, anthropic, ietf, retry} {
				out.Set(name, "1")
			}
			newHeaders(t, c.o).Drop(out, c.d)
			if d := cmp.Diff(c.kept, slices.Sorted(maps.Keys(out))); d != "" {
				t.Errorf("kept (-want +got):\n%s", d)
			}
		})
	}
}

// The numbers are what they are said to be, computed in another way.
func TestHeaderNumbers(t *testing.T) {
	headers := newHeaders(t, reply.HeaderOptions{Sets: allSets})
	rapid.Check(t, func(t *rapid.T) {
		limits := drawLimits(t)
		at := time.Unix(rapid.Int64Range(0, 1e10).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
		binding := rapid.IntRange(0, len(limits)-1).Draw(t, "binding")
		h := http.Header{}
		headers.Set(h, traffic.OpenAI, at, limits, binding)
		number := func(name string) int64 {
			n, err := strconv.ParseInt(h.Get(name), 10, 64)
			if err != nil || n < 0 {
				t.Fatalf("%s: %q", name, h.Get(name))
			}
			return n
		}

		l := limits[binding]
		if got := number("X-RateLimit-Limit"); got != l.Limit {
			t.Fatalf("limit %d, want %d", got, l.Limit)
		}
		if got := number("X-RateLimit-Remaining"); got != max(l.Remaining, 0) {
			t.Fatalf("remaining %d, want %d", got, max(l.Remaining, 0))
		}
		whole := at.Add(max(l.Reset, 0))
		reset := time.Unix(number("X-RateLimit-Reset"), 0)
		if reset.Before(whole) || !reset.Add(-time.Second).Before(whole) {
			t.Fatalf("reset at %v, whole at %v", reset, whole)
		}
		checkCeil(t, time.Second, number("X-RateLimit-Reset-After"), l.Reset)

		for _, unit := range []string{"requests", "tokens"} {
			want := slowTightest(limits, unit, binding)
			if want == nil {
				if h.Get("x-ratelimit-limit-"+unit) != "" {
					t.Fatalf("there is no limit of %s", unit)
				}
				continue
			}
			if got := number("x-ratelimit-limit-" + unit); got != want.Limit {
				t.Fatalf("%s: limit %d, want %d", unit, got, want.Limit)
			}
			if got := number("x-ratelimit-remaining-" + unit); got != max(want.Remaining, 0) {
				t.Fatalf("%s: remaining %d, want %d", unit, got, max(want.Remaining, 0))
			}
			d, err := time.ParseDuration(h.Get("x-ratelimit-reset-" + unit))
			if err != nil || d%time.Millisecond != 0 {
				t.Fatalf("%s: reset %v (%v)", unit, d, err)
			}
			const most = math.MaxInt64 / time.Millisecond * time.Millisecond
			checkCeil(t, time.Millisecond, int64(d/time.Millisecond), min(want.Reset, most))
			rfc, err := time.Parse(time.RFC3339, h.Get("anthropic-ratelimit-"+unit+"-reset"))
			whole := at.Add(max(want.Reset, 0))
			if err != nil || rfc.Before(whole) || !rfc.Add(-time.Second).Before(whole) {
				t.Fatalf("%s: reset at %v (%v), whole at %v", unit, rfc, err, whole)
			}
		}
	})
}

// checkCeil checks that n grains are the least that hold d.
func checkCeil(t *rapid.T, grain time.Duration, n int64, d time.Duration) {
	want, mod := new(big.Int).DivMod(big.NewInt(max(int64(d), 0)), big.NewInt(int64(grain)), new(big.Int))
	if mod.Sign() > 0 {
		want.Add(want, big.NewInt(1))
	}
	if want.Cmp(big.NewInt(n)) != 0 {
		t.Fatalf("%v is %d grains of %v, want %v", d, n, grain, want)
	}
}

// slowTightest sorts by exact fractions.
func slowTightest(limits []reply.Limit, unit string, binding int) *reply.Limit {
	if limits[binding].Unit == unit {
		return &limits[binding]
	}
	share := func(l reply.Limit) *big.Rat { return big.NewRat(max(l.Remaining, 0), max(l.Limit, 1)) }
	of := slices.DeleteFunc(slices.Clone(limits), func(l reply.Limit) bool { return l.Unit != unit })
	slices.SortStableFunc(of, func(a, b reply.Limit) int {
		if c := share(a).Cmp(share(b)); c != 0 {
			return c
		}
		return big.NewInt(int64(b.Reset)).Cmp(big.NewInt(int64(a.Reset)))
	})
	if len(of) == 0 {
		return nil
	}
	return &of[0]
}

// The IETF lists parse as structured fields, one item a limit, in order.
func TestIETFParses(t *testing.T) {
	headers := newHeaders(t, reply.HeaderOptions{Sets: []reply.Set{reply.IETF}})
	const most = 999_999_999_999_999
	rapid.Check(t, func(t *rapid.T) {
		limits := drawLimits(t)
		h := http.Header{}
		headers.Set(h, traffic.Plain, now, limits, 0)
		policies, left := parseList(t, h.Get("RateLimit-Policy")), parseList(t, h.Get("RateLimit"))
		if len(policies) != len(limits) || len(left) != len(limits) {
			t.Fatalf("%d and %d items for %d limits", len(policies), len(left), len(limits))
		}
		for i, l := range limits {
			var name strings.Builder
			for _, c := range []byte(l.Name) {
				if c < ' ' || c > '~' {
					fmt.Fprintf(&name, "%%%02X", c)
				} else {
					name.WriteByte(c)
				}
			}
			policy := map[string]string{"": name.String(), "q": strconv.FormatInt(min(l.Limit, most), 10)}
			rest := map[string]string{"": name.String(), "r": strconv.FormatInt(min(max(l.Remaining, 0), most), 10)}
			if l.Unit == "concurrent" {
				policy["qu"] = `"concurrent-requests"`
			} else {
				rest["t"] = wholeSeconds(l.Reset)
				if l.Window > 0 {
					policy["w"] = wholeSeconds(l.Window)
				}
			}
			if d := cmp.Diff(policy, policies[i]) + cmp.Diff(rest, left[i]); d != "" {
				t.Fatalf("%+v (-want +got):\n%s", l, d)
			}
		}
	})
}

// wholeSeconds is d in seconds, rounded up.
func wholeSeconds(d time.Duration) string {
	n := int64(max(d, 0) / time.Second)
	if d > time.Duration(n)*time.Second {
		n++
	}
	return strconv.FormatInt(n, 10)
}

// parseList reads a structured list of Strings with parameters (RFC 9651); the
// String is under the name "".
func parseList(t *rapid.T, s string) (items []map[string]string) {
	for {
		item := map[string]string{}
		if !strings.HasPrefix(s, `"`) {
			t.Fatalf("no String at %q", s)
		}
		var value strings.Builder
		for s = s[1:]; s[0] != '"'; s = s[1:] {
			if s[0] == '\\' {
				s = s[1:]
				if s[0] != '"' && s[0] != '\\' {
					t.Fatalf("escaped %q", s[0])
				}
			}
			value.WriteByte(s[0])
		}
		item[""] = value.String()
		s = s[1:]
		for strings.HasPrefix(s, ";") {
			name, rest, ok := strings.Cut(s[1:], "=")
			end := strings.IndexAny(rest, ";,")
			if end < 0 {
				end = len(rest)
			}
			if !ok || end == 0 {
				t.Fatalf("no parameter at %q", s)
			}
			item[name], s = rest[:end], rest[end:]
		}
		items = append(items, item)
		if s == "" {
			return items
		}
		if !strings.HasPrefix(s, ", ") {
			t.Fatalf("no comma at %q", s)
		}
		s = s[2:]
	}
}

func setOnce(t interface{ Fatal(...any) }, o reply.HeaderOptions) func() {
	headers, out := newHeaders(t, o), make(http.Header, 32)
	return func() { headers.Set(out, traffic.OpenAI, now, limits, 0) }
}

func TestSetAllocations(t *testing.T) {
	for _, sets := range [][]reply.Set{nil, {}, allSets} {
		if n := testing.AllocsPerRun(100, setOnce(t, reply.HeaderOptions{Sets: sets})); n > 2 {
			t.Errorf("sets %v: %v allocations, want at most 2", sets, n)
		}
	}
}

func BenchmarkSet(b *testing.B) {
	for name, sets := range map[string][]reply.Set{"openai": nil, "documents": {}, "all": allSets} {
		b.Run(name, func(b *testing.B) {
			set := setOnce(b, reply.HeaderOptions{Sets: sets})
			b.ReportAllocs()
			for b.Loop() {
				set()
			}
		})
	}
}
