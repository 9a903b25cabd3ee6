package standin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// get sends a GET straight to the handler and returns the answer's body.
func get(w *Worker, path string) string {
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	return rec.Body.String()
}

// told takes what a socket was told so far: each event's type, and what its data
// has of node, value, queue_remaining and sid.
func told(t *testing.T, s *socket) []string {
	t.Helper()
	var all []string
	for {
		select {
		case f := <-s.frames:
			all = append(all, tellOf(t, f))
		default:
			return all
		}
	}
}

func tellOf(t *testing.T, f frame) string {
	t.Helper()
	e := decode[struct {
		Type string
		Data struct {
			Node   json.RawMessage
			NodeID string `json:"node_id"`
			Value  *int
			SID    string
			Status *struct {
				ExecInfo execInfo `json:"exec_info"`
			}
			Output *jobOutput
		}
	}](t, f.payload)
	text := e.Type
	if e.Data.Status != nil {
		text += fmt.Sprintf(" %d", e.Data.Status.ExecInfo.Remaining)
	}
	if e.Data.SID != "" {
		text += " sid=" + e.Data.SID
	}
	if e.Data.Node != nil {
		text += " node=" + strings.Trim(string(e.Data.Node), `"`)
	}
	if e.Data.NodeID != "" {
		text += " node=" + e.Data.NodeID
	}
	if e.Data.Value != nil {
		text += fmt.Sprintf(" %d", *e.Data.Value)
	}
	if e.Data.Output != nil {
		text += " " + e.Data.Output.Images[0].Filename
	}
	return text
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestJob follows one job from its begin to its end, step by step.
func TestJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(Options{JobTime: 10 * time.Second})
		s := w.jobs.open(time.Now(), "c", func() {})
		other := w.jobs.open(time.Now(), "other", func() {})
		steps := []struct {
			at   time.Duration
			told []string
		}{
			{0, []string{"status 0 sid=c"}},
			{0, []string{"status 1", "status 1", "execution_start", "execution_cached", "executing node=4"}},
			{1999 * time.Millisecond, nil},
			{2 * time.Second, []string{"executing node=7"}},
			{3999 * time.Millisecond, nil},
			{4 * time.Second, []string{"progress node=7 1"}},
			{8 * time.Second, []string{"progress node=7 2", "progress node=7 3", "executing node=10"}},
			{9999 * time.Millisecond, nil},
			{10 * time.Second, []string{"executed node=10 ComfyUI_00001_.png", "execution_success", "executing node=null", "status 0"}},
			{time.Hour, nil},
		}
		start := time.Now()
		for i, step := range steps {
			if i == 1 {
				if rec := post(w, "/prompt", graph(`,"client_id":"c"`)); rec.Code != 200 || time.Since(start) != 0 {
					t.Fatalf("%d %s after %v", rec.Code, rec.Body, time.Since(start))
				}
			}
			time.Sleep(step.at - time.Since(start))
			want := `{"exec_info":{"queue_remaining":1}}`
			if i == 0 || step.at >= 10*time.Second {
				want = `{"exec_info":{"queue_remaining":0}}`
			}
			same(t, fmt.Sprintf("GET /prompt at %v", step.at), want, get(w, "/prompt"))
			same(t, fmt.Sprintf("told at %v", step.at), step.told, told(t, s))
		}
		same(t, "told to another", []string{"status 0 sid=other", "status 1", "status 1", "status 0"}, told(t, other))
		same(t, "counts", JobCounts{Taken: 1, Finished: 1}, w.Stats().Jobs)
		same(t, "history", `{"00000000-0000-4000-8000-000000000001":{"prompt":[0,"00000000-0000-4000-8000-000000000001",`+
			`{"10":{"class_type":"SaveImage","inputs":{"images":["7",0]}},"4":{"class_type":"Loader","inputs":{}},`+
			`"7":{"class_type":"KSampler","inputs":{"model":["4",0],"steps":3}}},{},["10"]],`+
			`"outputs":{"10":{"images":[{"filename":"ComfyUI_00001_.png","subfolder":"","type":"output"}]}},`+
			`"status":{"status_str":"success","completed":true,"messages":[["execution_start",`+
			`{"prompt_id":"00000000-0000-4000-8000-000000000001","timestamp":946684800000}],`+
			`["execution_success",{"prompt_id":"00000000-0000-4000-8000-000000000001","timestamp":946684810000}]]},"meta":{}}}`,
			get(w, "/api/history/00000000-0000-4000-8000-000000000001"))
		same(t, "no history", `{}`, get(w, "/history/x"))
	})
}

