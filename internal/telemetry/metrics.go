// Package telemetry is what the operator sees: metrics for Prometheus, and one
// log line for each denial. Nothing in it holds a key in clear, and the values
// of labels are bounded.
package telemetry

import (
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// Gauges are figures that are read when they are asked for. Each may be nil.
type Gauges struct {
	// Queue is the slots and the line in front of them.
	Queue func() Queue
	// Workers are the inference servers, in the order in which they are shown.
	Workers func() []Worker
	// Retries is how many times a request was sent to a worker once more.
	Retries func() uint64
	// Counters is how many keys have counters.
	Counters func() int64
	// Debt is how much was used beyond limits since the start, by unit.
	Debt func() map[string]int64
	// Usage is the share of each limit of each listed caller that is used.
	Usage func() []Usage
}

// Usage is the share of one rule's limit that is used under one key.
type Usage struct {
	Rule, Key string
	Ratio     float64
}

// Metrics counts what happens. Its methods may be called by any number of
// goroutines at the same time.
type Metrics struct {
	registry *prometheus.Registry

	limited   *prometheus.CounterVec
	hits      *prometheus.CounterVec
	durations prometheus.Histogram
	inFlight  prometheus.Gauge
	line      line
	tokens    *prometheus.CounterVec
	errors    prometheus.Counter
	unmetered *prometheus.CounterVec
	shadows   *prometheus.CounterVec
	near      *prometheus.CounterVec
	cost      *prometheus.CounterVec
	unlisted  *prometheus.CounterVec
	own       *prometheus.CounterVec
	estimate  prometheus.Histogram
	state     prometheus.Counter

	began, ended atomic.Int64 // requests

	allowed, denied prometheus.Counter

	models, keys, paths labels
}

// mostLabels is how many values a label has at most, besides other.
const mostLabels = 100

// labels is a set of values that a label may have.
type labels struct {
	mu    sync.RWMutex
	known map[string]bool
}

// add makes the value one that is shown, while there is room.
func (l *labels) add(value string) {
	if l.has(value) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = map[string]bool{}
	}
	if len(l.known) < mostLabels {
		l.known[value] = true
	}
}

func (l *labels) has(value string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.known[value]
}

// show returns the value if it is one that is shown, else other.
func (l *labels) show(value string) string {
	if l.has(value) {
		return value
	}
	return "other"
}

// NewMetrics returns metrics whose names begin with prefix, penstock_ where
// nobody says otherwise.
func NewMetrics(prefix string, g Gauges) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		return m.register(prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})).(prometheus.Counter)
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return m.register(prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)).(*prometheus.CounterVec)
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return m.register(prometheus.NewHistogram(histogramOpts(prefix+name, help, buckets))).(prometheus.Histogram)
	}
	m.limited = counters("http_rate_limit_total", "Limited requests by result, each once.", "result")
	m.allowed, m.denied = m.limited.WithLabelValues("allowed"), m.limited.WithLabelValues("rejected")
	m.hits = counters("rate_limit_hits_total", "Denials by the rule that binds and the listed key.", "rule", "key")
	m.durations = histogram("http_request_duration_seconds", "Time from a request's headers to the end of its answer's body.",
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800})
	m.inFlight = m.register(prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "inflight_requests", Help: "Requests that are being answered."})).(prometheus.Gauge)
	m.line = newLine(prefix, m.registry)
	m.own = counters("own_answers_total", "Requests that the gateway answered itself or whose answer it broke off, by code.", "code")
	m.shadows = counters("shadow_hits_total", "Requests let through that a rule in shadow mode, or a candidate, would have denied.", "rule")
	m.near = counters("near_limit_total", "Requests let through after which at least 80 % of the limit was used, by rule.", "rule")
	m.tokens = counters("tokens_total", "Tokens by kind (input, output, cached_input, cache_writes; the last two are of the input) and model.", "kind", "model")
	m.cost = counters("cost_usd_total", "What was used, in US dollars, by model.", "model")
	m.unlisted = counters("unlisted_price_total", "Requests that cost pricing.default since their model has no price, by model.", "model")
	m.errors = counter("store_errors_total", "Calls of the store that failed.")
	m.state = counter("state_write_errors_total", "Writes of the state file that failed.")
	m.unmetered = counters("unmetered_total", "POSTs whose body was passed on unread, by path.", "path")
	m.estimate = histogram("token_estimate_error_ratio", "What was reserved of tokens over what was used, less one, where the worker reported it.",
		[]float64{-.9, -.5, -.25, -.1, -.05, 0, .05, .1, .25, .5, 1, 2, 4, 8, 16, 64})
	if g.Queue != nil {
		m.register(newQueueCollector(prefix, g.Queue))
	}
	if g.Workers != nil {
		m.register(newWorkersCollector(prefix, g.Workers))
	}
	if g.Retries != nil {
		m.register(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: prefix + "worker_retries_total", Help: "Times that a request was sent to a worker once more.",
		}, func() float64 { return float64(g.Retries()) }))
	}
	if g.Counters != nil {
		m.register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: prefix + "counters", Help: "Keys that have counters.",
		}, func() float64 { return float64(g.Counters()) }))
	}
	if g.Debt != nil {
		m.register(&debtCollector{prometheus.NewDesc(prefix+"debt", "What was used beyond limits since the start, by unit.", []string{"unit"}, nil), g.Debt})
	}
	if g.Usage != nil {
		m.register(&usageCollector{prometheus.NewDesc(prefix+"rate_limit_usage_ratio", "Share of a limit that is used, by rule and listed key.", []string{"rule", "key"}, nil), g.Usage})
	}
	m.register(collectors.NewGoCollector())
	m.register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "1, with the version as a label.",
		ConstLabels: prometheus.Labels{"version": Version()},
	}, func() float64 { return 1 }))
	return m
}

