package adaptive

import (
	"io"
	"strings"
	"testing"
)

const vllm = `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a} 7 \"b"} 3.0
vllm:num_requests_running{engine="1",model_name="a"} 4.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="a"} 2.0
vllm:num_requests_waiting{engine="1",model_name="a"} 1e+00
vllm:num_requests_waiting_by_reason{engine="0"} 99
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="a"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="a"} 0.75
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001"} 0
vllm:time_to_first_token_seconds_sum{engine="0"} NaN
`

func TestReadMetrics(t *testing.T) {
	tests := []struct {
		name, body string
		want       Signals
		err        string // a part of it
	}{
		{"vLLM with two engines", vllm, Signals{State: Told, Running: 7, Waiting: 3, KVUse: 0.75}, ""},
		{
			"an older vLLM", "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\nvllm:gpu_cache_usage_perc 0.5\n",
			Signals{State: Told, Running: 1, KVUse: 0.5},
			"",
		},
		{
			"SGLang", "sglang:num_running_reqs{model_name=\"m\"} 5\nsglang:num_queue_reqs{model_name=\"m\"} 6\nsglang:token_usage{model_name=\"m\"} 0.28",
			Signals{State: Told, Running: 5, Waiting: 6, KVUse: 0.28},
			"",
		},
		{"no KV cache", "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n", Signals{State: Told, Running: 1}, ""},
		{"nothing", "", Signals{State: Silent}, ""},
		{"another server", "up 1\nvllm:num_requests_runnin 2\nvllm:num_requests_running\n", Signals{State: Silent}, ""},
		{"what runs alone", "vllm:num_requests_running 1\n", Signals{State: Silent, Running: 1}, ""},
		{"what waits alone", "vllm:num_requests_waiting 1\n", Signals{State: Silent, Waiting: 1}, ""},
		{"more than there can be", "vllm:num_requests_running 1e300\nvllm:num_requests_waiting{a=\"b\"} 9e9\nvllm:num_requests_waiting 9e9\nvllm:kv_cache_usage_perc 3\n", Signals{State: Told, Running: most, Waiting: most, KVUse: 1}, ""},
		{"not a number", "vllm:num_requests_running NaN\n", Signals{}, "vllm:num_requests_running is NaN"},
		{"less than nothing", "vllm:num_requests_waiting -1\n", Signals{}, "vllm:num_requests_waiting is -1"},
		{"endless", "vllm:kv_cache_usage_perc +Inf\n", Signals{}, "vllm:kv_cache_usage_perc is +Inf"},
		{"no value", "vllm:num_requests_running {\n", Signals{}, "adaptive: metrics: text format parsing error"},
		{"a line too long", strings.Repeat("x", 70_000), Signals{}, "token too long"},
		{"too many of our lines", strings.Repeat("vllm:num_requests_running 1\n", 3000), Signals{}, "more than 64 KiB of requests and KV caches"},
		{"too much of anything", strings.Repeat("up 1\n", maxBody/5+1), Signals{}, "more than 8 MiB"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { check(t, readMetrics, tc.body, tc.want, tc.err) })
	}
}

func TestReadQueue(t *testing.T) {
	job := `[3,"id",{"1":{"class_type":"a]}","inputs":{}}},{},["1"]]`
	tests := []struct {
		name, body string
		want       Signals
		err        string
	}{
		{"idle", `{"queue_running": [], "queue_pending": []}`, Signals{State: Told}, ""},
		{"busy", `{"queue_running":[` + job + `],"queue_pending":[` + job + `,` + job + `]}` + "\n", Signals{State: Told, Running: 1, Waiting: 2}, ""},
		{"the other way round, and more", `{"more":{"queue_running":[1]},"queue_pending":[1],"queue_running":[1,[]]}`, Signals{State: Told, Running: 2, Waiting: 1}, ""},
		{"said twice", `{"queue_pending":[1,2],"queue_pending":[1]}`, Signals{State: Told, Waiting: 1}, ""},
		{"something else", `{"status":"ok"}`, Signals{State: Silent}, ""},
		{"what runs alone", `{"queue_running":[1]}`, Signals{State: Silent, Running: 1}, ""},
		{"a page", `<html>`, Signals{State: Silent}, ""},
		{"nothing", ``, Signals{State: Silent}, ""},
		{"a list", `[]`, Signals{State: Silent}, ""},
		{"cut before it says what it is", `"queue_pend`, Signals{}, "unexpected EOF"},
		{"a number", `{"queue_pending":3}`, Signals{}, "not an object of lists"},
		{"null", `{"queue_pending":null}`, Signals{}, "not an object of lists"},
		{"cut in a key", `{"queue_pend`, Signals{}, "unexpected EOF"},
		{"cut in a list", `{"queue_pending":[1,`, Signals{}, "EOF"},
		{"cut in an element", `{"queue_pending":[{"a`, Signals{}, "unexpected EOF"},
		{"cut behind one", `{"queue_pending":[1`, Signals{}, "EOF"},
		{"cut in another value", `{"x":{`, Signals{}, "unexpected EOF"},
		{"cut before the end", `{"queue_pending":[]`, Signals{}, "EOF"},
		{"longer than what is read, jobs count as far as that", `{"queue_running":[1],"queue_pending":[2,3,"` + strings.Repeat("x", maxBody) + `"]}`, Signals{State: Told, Running: 1, Waiting: 2}, ""},
		{"longer than what is read, and no queue so far", `{"x":"` + strings.Repeat("x", maxBody) + `"}`, Signals{}, "unexpected EOF"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { check(t, readQueue, tc.body, tc.want, tc.err) })
	}
}

func check(t *testing.T, read func(io.Reader) (Signals, error), body string, want Signals, wrong string) {
	t.Helper()
	got, err := read(strings.NewReader(body))
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
		t.Errorf("the error is %v, want %q", err, wrong)
	}
}

// bounded fails for what no worker can have said.
func bounded(t *testing.T, s Signals, err error) {
	if err != nil && s != (Signals{}) {
		t.Errorf("%+v beside %v", s, err)
	}
	if s.Running < 0 || s.Running > most || s.Waiting < 0 || s.Waiting > most || !(s.KVUse >= 0 && s.KVUse <= 1) {
		t.Errorf("%+v", s)
	}
}

func FuzzReadMetrics(f *testing.F) {
	f.Add([]byte(vllm))
	f.Add([]byte("sglang:num_running_reqs{a=\"\\n\"} 5 1700000000000\nsglang:num_queue_reqs -0x1p-2\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := readMetrics(strings.NewReader(string(body)))
		bounded(t, s, err)
	})
}

func FuzzReadQueue(f *testing.F) {
	f.Add([]byte(`{"queue_running":[[1,"a",{}]],"queue_pending":[1,null,"\ud800"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := readQueue(strings.NewReader(string(body)))
		bounded(t, s, err)
	})
}