// TestJobsInLine runs one job at a time, in order of their numbers, and lets jobs
// be deleted and interrupted.
func TestJobsInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(Options{JobTime: 10 * time.Second})
		put := func(id, more string) {
			t.Helper()
			if rec := post(w, "/api/prompt", graph(`,"client_id":"c","prompt_id":"`+id+`"`+more)); rec.Code != 200 {
				t.Fatalf("%d %s", rec.Code, rec.Body)
			}
		}
		line := func(want string) {
			t.Helper()
			q := decode[map[string][][]any](t, []byte(get(w, "/queue")))
			got := ""
			for _, j := range q["queue_running"] {
				got += fmt.Sprint(j[1]) + ":"
			}
			for _, j := range q["queue_pending"] {
				got += fmt.Sprint(" ", j[1])
			}
			same(t, "the queue", want, got)
		}
		put("a", "")
		put("b", "")
		put("c", "")
		put("d", `,"front":true`)
		put("e", `,"number":1.5`)
		put("f", `,"number":2,"extra_data":{"x":1}`)
		line("a: d b e c f")
		time.Sleep(10 * time.Second)
		line("d: b e c f")
		if rec := post(w, "/queue", `{"delete":["e","d","nobody"]}`); rec.Code != 200 || rec.Body.Len() != 0 {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		line("d: b c f")
		s := w.jobs.open(time.Now(), "c", func() {})
		same(t, "told who comes late", []string{"status 4 sid=c", "executing node=4"}, told(t, s))
		post(w, "/interrupt", `{"prompt_id":"b"}`) // which does not run
		line("d: b c f")
		time.Sleep(3 * time.Second)
		post(w, "/interrupt", `{"prompt_id":"d"}`)
		line("b: c f")
		same(t, "told of the interrupt", []string{
			"executing node=7", "execution_interrupted node=7", "executing node=null", "status 3", "status 3",
			"execution_start", "execution_cached", "executing node=4",
		}, told(t, s))
		time.Sleep(10 * time.Second)
		line("c: f")
		post(w, "/interrupt", ``)
		line("f:")
		put("g", "")
		post(w, "/queue", `{"clear":true}`)
		line("f:")
		same(t, "counts", JobCounts{Taken: 7, Running: 1, Finished: 2, Interrupted: 2, Deleted: 2}, w.Stats().Jobs)
		time.Sleep(10 * time.Second)
		line("")
		post(w, "/interrupt", ``) // of nothing
		past := decode[map[string]pastStatusOf](t, []byte(get(w, "/history")))
		for id, want := range map[string]string{"a": "success true", "b": "success true", "c": "error false", "d": "error false", "f": "success true"} {
			if got := fmt.Sprint(past[id].Status.Status, " ", past[id].Status.Completed); got != want {
				t.Errorf("%s is %s in the history, want %s", id, got, want)
			}
		}
		if n := len(decode[map[string]any](t, []byte(get(w, "/history?max_items=2")))); n != 2 || len(past) != 5 {
			t.Errorf("%d jobs of %d in the history, want 2 of 5", n, len(past))
		}
		same(t, "the requests", int64(7), w.Stats().Finished)
	})
}

type pastStatusOf struct{ Status pastStatus }

// TestJobsAreBounded fills the queue and the history, by number and by bytes.
func TestJobsAreBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		bytes, fits, kept int
	}{
		"number": {100, 1 + maxPending, maxHistory},
		"bytes":  {6 << 20, 1 + 10, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := New(Options{JobTime: time.Second})
				q, graphBytes := w.jobs, make([]byte, tc.bytes)
				put := func(id string) error {
					return q.put(time.Now(), &job{id: id, number: math.NaN(), graph: graphBytes, nodes: []node{{id: "1"}}, outputs: []string{"1"}})
				}
				for n := range tc.fits {
					if err := put(fmt.Sprint(n)); err != nil {
						t.Fatalf("job %d: %v", n, err)
					}
				}
				if err := put("one too many"); err == nil || err.Error() != "The queue has its 1000 jobs or 64 MiB; come back later." {
					t.Errorf("one too many: %v", err)
				}
				if name == "number" {
					if rec := post(w, "/prompt", graph("")); rec.Code != 503 || !strings.Contains(rec.Body.String(), `{"type":"queue_full",`) {
						t.Errorf("one too many: %d %s", rec.Code, rec.Body)
					}
				}
				time.Sleep(time.Duration(tc.fits) * time.Second)
				all := int64(tc.fits)
				same(t, "counts", JobCounts{Taken: all, Finished: all}, w.Stats().Jobs)
				for range 3 { // the same id again takes its own place
					if n := len(q.past(time.Now(), "", math.MaxInt64)); n != tc.kept {
						t.Errorf("%d jobs are kept, want %d", n, tc.kept)
					}
					if err := put("again"); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Second)
				}
				if q.pendingBytes != 0 || q.historyBytes != tc.kept*tc.bytes {
					t.Errorf("%d and %d bytes are held", q.pendingBytes, q.historyBytes)
				}
			})
		})
	}
}

