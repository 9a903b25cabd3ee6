// Package demo shows the gateway at work on one machine: two stand-in workers,
// the gateway before them with a policy that can be read, and the traffic of
// several callers, drawn in the shape of production traffic or played from a
// trace. Everything is what the program serves with; nothing is made up.
package demo

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/server"
	"github.com/penstock-dev/penstock/internal/standin"
)

// Options say what to show.
type Options struct {
	// For is how long to go on; 0 is until ctx ends, or the trace does.
	For time.Duration
	// Trace is played instead of drawn traffic, all of it as one caller, Speed
	// times as fast as it was. Nil: drawn traffic.
	Trace []standin.Request
	// Speed is one that CheckSpeed has nothing against; 0 is 1.
	Speed int
	// Out is where to print; the log of denials goes to Log.
	Out, Log io.Writer
}

//go:embed policy.yaml
var policy string

// traceLimit is what a trace is held to, in tokens a minute of its own time. The
// traffic of the Azure trace has a median of 433,000 and reaches 781,000.
const traceLimit = 500_000

// CheckSpeed says what is wrong with a speed: a minute of the trace must last
// whole milliseconds, and no less than a second.
func CheckSpeed(speed int) error {
	if speed < 1 || speed > 60 || 60_000%speed != 0 {
		return fmt.Errorf("%d times as fast: it must divide a minute, up to 60, such as 10, 30 or 60", speed)
	}
	return nil
}

// Run shows it until it is over. Its error is that of the speed, or of a port
// that cannot be had.
func Run(ctx context.Context, o Options) error {
	if o.Speed == 0 {
		o.Speed = 1
	}
	if err := CheckSpeed(o.Speed); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if o.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.For)
		defer cancel()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	d := &demo{Options: o, out: o.Out}
	if err := d.start(); err != nil {
		return err
	}
	serving := make(chan error, 1)
	go func() { serving <- d.server.Run(ctx) }()
	d.introduce()
	played := make(chan struct{})
	go func() {
		d.play(ctx)
		close(played)
	}()
	var err error
	select {
	case <-played:
		stop()
		err = <-serving
	case err = <-serving: // it has ended, or was told to: the traffic ends with it
		stop()
		<-played
	}
	d.client.CloseIdleConnections()
	d.stopWorkers()
	d.summarize()
	return err
}

// demo is one show.
type demo struct {
	Options
	out     io.Writer
	server  *server.Server
	workers []*http.Server
	client  *http.Client
	ledger  *ledger
	callers []standin.Caller
	began   time.Time

	mu      sync.Mutex
	tallies []tally
	refusal string // the first one, in full
}

// start brings everything up on loopback.
func (d *demo) start() error {
	pace := time.Duration(d.Speed)
	output := standin.DefaultOutput()
	if d.Trace != nil {
		output = standin.Lengths{Mean: 1 << 20, Max: 1 << 20} // as long as each request of the trace says
	}
	var urls []string
	for i := range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			d.stopWorkers()
			return fmt.Errorf("demo: a stand-in worker: %w", err)
		}
		w := &http.Server{
			ReadHeaderTimeout: 10 * time.Second,
			Handler: standin.New(standin.Options{
				Capacity:       32,
				FirstToken:     150 * time.Millisecond / pace,
				PerInputToken:  50 * time.Microsecond / pace,
				PerOutputToken: 10 * time.Millisecond / pace,
				Output:         output,
				Seed:           uint64(i),
			}),
		}
		go func() { _ = w.Serve(l) }()
		d.workers = append(d.workers, w)
		urls = append(urls, "http://"+l.Addr().String())
	}
	d.callers, d.tallies = callers, make([]tally, len(callers))
	text := policy
	if d.Trace != nil {
		d.callers, d.tallies = []standin.Caller{traceCaller}, make([]tally, 1)
		text = fmt.Sprintf(tracePolicy, traceLimit*d.Speed, time.Minute/time.Duration(d.Speed))
	}
	d.policyText(text)
	var err error
	// The usual ports, or any when somebody has one of them.
	for _, ports := range [][2]string{{"127.0.0.1:3000", "127.0.0.1:3001"}, {"127.0.0.1:0", "127.0.0.1:0"}} {
		flags := config.Flags{WorkerURLs: urls, Listen: &ports[0], AdminListen: &ports[1]}
		d.server, err = server.New(server.Options{
			Log: d.Log,
			Load: func() (*config.Config, []config.Warning, error) {
				return config.Parse("demo.yaml", []byte(text), flags, os.LookupEnv)
			},
			Wrap: func(s penstock.Store) penstock.Store {
				d.ledger = newLedger(s)
				return d.ledger
			},
		})
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		d.stopWorkers()
		return fmt.Errorf("demo: %w", err)
	}
	d.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	return nil
}

