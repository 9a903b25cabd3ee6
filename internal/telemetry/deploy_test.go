package telemetry

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const deploy = "../../deploy/"

// exported returns the labels of every sample in a scrape of a gateway, by its
// name; those that Prometheus adds are among them.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	m := NewMetrics("penstock_", gauges())
	play(m)
	label := regexp.MustCompile(`[{,]([a-z]+)="`)
	samples := map[string][]string{}
	for line := range strings.Lines(scrape(t, m, "penstock_", "text/plain")) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		labels := []string{"job", "instance"}
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			labels = append(labels, m[1])
		}
		name := line[:strings.IndexAny(line, "{ ")]
		samples[name] = labels
	}
	return samples
}

// wrongName and wrongLabel return what of an expression no gateway exports; "" for
// nothing.
func wrongName(expr string, samples map[string][]string) string {
	for _, name := range metricName.FindAllString(expr, -1) {
		if samples[name] == nil {
			return name
		}
	}
	return ""
}

func wrongLabel(expr string, samples map[string][]string) string {
	var known []string
	for _, name := range metricName.FindAllString(expr, -1) {
		known = append(known, samples[name]...)
	}
	for _, m := range labelNames.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1]+m[2], ",") {
			if label = strings.TrimSpace(label); !slices.Contains(known, label) {
				return label
			}
		}
	}
	return ""
}

var (
	metricName = regexp.MustCompile(`\bpenstock_[a-z0-9_]+`)
	labelNames = regexp.MustCompile(`(?:by|without) \(([^)]*)\)|([a-z]+)=~?"`)
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// dashboard is what a Grafana dashboard asks for.
type dashboard struct {
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type, Definition string
			Query                  any
		}
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ Type, UID string }
	Targets     []struct{ Expr, LegendFormat string }
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, deploy+"grafana/penstock.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboard: every panel asks the chosen data source for what a gateway
// exports, by labels that it has, and none lies on another; of all that a
// gateway exports nothing is left out.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	samples := exported(t)
	legend := regexp.MustCompile(`{{([a-z]+)}}`)
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	var asked strings.Builder
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%s: there is another panel %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" || at[0] >= 24 {
					t.Errorf("%s lies on %q or beyond the edge", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s asks %q for %d figures", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, target := range p.Targets {
			asked.WriteString(target.Expr + "\n")
			if name := wrongName(target.Expr, samples); name != "" {
				t.Errorf("%s: no gateway exports %s", p.Title, name)
			}
			if label := wrongLabel(target.Expr, samples); label != "" {
				t.Errorf("%s: %s has no label %s", p.Title, target.Expr, label)
			}
			for _, m := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if by := "(" + m[1]; m[1] != "instance" && !strings.Contains(target.Expr, by) && !strings.Contains(target.Expr, ", "+m[1]+")") {
					t.Errorf("%s: the legend shows %s, which %s does not keep", p.Title, m[1], target.Expr)
				}
			}
		}
	}
	for _, v := range d.Templating.List {
		if name := wrongName(v.Definition, samples); name != "" {
			t.Errorf("the variable %s: no gateway exports %s", v.Name, name)
		}
	}
	for name := range samples {
		if base := strings.TrimSuffix(strings.TrimSuffix(name, "_sum"), "_count"); base != name && samples[base+"_bucket"] != nil {
			continue // a part of a histogram whose buckets are asked for
		}
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(asked.String()) {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// TestAlertsNameMetrics: in rules and annotations, too, there are only names
// that a gateway exports.
func TestAlertsNameMetrics(t *testing.T) {
	samples := exported(t)
	for _, file := range []string{"prometheus/penstock-alerts.yaml", "prometheus/penstock-alerts.test.yaml"} {
		for _, name := range metricName.FindAllString(strings.ReplaceAll(read(t, deploy+file), "s/penstock_/", ""), -1) {
			if samples[name] == nil {
				t.Errorf("%s: no gateway exports %s", file, name)
			}
		}
	}
}

// TestMetricsAreDocumented: every metric has its place in the operator's page.
func TestMetricsAreDocumented(t *testing.T) {
	page := read(t, "../../docs/operations.md")
	m := NewMetrics("penstock_", gauges())
	play(m)
	for line := range strings.Lines(scrape(t, m, "penstock_", "text/plain")) {
		name, found := strings.CutPrefix(line, "# TYPE penstock_")
		if !found {
			continue
		}
		name, _, _ = strings.Cut(name, " ")
		if !strings.Contains(page, "`"+name+"`") && !strings.Contains(page, "`"+name+"{") {
			t.Errorf("docs/operations.md does not say what %s is", name)
		}
	}
}

// promtool returns the path of Prometheus's own checker.
func promtool(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"promtool", "../../bin/promtool"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "PROMTOOL IS MISSING, SO NO ALERT WAS TESTED: make servers gets it"
	if os.Getenv("PENSTOCK_REQUIRE") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// TestPromtool has Prometheus check what is deployed: alerts fire above their
// thresholds and not below, and every expression of the dashboard is one.
func TestPromtool(t *testing.T) {
	path := promtool(t)
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	type group struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}
	panels := group{Name: "panels"}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			expr := variables.Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: a variable that is not known in %s", p.Title, expr)
			}
			panels.Rules = append(panels.Rules, rule{"panel:" + strings.Repeat("x", 1+len(panels.Rules)), expr})
		}
	}
	text, err := json.Marshal(map[string]any{"groups": []group{panels}}) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "panels.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "config", deploy + "prometheus/prometheus.yaml"},
		{"check", "rules", deploy + "prometheus/penstock-alerts.yaml"},
		{"test", "rules", deploy + "prometheus/penstock-alerts.test.yaml"},
		{"check", "rules", file},
	} {
		if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
