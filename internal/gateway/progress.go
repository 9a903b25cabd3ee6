package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// toldWhileWaiting reports whether the answer is a stream of events, in which
// comments may stand before the first one.
func (x *exchange) toldWhileWaiting() bool {
	switch x.endpoint.Dialect {
	case traffic.OpenAI, traffic.Anthropic:
		return x.read && x.asked.Ask.Stream
	}
	return false
}

// waiting tells the client how far it is. With that its answer has begun: all
// that may still be said in headers is said here.
func (x *exchange) waiting(position int, wait time.Duration) {
	control := http.NewResponseController(x.w)
	// It keeps its place meanwhile, and may be given a slot: who takes nothing
	// is cut off.
	_ = control.SetWriteDeadline(time.Now().Add(lastWords))
	if !x.begun {
		x.begun, x.position = true, position
		h := x.w.Header()
		h.Set("X-Request-Id", x.id)
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		x.setPosition(h)
		x.setLimits(h)
		x.status = http.StatusOK
		x.w.WriteHeader(x.status)
	}
	about := ""
	if wait > 0 {
		about = ", about " + strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10) + " s"
	}
	// Whether the client still reads shows in its context.
	_, _ = fmt.Fprintf(x.w, ": queue position %d%s\n\n", position, about)
	if control.Flush() == nil {
		_ = control.SetWriteDeadline(time.Time{})
	}
}

// breakOff ends an answer that has begun with comments alone: the client is told
// why, and the connection is cut, since clients take a clean end for success. As
// anywhere, the request is over before the client knows.
func (x *exchange) breakOff(d reply.Denial) {
	x.finish()
	x.inTime()
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(lastWords))
	_, _ = x.w.Write(x.rules.Errors.Event(x.endpoint.Dialect, d))
	_ = http.NewResponseController(x.w).Flush()
	panic(http.ErrAbortHandler)
}

// mostTold is how much of a worker's error is told within a stream.
const mostTold = 1 << 10

// unfit ends an answer that has begun as a stream of events, and of which the
// worker makes something else.
func (x *exchange) unfit(resp *http.Response) {
	said, _ := io.ReadAll(io.LimitReader(resp.Body, mostTold))
	_ = resp.Body.Close()
	x.failing(reply.UpstreamError, fmt.Errorf("the client was told that it waits, which only a stream of events can follow: the worker answered %d, %q", resp.StatusCode, resp.Header.Get("Content-Type")))
	x.refuse(reply.Denial{Code: reply.UpstreamError, Message: fmt.Sprintf("The worker answered %d: %s", resp.StatusCode, said)})
}
