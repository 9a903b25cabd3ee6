package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/standin"
)

// Play sends a trace to servers that run already, as streams of chat completions:
// each client of the trace is a caller with the key trace-NUMBER. Nothing is sent
// twice, whatever the answer. Stand-in workers are told in X-Standin-Fault how long
// each answer is; the request itself does not say, as most do not.
//
// Whatever it prints is in the trace's own time, which is Speed times the real.
type Play struct {
	Trace []standin.Request
	// Speed is one that CheckSpeed has nothing against; 0 is 1.
	Speed int
	// To are the URLs of the servers, at least one. They are asked in turn.
	To []string
	// For is how long to go on, in real time; 0 is to the end of the trace. What is
	// in flight by then is cut off.
	For time.Duration
	// Patience is how long a client waits for its first token, in the trace's time;
	// 0 is for ever.
	Patience time.Duration
	Out      io.Writer
}

// Run plays it until it is over or ctx ends. Its error is that of the speed.
func (p Play) Run(ctx context.Context) error {
	if p.Speed == 0 {
		p.Speed = 1
	}
	if err := CheckSpeed(p.Speed); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if p.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.For)
		defer cancel()
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 1024}
	defer transport.CloseIdleConnections()
	s := &sender{Play: p, client: &http.Client{Transport: transport}, began: time.Now(), accounts: map[int]*account{}, refusals: map[int]int{}}
	fmt.Fprintf(p.Out, "A trace of %d requests plays at %d times its speed. All times are the trace's.\n", len(p.Trace), p.Speed)
	pace(ctx, slices.Values(p.Trace), p.Speed, s.progress, func(q standin.Request) { s.note(q, s.send(ctx, q)) })
	s.summarize()
	return nil
}

// sender is a play under way.
type sender struct {
	Play
	client *http.Client
	began  time.Time
	sent   atomic.Uint64

	mu       sync.Mutex
	accounts map[int]*account // by client of the trace
	refusals map[int]int      // by status
	failure  error            // the first one
}

// fate is what became of a request.
type fate uint8

const (
	answered fate = iota // to the end
	refused              // with a status that is not 200
	gaveUp               // the client did, before the first token
	failed               // no connection, or the answer broke off
	underWay             // cut off when the play was over
	fates
)

// ending is a fate and what came before it, in real time.
type ending struct {
	fate   fate
	status int
	tokens int64         // of the answer that came
	first  time.Duration // to the first of them
	last   time.Duration // to the last
	err    error         // of one that failed
}

// errPatience says that a client has waited for too long.
var errPatience = errors.New("out of patience")

// send sends one request and reads its answer.
func (s *sender) send(ctx context.Context, q standin.Request) (e ending) {
	over := ctx.Done()
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	var impatient *time.Timer
	if s.Patience > 0 {
		impatient = time.AfterFunc(s.Patience/time.Duration(s.Speed), func() { leave(errPatience) })
		defer impatient.Stop()
	}
	broken := func(err error) ending {
		select {
		case <-over:
			e.fate = underWay
		default:
			e.fate, e.err = failed, err
			if errors.Is(err, errPatience) || errors.Is(context.Cause(ctx), errPatience) {
				e.fate = gaveUp
			}
		}
		return e
	}
	body := fmt.Appendf(nil, `{"model":%q,"stream":true,"messages":[{"role":"user","content":"%s"}]}`, traceCaller.Model, prompt(q.InputTokens))
	turn := (s.sent.Add(1) - 1) % uint64(len(s.To))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.To[turn]+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return broken(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", fmt.Sprintf("Bearer trace-%d", q.Caller))
	r.Header.Set("X-Standin-Fault", fmt.Sprintf("output=%d", min(max(q.OutputTokens, 1), standin.MaxAnswer)))
	began := time.Now()
	resp, err := s.client.Do(r)
	if err != nil {
		return broken(err)
	}
	defer resp.Body.Close()
	e.status = resp.StatusCode
	if e.status != http.StatusOK {
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return broken(err)
		}
		e.fate = refused
		return e
	}
	lines := bufio.NewReader(resp.Body)
	for done := false; ; {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil // a long line comes in parts, of which the first says what it is
		}
		switch {
		case err == nil && isToken(line):
			e.last = time.Since(began)
			if e.tokens == 0 {
				e.first = e.last
				if s.Patience > 0 && !impatient.Stop() {
					return broken(errPatience)
				}
			}
			e.tokens++
		case err == nil:
			done = done || bytes.HasPrefix(line, []byte("data: [DONE]"))
		case errors.Is(err, io.EOF) && done:
			return e
		case errors.Is(err, io.EOF):
			return broken(errors.New("the stream ended without data: [DONE]"))
		default:
			return broken(err)
		}
	}
}

// isToken reports whether a line of a stream is a token of an answer, of which
// workers send one an event. What else there is are the beginning, the end, the
// usage and remarks.
func isToken(line []byte) bool {
	return bytes.HasPrefix(line, []byte("data: ")) && bytes.Contains(line, []byte(`"content":"`)) && !bytes.Contains(line, []byte(`"content":""`))
}
