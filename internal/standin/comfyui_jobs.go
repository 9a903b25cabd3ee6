package standin

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The bounds of what is kept of jobs: how many wait and how many are over, and
// the bytes of the graphs of each.
const (
	maxPending, maxPendingBytes = 1000, 64 << 20
	maxHistory, maxHistoryBytes = 1000, 16 << 20
)

// jobs is ComfyUI's queue, of which one job at a time runs. It has no goroutine:
// whoever looks at it makes up first for what has been due since, each thing at
// its own time. So what is told of a job is told when somebody looks, which the
// sockets do.
type jobs struct {
	takes time.Duration

	mu           sync.Mutex
	taken        int64 // jobs so far, which number them
	pictures     int64 // so far
	running      *job
	pending      []*job // the lowest number first
	pendingBytes int
	history      []*job // the oldest first
	historyBytes int
	sockets      map[string]*socket // by client id
	turned       chan struct{}      // closed when the next thing is due at another time
	counts       JobCounts
}

func newJobs(takes time.Duration) *jobs {
	return &jobs{takes: takes, sockets: map[string]*socket{}, turned: make(chan struct{})}
}

// JobCounts are of ComfyUI's jobs. Taken is the sum of all others.
type JobCounts struct {
	// Taken were accepted.
	Taken int64
	// Waiting and Running are so now.
	Waiting, Running int64
	// Finished ran to their end, Interrupted were stopped, and Deleted never ran.
	Finished, Interrupted, Deleted int64
}

// job is a graph that is executed node by node, and a node step by step. All
// steps take alike.
type job struct {
	id, client string
	number     float64
	front      bool
	graph      json.RawMessage // with extra_data: a list of the two
	nodes      []node
	outputs    []string // ids of nodes

	began, ended time.Time
	at, step     int // the node that executes, and its steps that are done
	done         int // steps of all nodes
	interrupted  bool
	picture      int64 // the number of its first
}

// node is one node of a graph. One without steps is one step that is not told.
type node struct {
	id, class string
	steps     int
}

// steps returns how many steps the job has.
func (j *job) steps() int {
	n := 0
	for i := range j.nodes {
		n += max(j.nodes[i].steps, 1)
	}
	return n
}

// numberJSON returns the number as ComfyUI writes it.
func (j *job) numberJSON() json.Number {
	return json.Number(strconv.FormatFloat(j.number, 'f', -1, 64))
}

// MarshalJSON writes the job as the queue and the history list it.
func (j *job) MarshalJSON() ([]byte, error) {
	var graph [2]json.RawMessage
	if err := json.Unmarshal(j.graph, &graph); err != nil {
		return nil, err
	}
	return json.Marshal([]any{j.numberJSON(), j.id, graph[0], graph[1], j.outputs})
}

// put takes a job in, or returns a refusal.
func (q *jobs) put(now time.Time, j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(now)
	if len(q.pending) >= maxPending || q.pendingBytes+len(j.graph) > maxPendingBytes {
		return &refusal{
			status: http.StatusServiceUnavailable, kind: "queue_full",
			message: fmt.Sprintf("The queue has its %d jobs or %d MiB; come back later.", maxPending, maxPendingBytes>>20),
		}
	}
	if math.IsNaN(j.number) {
		j.number = float64(q.taken)
		if j.front {
			j.number = 0 - j.number // never -0
		}
	}
	q.taken++
	q.counts.Taken++
	at, _ := slices.BinarySearchFunc(q.pending, j, func(x, y *job) int {
		if x.number <= y.number {
			return -1
		}
		return 1
	})
	q.pending = slices.Insert(q.pending, at, j)
	q.pendingBytes += len(j.graph)
	q.tellStatus()
	if q.running == nil {
		q.start(now)
		q.turn()
		q.advance(now)
	}
	return nil
}

// turn wakes the sockets, since something else is due next. It requires that q.mu
// is held.
func (q *jobs) turn() {
	close(q.turned)
	q.turned = make(chan struct{})
}

// due returns when the next thing is due; false: never. It requires that q.mu is
// held.
func (q *jobs) due() (time.Time, bool) {
	j := q.running
	if j == nil {
		return time.Time{}, false
	}
	n, of := time.Duration(j.done+1), time.Duration(j.steps())
	return j.began.Add(q.takes/of*n + q.takes%of*n/of), true
}

// advance does what is due by now. It requires that q.mu is held.
func (q *jobs) advance(now time.Time) {
	for {
		due, ok := q.due()
		if !ok || due.After(now) {
			return
		}
		j := q.running
		n := &j.nodes[j.at]
		j.done++
		j.step++
		if n.steps > 0 {
			q.tell(j, "progress", progress{j.step, n.steps, j.id, n.id})
		}
		if j.step < n.steps {
			continue
		}
		if slices.Contains(j.outputs, n.id) {
			q.tell(j, "executed", executed{n.id, n.id, j.output(n.id), j.id})
		}
		j.at, j.step = j.at+1, 0
		if j.at < len(j.nodes) {
			q.tellExecuting(j)
			continue
		}
		q.tell(j, "execution_success", moment{j.id, due.UnixMilli()})
		q.counts.Finished++
		q.end(due)
	}
}