func (d *demo) stopWorkers() {
	for _, w := range d.workers {
		_ = w.Close()
	}
}

// play sends the requests when they are due, until ctx ends or all have been
// answered.
func (d *demo) play(ctx context.Context) {
	d.began = time.Now()
	pace(ctx, d.requests(), d.Speed, d.progress, func(q standin.Request) { d.ask(ctx, q) })
}

// pace calls send with each request when it is due at that speed, each on a
// goroutine of its own, and progress now and then. It returns when ctx has ended
// or there are no more requests, and all sends have returned.
func pace(ctx context.Context, requests iter.Seq[standin.Request], speed int, progress func(), send func(standin.Request)) {
	began := time.Now()
	var wg sync.WaitGroup
	defer wg.Wait()
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	for q := range requests {
		due := time.NewTimer(q.At/time.Duration(speed) - time.Since(began))
		for waiting := true; waiting; {
			select {
			case <-due.C:
				waiting = false
			case <-report.C:
				progress()
			case <-ctx.Done():
				due.Stop()
				return
			}
		}
		wg.Go(func() { send(q) })
	}
}

func (d *demo) requests() iter.Seq[standin.Request] {
	if d.Trace == nil {
		return standin.Load{Callers: d.callers, Seed: 1}.All()
	}
	return func(yield func(standin.Request) bool) {
		for _, q := range d.Trace {
			q.Caller, q.Model = 0, traceCaller.Model
			if !yield(q) {
				return
			}
		}
	}
}

// ask sends one request and reads its answer.
func (d *demo) ask(ctx context.Context, q standin.Request) {
	c := &d.callers[q.Caller]
	body := fmt.Appendf(nil, `{"model":%q,"stream":%v,"messages":[{"role":"user","content":"%s"}]`, q.Model, q.Stream, prompt(q.InputTokens))
	if d.Trace != nil {
		body = fmt.Appendf(body, `,"max_tokens":%d`, max(q.OutputTokens, 1))
	}
	body = append(body, '}')
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.server.Addr().String()+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return
	}
	r.Header.Set("Content-Type", "application/json")
	if c.Key != "" {
		r.Header.Set("Authorization", "Bearer "+c.Key)
	}
	began := time.Now()
	resp, err := d.client.Do(r)
	if err != nil {
		d.note(q, 0, "", 0, ctx.Err() != nil)
		return
	}
	defer resp.Body.Close()
	body = body[:1]
	_, err = io.ReadFull(resp.Body, body)
	first := time.Since(began)
	text, rest := io.ReadAll(resp.Body)
	err, text = errors.Join(err, rest), append(body, text...)
	status, refusal := resp.StatusCode, ""
	if err != nil {
		status = 0 // it broke off
	} else if status == http.StatusTooManyRequests {
		refusal = inFull(r, resp, text)
	}
	d.note(q, status, refusal, first, err != nil && ctx.Err() != nil)
}

// prompt is a text that a stand-in worker counts as n tokens.
func prompt(n int64) string {
	const words = "meter the water into the turbine, not one drop over the limit "
	return strings.Repeat(words, int(n)*4/len(words)+1)[:max(4*n-1, 1)]
}

// inFull writes an answer down as it came.
func inFull(r *http.Request, resp *http.Response, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n\n%s %s\n", r.Method, r.URL.Path, resp.Proto, resp.Status)
	_ = resp.Header.Write(&b)
	b.WriteString("\n")
	b.Write(body)
	return strings.ReplaceAll(b.String(), "\r\n", "\n")
}

// port is the port of an address that is listened on.
func port(a net.Addr) int { return a.(*net.TCPAddr).Port }
