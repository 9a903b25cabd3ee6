package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// A peer is a limiter beside ours; clock says that it reads its own clock.
type peer struct {
	name  string
	clock bool
}

var (
	ours  = []string{"penstock-bucket", "penstock-sliding", "penstock-fixed", "penstock-bucket-clock", "penstock-sliding-clock", "penstock-fixed-clock", "penstock-sliding-allow"}
	peers = []peer{
		{"xtime-syncmap", false},
		{"xtime-syncmap-clock", true},
		{"xtime-mutex", false},
		{"xtime-mutex-clock", true},
		{"sethvargo", true},
		{"throttled", true},
		{"ulule", true},
	}
	references = []peer{{"gcra-fixed", false}, {"gcra-syncmap", false}, {"gcra-syncmap-clock", true}}

	gatewayWorkloads = []string{"json-0.5KB", "json-200KB", "sse-50", "sse-50-2ms"}
	proxies          = []string{"bare", "penstock", "penstock-nolimits", "penstock-bypass"}
)

// columns of the table of decisions: prefixes of benchmark names. Those with
// two processors are in nanoseconds that pass, the others in nanoseconds of
// processor time.
var columns = []struct{ head, prefix, procs string }{
	{"hot", "Decision/hot/", ""},
	{"zipf", "Decision/zipf/", ""},
	{"paced", "Decision/paced/", ""},
	{"deny", "Decision/deny/", ""},
	{"4 hot", "Four/hot/", ""},
	{"4 zipf", "Four/zipf/", ""},
	{"3k hot", "ThreeKeys/hot/", ""},
	{"3k zipf", "ThreeKeys/zipf/", ""},
	{"hot 2P", "Decision/hot/", "-2"},
	{"zipf 2P", "Decision/zipf/", "-2"},
}

// show prints everything.
func show(w io.Writer, r results) error {
	if len(r) == 0 {
		return fmt.Errorf("no benchmark lines in what was read")
	}
	showDecisions(w, r)
	showKeys(w, r)
	showGateway(w, r)
	showBudgets(w, r)
	return nil
}

// short is a number in few letters, a dash for one that was not measured.
func short(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "-"
	case v >= 100 || v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func showDecisions(w io.Writer, r results) {
	fmt.Fprint(w, "DECISIONS: CPU ns each, at 2P ns that pass; (penstock-bucket / peer, by the same kind of clock: below 1 penstock is cheaper)\n")
	fmt.Fprintf(w, "%-22s", "")
	for _, c := range columns {
		fmt.Fprintf(w, " %12s", c.head)
	}
	fmt.Fprintln(w)
	row := func(name string, against string) {
		fmt.Fprintf(w, "%-22s", name)
		for _, c := range columns {
			unit := cpu
			if c.procs != "" {
				unit = "ns/op"
			}
			cell := short(r.median(c.prefix+name+c.procs, unit))
			if against != "" {
				if ratio := r.ratio(c.prefix+against+c.procs, c.prefix+name+c.procs, unit); !math.IsNaN(ratio) {
					cell += " (" + short(ratio) + ")"
				}
			}
			fmt.Fprintf(w, " %12s", cell)
		}
		fmt.Fprintln(w)
	}
	row("none", "")
	row("clock", "")
	for _, name := range ours {
		row(name, "")
	}
	for _, p := range append(append([]peer(nil), references...), peers...) {
		against := "penstock-bucket"
		if p.clock {
			against += "-clock"
		}
		row(p.name, against)
	}
}

func showKeys(w io.Writer, r results) {
	units := []string{"insert-ns/key", "insert-allocs/key", "heap-B/key", "rss-B/key", "gc-ms"}
	fmt.Fprint(w, "\nA MILLION KEYS        ")
	for _, u := range units {
		fmt.Fprintf(w, " %18s", u)
	}
	fmt.Fprintln(w)
	for _, name := range []string{
		"none", "penstock-bucket", "penstock-sliding", "penstock-sliding-used", "penstock-fixed",
		"gcra-syncmap", "xtime-syncmap", "xtime-mutex", "sethvargo", "throttled", "ulule",
	} {
		fmt.Fprintf(w, "%-22s", name)
		for _, u := range units {
			fmt.Fprintf(w, " %18s", short(r.median("Keys/"+name, u)))
		}
		fmt.Fprintln(w)
	}
}

func showGateway(w io.Writer, r results) {
	fmt.Fprint(w, "\nGATEWAY: the proxy's CPU us a request (x bare with the same GOGC; x bare as it comes)        of json-0.5KB (p99 is noise here)\n")
	fmt.Fprintf(w, "%-26s", "")
	for _, load := range gatewayWorkloads {
		fmt.Fprintf(w, " %18s", load)
	}
	fmt.Fprintf(w, " %7s %7s %7s %7s %7s  %s\n", "allocs", "B", "req/s", "p50 us", "p99 us", "KiB/stream")
	for _, gc := range []string{"", "-gogc400"} {
		for _, p := range proxies {
			fmt.Fprintf(w, "%-26s", p+gc)
			for _, load := range gatewayWorkloads {
				name := "Gateway/" + load + "/"
				cell := []string{
					short(r.median(name+p+gc, cpu) / 1e3),
					short(r.ratio(name+p+gc, name+"bare"+gc, cpu)),
					short(r.ratio(name+p+gc, name+"bare", cpu)),
				}
				fmt.Fprintf(w, " %18s", cell[0]+" ("+strings.Join(cell[1:], "; ")+")")
			}
			for _, u := range []string{"allocs/op", "B/op", "req/s", "p50-us", "p99-us"} {
				fmt.Fprintf(w, " %7s", short(r.median("Gateway/json-0.5KB/"+p+gc, u)))
			}
			fmt.Fprintf(w, "  %s\n", short(stream(r, p+gc)/1024))
		}
	}
}

// stream is what a proxy weighs for each stream, however many were open.
func stream(r results, proxy string) float64 {
	for name := range r {
		if strings.HasPrefix(name, "Streams/") && strings.HasSuffix(name, "/"+proxy) {
			return r.median(name, "rss-B/stream")
		}
	}
	return math.NaN()
}
