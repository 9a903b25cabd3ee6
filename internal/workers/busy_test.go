package workers

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestBusyWorkerIsAlive: a worker that does one thing at a time answers no check
// while it streams, and is not down for that; when nothing flows any more, it is.
func TestBusyWorkerIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, watching, "a")
		synctest.Wait()
		stuck := make(chan struct{})
		f.set("a", func(h *host) {
			h.health = hangs
			h.answers = func(w http.ResponseWriter, r *http.Request) {
				for range 60 { // a second
					_, _ = io.WriteString(w, "x")
					_ = http.NewResponseController(w).Flush()
					time.Sleep(time.Second)
				}
				select {
				case <-stuck:
				case <-r.Context().Done():
				}
			}
		})
		resp, err := f.Send(newRequest(t, http.MethodPost, nil), holding([]byte("prompt")), Want{})
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan string)
		go func() {
			body, _ := io.ReadAll(resp.Body)
			read <- string(body)
		}()
		time.Sleep(time.Minute)
		f.wantState("while it streams", "a", Up, Closed)
		time.Sleep(time.Minute)
		f.wantState("since it hangs", "a", Down, Closed)
		close(stuck)
		if got := <-read; len(got) != 60 {
			t.Errorf("read %d bytes, want 60", len(got))
		}
		_ = resp.Body.Close()
	})
}
