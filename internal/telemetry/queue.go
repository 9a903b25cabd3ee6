package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// Queue is the slots and the line in front of them at one moment.
type Queue struct {
	// Slots is how many requests may be in flight, 0 for any number, and InUse
	// how many are.
	Slots, InUse int
	// Capacity is how many requests may wait, and Depth how many do.
	Capacity, Depth int
	// ByClass is InUse and Depth taken apart; a class that is missing has none.
	ByClass map[traffic.Class]ClassInQueue
}

// ClassInQueue is the share of one class in a Queue.
type ClassInQueue struct{ InUse, Depth int }

// A Reason is why a request got no slot. What the gateway says is among
// Reasons, so that every series is there before the first request counts on it.
type Reason string

// The reasons.
const (
	Full      Reason = "full"       // nobody may wait any more
	PushedOut Reason = "pushed_out" // its caller had most waiters, and another's newcomer took the place
	Late      Reason = "late"       // the predicted wait was longer than it may be
	Timeout   Reason = "timeout"    // it waited as long as it may
	Stopped   Reason = "stopped"    // the gateway stops
)

// Reasons are all of them.
func Reasons() []Reason { return []Reason{Full, PushedOut, Late, Timeout, Stopped} }

// line counts what becomes of requests that ask for a slot.
type line struct {
	waits           prometheus.Histogram
	rejected        *prometheus.CounterVec
	waitsByClass    *prometheus.HistogramVec
	rejectedByClass *prometheus.CounterVec
	leftByClass     *prometheus.CounterVec
}

// newLine returns a line with every series at 0, so that rate() sees the first
// request, too.
func newLine(prefix string, to prometheus.Registerer) line {
	buckets := []float64{.001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	const waited = "Time that requests waited for a slot, those that got none included"
	l := line{
		waits:        prometheus.NewHistogram(histogramOpts(prefix+"queue_wait_seconds", waited+".", buckets)),
		waitsByClass: prometheus.NewHistogramVec(histogramOpts(prefix+"class_queue_wait_seconds", waited+", by class.", buckets), []string{"class"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "queue_rejected_total", Help: "Requests that got no slot, by reason: full, pushed_out, late, timeout or stopped.",
		}, []string{"reason"}),
		rejectedByClass: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "class_queue_rejected_total", Help: "Requests that got no slot, by class and reason.",
		}, []string{"class", "reason"}),
		leftByClass: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "class_queue_left_total", Help: "Requests whose client left before they had a slot, by class.",
		}, []string{"class"}),
	}
	for _, class := range traffic.Classes() {
		l.waitsByClass.WithLabelValues(class.String())
		l.leftByClass.WithLabelValues(class.String())
		for _, reason := range Reasons() {
			l.rejectedByClass.WithLabelValues(class.String(), string(reason))
		}
	}
	for _, reason := range Reasons() {
		l.rejected.WithLabelValues(string(reason))
	}
	to.MustRegister(l.waits, l.waitsByClass, l.rejected, l.rejectedByClass, l.leftByClass)
	return l
}

// Waited counts the time that a request waited for a slot, whether it got one
// or not.
func (m *Metrics) Waited(class traffic.Class, d time.Duration) {
	m.line.waits.Observe(d.Seconds())
	m.line.waitsByClass.WithLabelValues(class.String()).Observe(d.Seconds())
}

// Rejected counts a request that got no slot.
func (m *Metrics) Rejected(class traffic.Class, reason Reason) {
	m.line.rejected.WithLabelValues(string(reason)).Inc()
	m.line.rejectedByClass.WithLabelValues(class.String(), string(reason)).Inc()
}

// Left counts a request whose client has left before it had a slot.
func (m *Metrics) Left(class traffic.Class) {
	m.line.leftByClass.WithLabelValues(class.String()).Inc()
}

// queueCollector reads the queue once a scrape, so that its figures are of one
// moment.
type queueCollector struct {
	slots, inUse, capacity, depth, classInUse, classDepth *prometheus.Desc

	read func() Queue
}

func newQueueCollector(prefix string, read func() Queue) *queueCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, labels, nil)
	}
	return &queueCollector{
		slots:      desc("slots", "Requests that may be in flight; 0 for any number."),
		inUse:      desc("slots_in_use", "Requests that hold a slot."),
		capacity:   desc("queue_capacity", "Requests that may wait for a slot."),
		depth:      desc("queue_depth", "Requests that wait for a slot."),
		classInUse: desc("class_slots_in_use", "Requests that hold a slot, by class.", "class"),
		classDepth: desc("class_queue_depth", "Requests that wait for a slot, by class.", "class"),
		read:       read,
	}
}

func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.slots, c.inUse, c.capacity, c.depth, c.classInUse, c.classDepth} {
		ch <- d
	}
}

func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	q := c.read()
	gauge(c.slots, q.Slots)
	gauge(c.inUse, q.InUse)
	gauge(c.capacity, q.Capacity)
	gauge(c.depth, q.Depth)
	for _, class := range traffic.Classes() {
		of := q.ByClass[class]
		gauge(c.classInUse, of.InUse, class.String())
		gauge(c.classDepth, of.Depth, class.String())
	}
}