// start begins the first job that waits, if there is one. It requires that q.mu is
// held, and that none runs.
func (q *jobs) start(now time.Time) {
	if len(q.pending) == 0 {
		return
	}
	j := q.pending[0]
	q.pending = slices.Delete(q.pending, 0, 1)
	q.pendingBytes -= len(j.graph)
	q.running, j.began = j, now
	j.picture = q.pictures + 1
	q.pictures += int64(len(j.outputs))
	q.tellStatus()
	q.tell(j, "execution_start", moment{j.id, now.UnixMilli()})
	q.tell(j, "execution_cached", cachedNodes{[]string{}, j.id, now.UnixMilli()})
	q.tellExecuting(j)
}

// end puts the running job into the history and begins the next. It requires that
// q.mu is held.
func (q *jobs) end(now time.Time) {
	j := q.running
	j.ended, q.running = now, nil
	q.tell(j, "executing", executing{PromptID: j.id})
	q.history = slices.DeleteFunc(q.history, func(old *job) bool {
		if old.id == j.id {
			q.historyBytes -= len(old.graph)
		}
		return old.id == j.id
	})
	q.history = append(q.history, j)
	q.historyBytes += len(j.graph)
	for len(q.history) > maxHistory || q.historyBytes > maxHistoryBytes {
		q.historyBytes -= len(q.history[0].graph)
		q.history = slices.Delete(q.history, 0, 1)
	}
	q.tellStatus()
	q.start(now)
}

// remove takes those jobs out that wait.
func (q *jobs) remove(now time.Time, which func(*job) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(now)
	q.pending = slices.DeleteFunc(q.pending, func(j *job) bool {
		if !which(j) {
			return false
		}
		q.pendingBytes -= len(j.graph)
		q.counts.Deleted++
		return true
	})
	q.tellStatus()
}

// interrupt ends the running job, if it is the one of this id or there is no id.
func (q *jobs) interrupt(now time.Time, id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(now)
	j := q.running
	if j == nil || id != "" && id != j.id {
		return
	}
	n := j.nodes[j.at]
	j.interrupted = true
	q.tell(j, "execution_interrupted", interrupted{j.id, n.id, n.class, []string{}, now.UnixMilli()})
	q.counts.Interrupted++
	q.end(now)
	q.turn()
	q.advance(now)
}

type execInfo struct {
	Remaining int `json:"queue_remaining"`
}

// info returns how many jobs there are.
func (q *jobs) info(now time.Time) execInfo {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(now)
	return q.remaining()
}

// remaining requires that q.mu is held.
func (q *jobs) remaining() execInfo {
	n := len(q.pending)
	if q.running != nil {
		n++
	}
	return execInfo{n}
}

// list returns the job that runs and those that wait.
func (q *jobs) list(now time.Time) (running, pending []any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(now)
	running, pending = []any{}, []any{}
	if q.running != nil {
		running = append(running, q.running)
	}
	for _, j := range q.pending {
		pending = append(pending, j)
	}
	return running, pending
}

// pastJob is a job in the history.
type pastJob struct {
	Prompt  *job                 `json:"prompt"`
	Outputs map[string]jobOutput `json:"outputs"`
	Status  pastStatus           `json:"status"`
	Meta    map[string]any       `json:"meta"`
}

type pastStatus struct {
	Status    string   `json:"status_str"`
	Completed bool     `json:"completed"`
	Messages  [][2]any `json:"messages"`
}

// past returns the last jobs that are over, at most so many; of this id alone,
// unless it is empty.
func (q *jobs) past(now time.Time, id string, most int64) map[string]pastJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(now)
	all := map[string]pastJob{}
	for i := len(q.history) - 1; i >= 0 && int64(len(all)) < most; i-- {
		j := q.history[i]
		if id != "" && id != j.id {
			continue
		}
		p := pastJob{Prompt: j, Outputs: map[string]jobOutput{}, Meta: map[string]any{}}
		p.Status = pastStatus{"success", true, [][2]any{{"execution_start", moment{j.id, j.began.UnixMilli()}}}}
		last := "execution_success"
		if j.interrupted {
			p.Status.Status, p.Status.Completed, last = "error", false, "execution_interrupted"
		} else {
			for _, node := range j.outputs {
				p.Outputs[node] = j.output(node)
			}
		}
		p.Status.Messages = append(p.Status.Messages, [2]any{last, moment{j.id, j.ended.UnixMilli()}})
		all[j.id] = p
	}
	return all
}

func (q *jobs) snapshot() JobCounts {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(time.Now())
	c := q.counts
	c.Waiting = int64(len(q.pending))
	c.Running = int64(q.remaining().Remaining) - c.Waiting
	return c
}
