package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestUnreadAnswers: a client that takes none of a piece of its answer for a minute
// is cut off before two have passed; one that takes it late, or has nothing to take,
// is not. Both have the time that a request has, to the moment.
func TestUnreadAnswers(t *testing.T) {
	const never = 1000 * time.Hour
	for name, c := range map[string]struct {
		says, takes time.Duration // each piece, after so long
		timeout     time.Duration
		least, most time.Duration // when the answer ends
	}{
		"takes nothing":                      {0, never, 30 * time.Minute, unread, 2 * unread},
		"takes nothing of what comes late":   {10*time.Minute + time.Second, never, 30 * time.Minute, 11 * time.Minute, 12*time.Minute + time.Second},
		"takes nothing, and has little time": {0, never, 50 * time.Second, 50*time.Second + lastWords, 50*time.Second + lastWords},
		"takes each piece after 50 s":        {0, 50 * time.Second, 30 * time.Minute, 30 * time.Minute, 30*time.Minute + 50*time.Second},
		"has a silent worker":                {never, 0, 30 * time.Minute, 30 * time.Minute, 30 * time.Minute},
		"has one that is slow":               {7 * time.Minute, 0, 30*time.Minute + time.Second, 30*time.Minute + time.Second, 30*time.Minute + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &slowWriter{ResponseRecorder: httptest.NewRecorder(), takes: c.takes, cut: make(chan struct{})}
				x := &exchange{
					reused: new(reused), g: new(Gateway), w: w,
					r: httptest.NewRequest("GET", "/", nil), rules: &generation{Rules: Rules{RequestTimeout: c.timeout}},
				}
				x.ctx, x.cancel = context.WithCancelCause(t.Context())
				began := time.Now()
				x.beginTime()
				err := x.copy(&http.Response{Body: &slowBody{x.ctx, c.says}}, true)
				took := time.Since(began)
				if took < c.least || took > c.most || err == nil {
					t.Errorf("ended after %v with %v, want it between %v and %v", took, err, c.least, c.most)
				}
				x.inTime()
				if x.shared != (took >= c.timeout) {
					t.Errorf("the timer's goroutine may hold on to the exchange: %v", x.shared)
				}
			})
		})
	}
}

// slowWriter is a connection to a client that takes each piece after some time.
type slowWriter struct {
	*httptest.ResponseRecorder
	takes time.Duration
	cut   chan struct{} // closed at the deadline
}

func (w *slowWriter) Write(p []byte) (int, error) {
	select {
	case <-time.After(w.takes):
		return len(p), nil
	case <-w.cut:
		return 0, os.ErrDeadlineExceeded
	}
}

func (w *slowWriter) SetWriteDeadline(at time.Time) error {
	time.AfterFunc(time.Until(at), func() { close(w.cut) })
	return nil
}

// slowBody is an answer without end, until its request's.
type slowBody struct {
	ctx  context.Context
	says time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	select {
	case <-time.After(b.says):
		return len(p), nil
	case <-b.ctx.Done():
		return 0, errors.Join(io.ErrUnexpectedEOF, context.Cause(b.ctx))
	}
}

func (*slowBody) Close() error { return nil }
