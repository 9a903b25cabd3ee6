package adaptive

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// The bounds of what is read of a worker each tick. All metrics of a server with
// several engines are some hundred KiB, and ComfyUI lists its jobs with their whole
// graphs. Of metrics, the lines that we look for are a few for each model.
const (
	maxBody  = 8 << 20
	maxLines = 64 << 10
)

// most bounds what one worker may be said to run or to have meansWaiting.
const most = 1 << 24

// meaning is which of Signals a metric is.
type meaning int

const (
	meansRunning meaning = iota
	meansWaiting
	meansKvUse
)

func meaningOf(metric string) (meaning, bool) {
	switch metric {
	case "vllm:num_requests_running", "sglang:num_running_reqs":
		return meansRunning, true
	case "vllm:num_requests_waiting", "sglang:num_queue_reqs":
		return meansWaiting, true
	case "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage":
		return meansKvUse, true
	}
	return 0, false
}

// readMetrics reads Prometheus's text. Requests add up over the models and engines
// of the worker, the fullest KV cache counts. Signals are Silent where what runs
// or what waits is not among the metrics.
func readMetrics(body io.Reader) (Signals, error) {
	ours, err := ourLines(body)
	if err != nil {
		return Signals{}, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(ours)
	if err != nil {
		return Signals{}, fmt.Errorf("adaptive: metrics: %w", err)
	}
	s := Signals{State: Silent}
	var seen [meansKvUse + 1]bool
	for name, family := range families {
		what, _ := meaningOf(name) // no others are left
		for _, m := range family.GetMetric() {
			v := m.GetUntyped().GetValue()
			if !(v >= 0) || math.IsInf(v, 0) { // NaN too
				return Signals{}, fmt.Errorf("adaptive: metrics: %s is %v", name, v)
			}
			seen[what] = true
			switch what {
			case meansRunning:
				s.Running = min(s.Running+int(min(v, most)), most)
			case meansWaiting:
				s.Waiting = min(s.Waiting+int(min(v, most)), most)
			case meansKvUse:
				s.KVUse = max(s.KVUse, min(v, 1))
			}
		}
	}
	if seen[meansRunning] && seen[meansWaiting] {
		s.State = Told
	}
	return s, nil
}

// ourLines returns the lines whose metrics mean something to us, so that no more
// is parsed than those. Without their types: all values are untyped then.
func ourLines(body io.Reader) (*bytes.Buffer, error) {
	limited := &io.LimitedReader{R: body, N: maxBody}
	ours := new(bytes.Buffer)
	lines := bufio.NewScanner(limited)
	for lines.Scan() {
		line := lines.Bytes()
		end := bytes.IndexAny(line, "{ \t")
		if end < 0 {
			continue
		}
		if _, ok := meaningOf(string(line[:end])); !ok {
			continue
		}
		if ours.Len()+len(line) >= maxLines {
			return nil, fmt.Errorf("adaptive: metrics: more than %d KiB of requests and KV caches", maxLines>>10)
		}
		ours.Write(line)
		ours.WriteByte('\n')
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("adaptive: metrics: %w", err)
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("adaptive: metrics: more than %d MiB", maxBody>>20)
	}
	return ours, nil
}

// readQueue reads ComfyUI's queue. Of one that is longer than what is read, those
// jobs count that were read. Signals are Silent where it is no such queue, such as
// a page that is shown for every path.
func readQueue(body io.Reader) (Signals, error) {
	limited := &io.LimitedReader{R: body, N: maxBody}
	s := Signals{State: Silent}
	d := json.NewDecoder(limited)
	switch t, err := d.Token(); {
	case err == nil && t == json.Delim('{'):
	case err == nil, err == io.EOF, errors.As(err, new(*json.SyntaxError)):
		return s, nil
	default:
		return Signals{}, fmt.Errorf("adaptive: queue: %w", err)
	}
	err := readObject(d, func(key string) (*int, bool) {
		switch key {
		case "queue_running":
			return &s.Running, true
		case "queue_pending":
			s.State = Told
			return &s.Waiting, true
		}
		return nil, false
	})
	if err != nil && (s.State != Told || limited.N > 0) {
		return Signals{}, err
	}
	return s, nil
}

// readObject reads one object, whose brace has been read. Where count has a number for a key, its value must
// be a list, whose elements are counted there one by one.
func readObject(d *json.Decoder, count func(key string) (*int, bool)) error {
	wrong := func(err error) error {
		if err == nil {
			err = errors.New("not an object of lists")
		}
		return fmt.Errorf("adaptive: queue: %w", err)
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return wrong(err)
		}
		var skipped json.RawMessage
		key, _ := t.(string)
		n, ok := count(key)
		if !ok {
			if err := d.Decode(&skipped); err != nil {
				return wrong(err)
			}
			continue
		}
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return wrong(err)
		}
		for *n = 0; d.More(); *n++ {
			if err := d.Decode(&skipped); err != nil {
				return wrong(err)
			}
		}
		if _, err := d.Token(); err != nil {
			return wrong(err)
		}
	}
	_, err := d.Token()
	if err != nil {
		return wrong(err)
	}
	return nil
}