// TestJobFaults breaks the answer that takes a job.
func TestJobFaults(t *testing.T) {
	for fault, want := range map[string]struct {
		counts Counts
		taken  int64
	}{
		"status=503":         {Counts{Started: 1, Faulted: 1}, 0},
		"die-before-headers": {Counts{Started: 1, Faulted: 1}, 0},
		"die-after=1":        {Counts{Started: 1, Faulted: 1}, 1},
		"gzip":               {Counts{Started: 1, Finished: 1}, 1},
	} {
		srv := serve(t, Options{Fault: mustFault(fault)})
		_, _, _ = srv.do(t, "POST", "/prompt", graph(""), "")
		srv.Close()
		if s := srv.worker.Stats(); s.Counts != want.counts || s.Jobs.Taken != want.taken {
			t.Errorf("%s: %+v, %+v", fault, s.Counts, s.Jobs)
		}
	}
	w := New(Options{})
	func() {
		defer func() { _ = recover() }()
		w.ServeHTTP(&brokenWriter{httptest.NewRecorder()}, httptest.NewRequest("POST", "/prompt", strings.NewReader(graph(""))))
	}()
	if s := w.Stats(); s.Cancelled != 1 || s.Jobs.Taken != 1 {
		t.Errorf("a client that has gone: %+v", s)
	}
}

// listen opens a socket of this client on a real server.
func (s *testServer) listen(t *testing.T, query string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, strings.Replace(handshake, "/ws", "/ws"+query, 1))
	r := bufio.NewReader(conn)
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%v %v", res, err)
	}
	return conn, r
}

// await returns when no socket is open, and their goroutines have ended.
func (s *testServer) noSockets(t *testing.T) {
	t.Helper()
	waitFor(t, s.worker, func(Stats) bool {
		s.worker.jobs.mu.Lock()
		defer s.worker.jobs.mu.Unlock()
		return len(s.worker.jobs.sockets) == 0
	})
}

// TestSocket listens to jobs over the wire: frames come when they are due, though
// nobody else looks.
func TestSocket(t *testing.T) {
	srv := serve(t, Options{JobTime: 20 * time.Millisecond})
	conn, r := srv.listen(t, "?clientId=c")
	next := func() string {
		t.Helper()
		f, err := unmasked(r)
		if err != nil {
			t.Fatal(err)
		}
		if f.opcode != opText {
			return fmt.Sprint(f.opcode, " ", string(f.payload))
		}
		return tellOf(t, f)
	}
	want := func(all ...string) {
		t.Helper()
		for _, one := range all {
			same(t, "a frame", one, next())
		}
	}
	want("status 0 sid=c")
	if _, err := conn.Write(masked(frame{true, opText, []byte(`{"type":"feature_flags"}`)})); err != nil { // is ignored
		t.Fatal(err)
	}
	if _, err := conn.Write(masked(frame{true, opPing, []byte("?")})); err != nil {
		t.Fatal(err)
	}
	want("10 ?")
	for range 2 {
		if res, body, err := srv.do(t, "POST", "/prompt", graph(`,"client_id":"c"`), ""); err != nil || res.StatusCode != 200 {
			t.Fatalf("%v %s %v", res, body, err)
		}
		want("status 1", "status 1", "execution_start", "execution_cached", "executing node=4", "executing node=7",
			"progress node=7 1", "progress node=7 2", "progress node=7 3", "executing node=10")
		if got := next(); !strings.HasPrefix(got, "executed node=10 ComfyUI_0000") {
			t.Error(got)
		}
		want("execution_success", "executing node=null", "status 0")
	}
	if _, err := conn.Write(masked(closeFrame(1000))); err != nil {
		t.Fatal(err)
	}
	want("8 \x03\xe8")
	if _, err := r.ReadByte(); err == nil {
		t.Error("the connection goes on behind the close")
	}
	srv.noSockets(t)
}

// TestSocketsLeave has clients leave, break the protocol, lag behind, and take each
// other's place.
func TestSocketsLeave(t *testing.T) {
	srv := serve(t, Options{JobTime: time.Hour})
	conn, _ := srv.listen(t, "?clientId=c")
	_ = conn.Close()
	srv.noSockets(t)

	conn, r := srv.listen(t, "?clientId=c")
	if _, err := unmasked(r); err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte{0x81, 1, 'x'}) // not masked
	if f, err := unmasked(r); err != nil || f.opcode != opClose {
		t.Errorf("%+v %v, want a close", f, err)
	}
	srv.noSockets(t)

	old, r := srv.listen(t, "?clientId=c")
	if _, err := unmasked(r); err != nil { // it is known before the newer one
		t.Fatal(err)
	}
	_, r = srv.listen(t, "?clientId=c")
	if _, err := unmasked(r); err != nil {
		t.Fatal(err)
	}
	_ = old.Close() // whose leaving takes nothing from the newer one
	if _, _, err := srv.do(t, "POST", "/prompt", graph(`,"client_id":"c"`), ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"status 1", "status 1", "execution_start"} {
		f, err := unmasked(r)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "a frame", want, tellOf(t, f))
	}

	dropped := 0
	s := srv.worker.jobs.open(time.Now(), "lags", func() { dropped++ })
	for range maxUnread + 10 {
		s.tell("status", nil)
	}
	if dropped != 1 || len(s.frames) != maxUnread {
		t.Errorf("dropped %d times with %d frames unread", dropped, len(s.frames))
	}
	srv.worker.jobs.close(s)
}
