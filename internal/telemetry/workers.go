package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Worker is one inference server at one moment. The counters count since it was
// added, and only grow.
type Worker struct {
	// Name is its URL, without a password.
	Name string
	// Healthy says that requests are sent to it as far as its health goes.
	Healthy bool
	// BreakerOpen says that its circuit breaker keeps requests from it.
	BreakerOpen bool
	// Outstanding counts the requests that it has not answered to the end.
	Outstanding int
	// Requests counts the requests that it was sent.
	Requests uint64
	// Failures counts those that it did not answer to the end, and those for
	// which it could not be reached.
	Failures uint64
}

// workersCollector shows the first hundred workers each, and of the others the
// sums: of those that are healthy, their number.
type workersCollector struct {
	healthy, breakerOpen, outstanding, requests, failures *prometheus.Desc

	read func() []Worker
}

func newWorkersCollector(prefix string, read func() []Worker) *workersCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+"worker_"+name, help, []string{"worker"}, nil)
	}
	return &workersCollector{
		healthy:     desc("healthy", "1 while requests are sent to a worker as far as its health goes, else 0."),
		breakerOpen: desc("breaker_open", "1 while the circuit breaker keeps requests from a worker, else 0."),
		outstanding: desc("outstanding", "Requests that a worker has not answered to the end."),
		requests:    desc("requests_total", "Requests that a worker was sent."),
		failures:    desc("failures_total", "Requests that a worker did not answer to the end, or for which it could not be reached."),
		read:        read,
	}
}

func (c *workersCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.healthy, c.breakerOpen, c.outstanding, c.requests, c.failures} {
		ch <- d
	}
}

// workerFigures are what is shown of one worker, or of several in one.
type workerFigures struct {
	healthy, breakerOpen, outstanding int
	requests, failures                uint64
}

func (c *workersCollector) Collect(ch chan<- prometheus.Metric) {
	shown := map[string]workerFigures{}
	for i, w := range c.read() {
		name := w.Name
		if i >= mostLabels {
			name = "other"
		}
		f := shown[name]
		if w.Healthy {
			f.healthy++
		}
		if w.BreakerOpen {
			f.breakerOpen++
		}
		f.outstanding += w.Outstanding
		f.requests += w.Requests
		f.failures += w.Failures
		shown[name] = f
	}
	for name, f := range shown {
		show := func(d *prometheus.Desc, kind prometheus.ValueType, n float64) {
			ch <- prometheus.MustNewConstMetric(d, kind, n, name)
		}
		show(c.healthy, prometheus.GaugeValue, float64(f.healthy))
		show(c.breakerOpen, prometheus.GaugeValue, float64(f.breakerOpen))
		show(c.outstanding, prometheus.GaugeValue, float64(f.outstanding))
		show(c.requests, prometheus.CounterValue, float64(f.requests))
		show(c.failures, prometheus.CounterValue, float64(f.failures))
	}
}