// histogramOpts are those of a histogram in both forms: with these buckets, and
// native.
func histogramOpts(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
	}
}

func (m *Metrics) register(c prometheus.Collector) prometheus.Collector {
	m.registry.MustRegister(c)
	return c
}

// Version is the version that the program was built as.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true,
		ErrorHandling:     promhttp.ContinueOnError, // one figure that is wrong hides no other
	})
}

// Known makes models, names of listed keys and paths values that labels show,
// up to a hundred of each in all.
func (m *Metrics) Known(models, keys, paths []string) {
	for _, v := range models {
		m.models.add(v)
	}
	for _, v := range keys {
		m.keys.add(v)
	}
	for _, v := range paths {
		m.paths.add(v)
	}
}

// Decided counts one limited request.
func (m *Metrics) Decided(v *traffic.Verdict) {
	if v.Allowed {
		m.allowed.Inc()
		return
	}
	m.denied.Inc()
	if v.Rule == "" {
		return
	}
	key := "other"
	if v.Caller != nil && v.Caller.Listed {
		key = m.keys.show(v.Caller.Name)
	}
	m.hits.WithLabelValues(v.Rule, key).Inc()
}

// Hit is the denials of one rule under one key, as the metrics have them.
type Hit struct {
	Rule, Key string
	Count     int
}

// Hits returns the denials so far.
func (m *Metrics) Hits() (hits []Hit) {
	read := make(chan prometheus.Metric)
	go func() {
		m.hits.Collect(read)
		close(read)
	}()
	for metric := range read {
		var out dto.Metric
		if metric.Write(&out) != nil {
			continue
		}
		h := Hit{Count: int(out.GetCounter().GetValue())}
		for _, l := range out.GetLabel() {
			switch l.GetName() {
			case "rule":
				h.Rule = l.GetValue()
			case "key":
				h.Key = l.GetValue()
			}
		}
		hits = append(hits, h)
	}
	return hits
}

// Began counts a request that is being answered, and Ended that it no longer
// is, with the time since its headers.
func (m *Metrics) Began() {
	m.inFlight.Inc()
	m.began.Add(1)
}

// Ended counts a request that was answered to its end.
func (m *Metrics) Ended(took time.Duration) {
	m.inFlight.Dec()
	m.durations.Observe(took.Seconds())
	m.ended.Add(1)
}

// Requests returns how many requests have begun so far, and how many of them
// have ended. When the two are the same, nothing was in flight at that moment.
func (m *Metrics) Requests() (began, ended int64) {
	ended = m.ended.Load() // first, so that no request has ended that did not begin
	return m.began.Load(), ended
}

