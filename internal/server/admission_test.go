package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/standin"
)

// pile sends so many requests that no worker answers, and returns once all of them
// have a slot or wait for one. The test's end is theirs.
func (r *rig) pile(n int) {
	r.t.Helper()
	before := r.queue.Stats()
	ctx, leave := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			_, _ = r.try(ctx, "POST", "http://"+r.Addr().String()+"/v1/chat/completions", chatBody("m", 1, 1), "X-Standin-Fault: hang")
		})
	}
	r.t.Cleanup(func() {
		leave()
		all.Wait()
	})
	eventually(r.t, fmt.Sprint(n, " more are in flight or wait"), func() bool {
		s := r.queue.Stats()
		return s.InFlight+s.Waiting == before.InFlight+before.Waiting+n
	})
}

// stand waits until so many are at the worker and so many wait.
func (r *rig) stand(running, waiting int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d at the worker, and %d wait", running, waiting), func() bool {
		s := r.queue.Stats()
		return int(r.worker.Stats().Running) == running && s.InFlight == running && s.Waiting == waiting
	})
}

// TestReloadWhileRequestsWait: what a reload says of slots, line and turns is so for
// those who come from then on, and more slots are those' who wait.
func TestReloadWhileRequestsWait(t *testing.T) {
	const text = "admission: {max_concurrent_requests: %d, refill_per_second: 0, queue_size: %d, queue_timeout: %s}\n%s"
	r := start(t, fmt.Sprintf(text, 1, 5, "1h", ""))
	r.pile(4)
	r.stand(1, 3)
	r.reload(fmt.Sprintf(text, 3, 5, "1h", ""))
	r.stand(3, 1)
	r.reload(fmt.Sprintf(text, 2, 1, "1h", ""))
	r.want("the line is full", r.chat("m", 1, 1), 429)
	r.stand(3, 1)
	r.reload(fmt.Sprintf(text, 2, 5, "1ms", ""))
	r.want("a shorter timeout", r.chat("m", 1, 1), 408)
	r.stand(3, 1) // who came before has more time
	r.reload(fmt.Sprintf(text, 2, 5, "1h", "rate_limiting: {default: {requests_per_hour: 100, priority: bulk}}"))
	r.pile(1)
	for class, want := range map[string]string{"default": "1", "bulk": "1", "interactive": "0"} {
		if got := r.metric(`penstock_class_queue_depth{class="` + class + `"}`); got != want {
			t.Errorf("%s wait as %s, want %s", got, class, want)
		}
	}
	r.reload("rate_limiting: {enabled: false}")
	r.stand(5, 0)
	if s := r.queue.Stats(); s.Slots != 0 || s.Size != 0 {
		t.Errorf("%d slots and a line of %d, want no limit", s.Slots, s.Size)
	}
}

// TestReloadChangesTheBucket, which keeps its level meanwhile.
func TestReloadChangesTheBucket(t *testing.T) {
	const text = "admission: {max_concurrent_requests: %d, refill_per_second: %s, queue_size: 0}"
	r := start(t, fmt.Sprintf(text, 2, "0.001"))
	r.want("one", r.chat("m", 1, 1), 200)
	r.want("two", r.chat("m", 1, 1), 200)
	r.settled()
	a := r.chat("m", 1, 1)
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 429 || err != nil || wait <= 900 || wait > 1000 {
		t.Errorf("with an empty bucket: answer %d %v, want 429 and to come back in 1000 s", a.status, a.header)
	}
	r.reload(fmt.Sprintf(text, 5, "0.001"))
	r.want("a larger one is as empty", r.chat("m", 1, 1), 429)
	r.reload(fmt.Sprintf(text, 5, "0"))
	r.want("without one", r.chat("m", 1, 1), 200)
}

// TestSlotsThatMove follows the worker's own metrics: while it is well and requests
// wait, there are more slots, and the line moves up. A reload ends that, begins it
// again, and bounds it.
func TestSlotsThatMove(t *testing.T) {
	r := start(t, "admission: {adaptive: {min: 1, max: 4}, queue_timeout: 1h}")
	r.pile(6)
	r.stand(4, 2) // it has grown to its most
	eventually(t, "the metrics say so", func() bool { return r.metric("penstock_slots") == "4" })
	r.reload("admission: {max_concurrent_requests: 5, refill_per_second: 0, queue_timeout: 1h}")
	r.stand(5, 1)
	if loop := r.line.loop.Load(); loop != nil {
		t.Error("the slots still move")
	}
	r.reload("admission: {adaptive: {min: 2, max: 3}, max_concurrent_requests: 3, queue_timeout: 1h}")
	if s := r.queue.Stats(); s.Slots != 3 || s.InFlight != 5 {
		t.Errorf("%d slots with %d in flight; want 3, where they start, and nobody cut off", s.Slots, s.InFlight)
	}
	r.reload("admission: {adaptive: {min: 6, max: 8}, queue_timeout: 1h}")
	if s := r.queue.Stats(); s.Slots < 6 || s.Slots > 8 {
		t.Errorf("%d slots, want 6 to 8", s.Slots)
	}
	r.stand(6, 0)
	r.reload("{}")
	if s := r.queue.Stats(); s.Slots != 0 {
		t.Errorf("%d slots, want no limit", s.Slots)
	}
}

