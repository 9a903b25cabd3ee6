package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// trip is a request under way, and what became of it.
type trip struct {
	*call
	id       string
	began    time.Time
	deaths   int64 // of workers, when it began
	arrivals atomic.Int64

	status  int
	replied http.Header
	answer  []byte
	err     error // with which the answer ended
	took    time.Duration
}

// outcome is what became of a request, in the table's words.
type outcome string

// The outcomes. An answer is of a worker where X-Worker says so.
const (
	whole       outcome = "200 whole"
	passed      outcome = "worker's own error"
	cut         outcome = "200 cut by a fault"
	cutByDeath  outcome = "200 cut by a death"
	cutByTime   outcome = "200 cut by time"
	cutByLimit  outcome = "200 cut by a limit"
	left        outcome = "client left"
	notLetIn    outcome = "not let in any more"
	denied      outcome = "429 denied"
	tooLarge    outcome = "429 too large for it"
	queueFull   outcome = "429 queue full"
	queueLate   outcome = "408 queue timeout"
	invalid     outcome = "400 invalid"
	notFound    outcome = "404 closed"
	largeBody   outcome = "413 body too large"
	encoded     outcome = "415 encoded"
	upstream    outcome = "502 upstream error"
	slowWorker  outcome = "504 upstream timeout"
	noWorker    outcome = "503 no worker"
	overloaded  outcome = "503 overloaded"
	stopping    outcome = "503 shutting down"
	upgraded    outcome = "101 and closed"
	hangUp      outcome = "hung up on"
	unexpected  outcome = "UNEXPECTED"
	leastPeriod         = 2 * time.Second // of request_timeout
)

// own are the outcomes of penstock's own answers: the status and what the message
// says.
var own = []struct {
	status  int
	message string
	outcome
}{
	{429, "The workers are busy, and this request cannot wait for its turn.", queueFull},
	{429, "Rate limit exceeded", denied},
	{429, "at most", tooLarge},
	{408, "waited in the queue", queueLate},
	{413, "", largeBody},
	{415, "", encoded},
	{400, "", invalid},
	{404, "There is nothing at this path.", notFound},
	{502, "could not be reached or broke off", upstream},
	{503, "No worker is available.", noWorker},
	{503, "overloaded", overloaded},
	{503, "shutting down", stopping},
	{504, "took too long", slowWorker},
}

// send sends the request and reads the answer as its client does.
func (q *trip) send(client *http.Client, base string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if q.leave > 0 {
		time.AfterFunc(q.leave, cancel)
	}
	var body io.Reader = bytes.NewReader(q.body)
	switch {
	case len(q.body) == 0:
		body = nil
	case q.piece:
		body = io.MultiReader(body) // of no known length
	}
	r, err := http.NewRequestWithContext(ctx, q.method, base+q.path, body)
	if err != nil {
		q.err = err
		return
	}
	r.Header = q.header.Clone()
	r.Header.Set("X-Request-Id", q.id)
	if q.fault != "" {
		r.Header.Set("X-Standin-Fault", q.fault)
	}
	resp, err := client.Do(r)
	if err != nil {
		q.err = err
		return
	}
	defer resp.Body.Close()
	q.status, q.replied = resp.StatusCode, resp.Header
	from := io.Reader(resp.Body)
	if q.slow {
		from = &slowly{resp.Body, time.Now().Add(time.Second)}
	}
	q.answer, q.err = io.ReadAll(from)
}

// slowly reads a little at a time, with pauses, until it has had enough of that.
type slowly struct {
	from  io.Reader
	until time.Time
}

func (s *slowly) Read(p []byte) (int, error) {
	if time.Now().Before(s.until) {
		time.Sleep(2 * time.Millisecond)
		p = p[:min(len(p), 512)]
	}
	return s.from.Read(p)
}

// told reports whether the client was told how far it is while it waited. Then
// the answer's headers are penstock's own, and what is wrong is said in an event
// before the connection is cut.
func (q *trip) told() bool { return bytes.HasPrefix(q.answer, []byte(": queue position")) }

// gone reports whether the client has left.
func (q *trip) gone() bool { return q.leave > 0 && errors.Is(q.err, context.Canceled) }

// judge says what became of the request; of what should not have become of it, why.
func (q *trip) judge(s *soak) (outcome, string) {
	fromWorker := q.replied.Get("X-Worker") != "" || q.told() && q.arrivals.Load() > 0
	switch {
	case q.gone():
		return left, ""
	case q.status == 0 && s.stopping() && q.arrivals.Load() == 0:
		return notLetIn, ""
	case q.status == 0:
		return unexpected, "no answer"
	case q.replied.Get("X-Request-Id") != q.id:
		return unexpected, "another request's ID: " + q.replied.Get("X-Request-Id")
	case q.method == http.MethodPost && q.arrivals.Load() > q.mostArrivals():
		return unexpected, fmt.Sprintf("a POST has come to workers %d times", q.arrivals.Load())
	case fromWorker && q.arrivals.Load() == 0:
		return unexpected, "the answer to a request that has come to no worker"
	case !fromWorker:
		return q.judgeOwn(s)
	case q.status/100 != 2:
		return q.judgePassed()
	case q.err != nil:
		return q.judgeCut(s)
	}
	return q.judgeWhole()
}

// mostArrivals is how often a POST may come to workers: what is metered is sent
// again where a worker was too busy.
func (q *trip) mostArrivals() int64 {
	if q.fault == "status=502" || q.fault == "status=503" {
		return mostArrivals
	}
	return 1
}

