package workers

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// TestWorkerIsLeftFirst: when Send has failed or an answer was given up, the
// worker has let go of the request, by whichever way it was sent. So who is
// counted out here is not in flight there.
func TestWorkerIsLeftFirst(t *testing.T) {
	var inFlight atomic.Int64
	began := make(chan struct{})
	work := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inFlight.Add(1)
		defer inFlight.Add(-1)
		if r.Method == http.MethodPost {
			if r.URL.Path == "/within" {
				_, _ = io.ReadFull(r.Body, make([]byte, 4))
			} else {
				_, _ = io.Copy(io.Discard, r.Body)
			}
		}
		if r.URL.Path == "/answer" {
			_, _ = io.WriteString(w, "some")
			_ = http.NewResponseController(w).Flush()
		}
		began <- struct{}{}
		if r.URL.Path == "/within" {
			_, _ = io.Copy(io.Discard, r.Body) // it breaks off
			return
		}
		<-r.Context().Done()
	})
	plain := newWorker(t, work.ServeHTTP)
	srv := httptest.NewTLSServer(work)
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	secure := Worker{URL: mustParse(t, srv.URL), CA: roots}

	for _, tt := range []struct {
		name   string
		worker Worker
		method string
		path   string // where the client leaves
		closes bool   // it closes the answer
	}{
		{"http1, before the answer", plain, http.MethodGet, "/before", false},
		{"http1, within the answer", plain, http.MethodGet, "/answer", false},
		{"http1, closing the answer", plain, http.MethodGet, "/answer", true},
		{"upload, within it", plain, http.MethodPost, "/within", false},
		{"upload, before the answer", plain, http.MethodPost, "/before", false},
		{"upload, within the answer", plain, http.MethodPost, "/answer", false},
		{"upload, closing the answer", plain, http.MethodPost, "/answer", true},
		{"TLS, before the answer", secure, http.MethodGet, "/before", false},
		{"TLS, within the answer", secure, http.MethodGet, "/answer", false},
		{"TLS, closing the answer", secure, http.MethodGet, "/answer", true},
		{"upload by TLS, within it", secure, http.MethodPost, "/within", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPool(t, tt.worker)
			for range 30 {
				ctx, leave := context.WithCancel(t.Context())
				req := newRequest(t, tt.method, nil).WithContext(ctx)
				req.RequestURI = tt.path
				switch {
				case tt.path == "/within":
					r, w := io.Pipe()
					context.AfterFunc(ctx, func() { _ = w.CloseWithError(io.ErrUnexpectedEOF) }) // as a server's bodies do
					go func() { _, _ = io.WriteString(w, "part") }()
					req.Body = r
				case tt.method == http.MethodPost:
					req.Body = newOnce("all")
				}
				if tt.path != "/answer" {
					go func() {
						<-began
						leave()
					}()
				}
				resp, err := p.Send(req, nil, Want{})
				if tt.path == "/answer" {
					if err != nil {
						t.Fatal(err)
					}
					<-began
					if tt.closes {
						_ = resp.Body.Close()
					} else {
						leave()
						_, err = io.Copy(io.Discard, resp.Body)
					}
				}
				if n := inFlight.Load(); n != 0 {
					t.Fatalf("%d at the worker after %v", n, err)
				}
				leave()
				if err == nil && !tt.closes {
					t.Fatal("no error")
				}
				if resp != nil {
					_ = resp.Body.Close()
				}
			}
			wantCounts(t, p, counts{Sent: 30})
		})
	}
}
