package standin

import (
	"fmt"
	"net/http"
	"strings"
)

// health serves GET /health: up, with no body.
func health(a *answer, _ *http.Request) { a.WriteHeader(http.StatusOK) }

// metrics serves GET /metrics: those of vLLM's gauges by which a gateway sees how
// busy the worker is. The KV cache is taken to be as full as the places are.
func (w *Worker) metrics(a *answer, _ *http.Request) {
	running, waiting, taken := w.engine.gauges()
	var b strings.Builder
	gauge := func(name, help string, value float64) {
		fmt.Fprintf(&b, "# HELP vllm:%s %s\n# TYPE vllm:%[1]s gauge\nvllm:%[1]s{engine=\"0\",model_name=%[3]q} %[4]g\n",
			name, help, w.modelNames()[0], value)
	}
	gauge("num_requests_running", "Number of requests in model execution batches.", float64(running))
	gauge("num_requests_waiting", "Number of requests waiting to be processed.", float64(waiting))
	gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", taken)
	a.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = a.Write([]byte(b.String()))
}