// judgeOwn is of what penstock answers itself.
func (q *trip) judgeOwn(s *soak) (outcome, string) {
	for _, o := range own {
		if q.told() && o.message == "" { // which all have
			continue
		}
		if o.status != q.status && !q.told() || !bytes.Contains(q.answer, []byte(o.message)) {
			continue
		}
		if why := q.wrong(o.outcome, s); why != "" {
			return unexpected, why
		}
		return o.outcome, ""
	}
	return unexpected, "no answer of penstock's"
}

// wrong says what is wrong with one of penstock's own answers, if anything is.
func (q *trip) wrong(o outcome, s *soak) string {
	died := s.yard.died(q.began, q.deaths)
	wait, _ := strconv.Atoi(q.replied.Get("Retry-After"))
	switch {
	case (q.err != nil) != q.told():
		return "an answer of penstock's own is not whole"
	case !q.told() && (wait > 0) != (q.status == 408 || q.status == 503 || q.status == 429 && o != tooLarge):
		return fmt.Sprintf("Retry-After is %d", wait)
	case o == invalid && q.kind != "garbage" && q.kind != "flood" && q.kind != "oversized":
		return "the request is valid"
	case o == encoded && q.header.Get("Content-Encoding") == "":
		return "the request is not encoded"
	case o == largeBody && q.kind != "oversized", o == notFound && q.kind != "closed":
		return "the request is none of these"
	case o == noWorker && (!s.yard.away(q.began, q.deaths) || q.arrivals.Load() > 0):
		return "workers are alive"
	case o == upstream && !died && !q.breaks():
		return "the worker has not failed"
	case o == slowWorker && q.took < leastPeriod:
		return "too early"
	case o == stopping && !s.stopping():
		return "it does not"
	}
	return ""
}

// breaks reports whether the worker was told to break before its answer begins.
func (q *trip) breaks() bool {
	switch q.fault {
	case "die-before-headers", "die-within-headers":
		return true
	}
	return false
}

// judgePassed is of errors that the worker was told to answer, or that are its own.
func (q *trip) judgePassed() (outcome, string) {
	want, _ := strings.CutPrefix(q.fault, "status=")
	switch {
	case q.fault == "early-answer" && q.status == http.StatusBadRequest,
		want == strconv.Itoa(q.status),
		q.kind == "options" && q.status == http.StatusMethodNotAllowed,
		(q.kind == "garbage" || q.kind == "flood") && q.status == http.StatusBadRequest: // it is garbage to the worker alone
		return passed, ""
	}
	return unexpected, "the worker was not told to answer that"
}

// judgeCut is of an answer that begins well and breaks off.
func (q *trip) judgeCut(s *soak) (outcome, string) {
	fault, _, _ := strings.Cut(q.fault, "=")
	switch {
	case bytes.Contains(q.answer, []byte("used up the limit")):
		return cutByLimit, ""
	case q.told() && (q.breaks() || strings.HasPrefix(fault, "status") || fault == "early-answer"):
		return cut, ""
	case fault == "die-after", fault == "hang-after", fault == "wrong-length", fault == "gzip":
		return cut, ""
	case s.yard.died(q.began, q.deaths):
		return cutByDeath, ""
	case q.took >= leastPeriod:
		return cutByTime, ""
	}
	return unexpected, "the answer breaks off"
}

// judgeWhole is of an answer that comes to its end.
func (q *trip) judgeWhole() (outcome, string) {
	fault, _, _ := strings.Cut(q.fault, "=")
	switch fault {
	case "garbage", "no-done", "gzip", "status":
		return whole, ""
	case "wrong-length", "hang":
		return unexpected, "the answer seems to be whole"
	}
	switch {
	case q.ends == isJSON && !json.Valid(q.answer):
		return unexpected, "the answer is no JSON"
	case q.ends == isJSON:
	case !slices.ContainsFunc(strings.Split(q.ends, "|"), func(end string) bool { return bytes.Contains(q.answer, []byte(end)) }):
		return unexpected, "the answer has no end"
	}
	return whole, ""
}

// charged is how many requests a limit holds of it.
func (q *trip) charged(o outcome) bounds {
	switch {
	case q.free:
		return bounds{}
	case q.arrivals.Load() > 0:
		return bounds{1, 1}
	}
	switch o {
	case denied, tooLarge, queueFull, queueLate, invalid, notFound, encoded, noWorker, overloaded, stopping:
		return bounds{}
	case upstream:
		return bounds{1, 1}
	}
	return bounds{0, 1} // nobody knows
}

var totalTokens = regexp.MustCompile(`"total_tokens":(\d+)`)

// used is how many tokens a limit holds of a calm caller's request.
func (q *trip) used(o outcome) bounds {
	if o == whole {
		all := totalTokens.FindAllSubmatch(q.answer, -1)
		if len(all) > 0 {
			n, _ := strconv.ParseInt(string(all[len(all)-1][1]), 10, 64)
			return bounds{n, n}
		}
	}
	if q.charged(o).most == 0 {
		return bounds{}
	}
	return bounds{0, int64(len(q.body)) + 4*(q.most+256)}
}

func (q *trip) String() string {
	return fmt.Sprintf("%s %s %s (fault %q, leaves after %v, slow %v, h2 %v, in pieces %v): after %v %d, X-Worker %q, %d arrivals, %v, %q",
		q.kind, q.method, q.path, q.fault, q.leave, q.slow, q.h2, q.piece, q.took.Round(time.Millisecond), q.status, q.replied.Get("X-Worker"), q.arrivals.Load(), q.err, q.answer[:min(len(q.answer), 300)])
}