// Used counts the tokens of a request. answered says that a worker answered it
// 2xx: from then on the model's name is one that labels show, unless some letter of it
// shows nothing: a terminal might obey it.
func (m *Metrics) Used(model string, answered bool, u traffic.Usage) {
	if answered && model != "" && len(model) <= mostBytes && utf8.ValidString(model) && !strings.ContainsFunc(model, notGraphic) {
		m.models.add(model)
	}
	model = m.models.show(model)
	m.count("input", model, u.Input)
	m.count("output", model, u.Output)
	m.count("cached_input", model, u.CachedInput)
	m.count("cache_writes", model, u.CacheWrites)
}

func notGraphic(c rune) bool { return !unicode.IsGraphic(c) }

// Cost counts what a request cost, in nano-USD, after Used; listed says that
// its model has a price.
func (m *Metrics) Cost(model string, nano int64, listed bool) {
	model = m.models.show(model)
	if nano > 0 {
		m.cost.WithLabelValues(model).Add(float64(nano) / 1e9)
	}
	if !listed {
		m.unlisted.WithLabelValues(model).Inc()
	}
}

// Codes makes the series of these codes, with which the gateway may answer, be
// there before the first request counts on one.
func (m *Metrics) Codes(codes ...string) {
	for _, code := range codes {
		m.own.WithLabelValues(code)
	}
}

// Rules makes the series of these rules be there, too: of those that requests may
// come near to, and of those that are in shadow.
func (m *Metrics) Rules(near, shadows []string) {
	for _, rule := range near {
		m.near.WithLabelValues(rule)
	}
	for _, rule := range shadows {
		m.shadows.WithLabelValues(rule)
	}
}

// Own counts a request that the gateway answered itself, or broke off.
func (m *Metrics) Own(code string) { m.own.WithLabelValues(code).Inc() }

// Shadow counts a request that was let through and that the rule would have
// denied.
func (m *Metrics) Shadow(rule string) { m.shadows.WithLabelValues(rule).Inc() }

// Near counts a request after which little is left of the rule's limit.
func (m *Metrics) Near(rule string) { m.near.WithLabelValues(rule).Inc() }

func (m *Metrics) count(kind, model string, n int64) {
	if n > 0 {
		m.tokens.WithLabelValues(kind, model).Add(float64(n))
	}
}

// Estimated counts how far a reservation of tokens was from their use.
func (m *Metrics) Estimated(reserved, used int64) {
	if used > 0 {
		m.estimate.Observe(float64(reserved)/float64(used) - 1)
	}
}

// Unmetered counts a POST that was passed on unread.
func (m *Metrics) Unmetered(path string) {
	if !m.paths.has(path) && !knownPaths[path] {
		path = "other"
	}
	m.unmetered.WithLabelValues(path).Inc()
}

// knownPaths are the paths of inference servers whose use says something to an
// operator when it is not metered.
var knownPaths = func() map[string]bool {
	known := map[string]bool{}
	for _, p := range strings.Fields(`
		/v1/audio/speech /v1/audio/transcriptions /v1/audio/translations /v1/batches /v1/files
		/v1/images/edits /v1/images/generations /v1/images/variations /v1/moderations /v1/realtime
		/v1/rerank /v1/score /rerank /score /tokenize /detokenize /pooling /classify /generate
		/v1/messages /v1/messages/count_tokens /api/chat /api/generate /api/embed /api/embeddings
		/prompt /upload/image /upload/mask`) {
		known[p] = true
	}
	return known
}()

// StoreFailed counts a call of the store that failed.
func (m *Metrics) StoreFailed() { m.errors.Inc() }

// StateWriteFailed counts a write of the state file that failed.
func (m *Metrics) StateWriteFailed() { m.state.Inc() }

type debtCollector struct {
	desc *prometheus.Desc
	read func() map[string]int64
}

func (c *debtCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c *debtCollector) Collect(ch chan<- prometheus.Metric) {
	for unit, n := range c.read() {
		// A gauge, though it only grows: a counter's name would end in _total
		// where the scraper speaks OpenMetrics, and nowhere else.
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), unit)
	}
}

type usageCollector struct {
	desc *prometheus.Desc
	read func() []Usage
}

func (c *usageCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c *usageCollector) Collect(ch chan<- prometheus.Metric) {
	for _, u := range c.read() {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, u.Ratio, u.Rule, u.Key)
	}
}