// TestALoopThatHasEnded sets nothing any more, not even while there is another.
func TestALoopThatHasEnded(t *testing.T) {
	const moving = "admission: {adaptive: {min: 2, max: 9}}"
	r := start(t, moving)
	old := r.line.loop.Load()
	r.reload("admission: {max_concurrent_requests: 3}")
	r.line.set(old, 6)
	if n := r.queue.Stats().Slots; n != 3 {
		t.Errorf("%d slots, want the 3 of the configuration", n)
	}
	r.reload(moving)
	r.line.set(old, 7)
	if n := r.queue.Stats().Slots; n != 2 {
		t.Errorf("%d slots, want the 2 of the loop that there is", n)
	}
}

// TestAdmissionByFlags starts with nothing but the flags of the document.
func TestAdmissionByFlags(t *testing.T) {
	for _, tt := range []struct {
		flags string
		want  queue.Options
	}{
		{"", queue.Options{}},
		{"--max-concurrent-requests -1", queue.Options{}},
		{"--max-concurrent-requests 0 --queue-size 5", queue.Options{}},
		{"--max-concurrent-requests 100", queue.Options{Slots: 100, Burst: 100, Refill: 100, Per: time.Second, Size: 100, Timeout: time.Minute}},
		{
			"--max-concurrent-requests 100 --rate-limit-tokens-per-second 50 --queue-size 200 --queue-timeout-secs 30",
			queue.Options{Slots: 100, Burst: 100, Refill: 50, Per: time.Second, Size: 200, Timeout: 30 * time.Second},
		},
		{
			"--max-concurrent-requests=2 --rate-limit-tokens-per-second=0 --queue-size=0",
			queue.Options{Slots: 2, Timeout: time.Minute},
		},
	} {
		args := strings.Fields("--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --worker-urls http://127.0.0.1:1 http://127.0.0.1:2 " + tt.flags)
		_, flags, err := config.ParseServeFlags(args, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Options{Log: io.Discard, Load: func() (*config.Config, []config.Warning, error) {
			return config.Parse("flags", []byte("{}"), flags, func(string) (string, bool) { return "", false })
		}})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, s.line.options); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.flags, d)
		}
		if q := s.queue.Stats(); q.Slots != tt.want.Slots || q.Size != tt.want.Size {
			t.Errorf("%s: %d slots and a line of %d", tt.flags, q.Slots, q.Size)
		}
		_, _ = s.front.Close(), s.back.Close()
	}
}

// TestProgressIsConfigured, and can be reloaded.
func TestProgressIsConfigured(t *testing.T) {
	const text = "admission: {max_concurrent_requests: 1, refill_per_second: 0, queue_timeout: 100ms, progress: %t}"
	r := start(t, fmt.Sprintf(text, true))
	r.pile(1)
	stream := strings.Replace(chatBody("m", 1, 1), "{", `{"stream":true,`, 1)
	for _, told := range []bool{true, false} {
		r.reload(fmt.Sprintf(text, told))
		a, err := r.try(t.Context(), "POST", "http://"+r.Addr().String()+"/v1/chat/completions", stream)
		if want := map[bool]int{true: http.StatusOK, false: http.StatusRequestTimeout}[told]; a == nil || a.status != want || (err != nil) != told {
			t.Fatalf("progress %t: %+v and %v, want %d", told, a, err, want)
		}
		if strings.HasPrefix(a.body, ": queue position 1\n\n") != told || !strings.Contains(a.body, `"code":"queue_timeout"`) {
			t.Errorf("progress %t: it reads %s", told, a.body)
		}
	}
}

// TestStopWithOpenJobs: the server does not wait for what workers do on their own,
// and nothing is held in the end.
func TestStopWithOpenJobs(t *testing.T) {
	r := start(t, "admission: {max_concurrent_requests: 3}\nrate_limiting: {default: {concurrent_requests: 3}}", standin.New(standin.Options{JobTime: time.Hour}))
	for range 2 {
		r.want("a job", r.ask("POST", "/prompt", `{"prompt":{"1":{"class_type":"SaveImage","inputs":{}}}}`), 200)
	}
	if got := r.metric("penstock_slots_in_use"); got != "2" {
		t.Errorf("%s slots are in use, want those of two jobs", got)
	}
	r.stop()
	if err := r.over(); err != nil {
		t.Error(err)
	}
	if s := r.queue.Stats(); s.InFlight != 0 || r.jobs.Open() != 0 {
		t.Errorf("in the end %d slots are held and %d jobs open", s.InFlight, r.jobs.Open())
	}
}
