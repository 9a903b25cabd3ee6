package accuracy

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/server"
	"github.com/penstock-dev/penstock/internal/standin"
)

var (
	requests = flag.Int("accuracy.requests", 300, "how many requests TestCharged sends; the others send a share of that")
	table    = flag.String("accuracy.table", "", "the document in which the tables are written anew, each between its marks")
)

func TestMain(m *testing.M) {
	// The server lingers for half a second on connections that it cuts.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const (
	callers  = 64 // in parallel
	seed     = 1
	patience = time.Minute // how long a test waits for an event before it fails
)

// rig is the whole program in this process, before a stand-in worker.
type rig struct {
	*ledger
	server *server.Server
	config *config.Config
	worker *standin.Worker
	client *http.Client
}

// start starts penstock with this configuration and a worker behind it.
func start(t *testing.T, text string, o standin.Options) *rig {
	t.Helper()
	r := &rig{ledger: &ledger{accounts: map[account]*entry{}}, worker: standin.New(o)}
	workers := httptest.NewServer(r.worker)
	t.Cleanup(workers.Close)
	anyPort := "127.0.0.1:0"
	flags := config.Flags{Listen: &anyPort, AdminListen: &anyPort, WorkerURLs: []string{workers.URL}}
	load := func() (c *config.Config, w []config.Warning, err error) {
		c, w, err = config.Parse("penstock.yaml", []byte(text), flags, func(string) (string, bool) { return "", false })
		r.config = c
		return c, w, err
	}
	var err error
	r.server, err = server.New(server.Options{Load: load, Log: io.Discard, Wrap: func(s penstock.Store) penstock.Store {
		r.Store = s
		return r.ledger
	}})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: callers, DisableCompression: true}
	r.client = &http.Client{Transport: transport}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// post sends a request to the gateway.
func (r *rig) post(ctx context.Context, path string, body []byte, header http.Header) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.server.Addr().String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header = header.Clone()
	q.Header.Set("Content-Type", "application/json")
	return r.client.Do(q)
}

// metric is the value of a series of the admin port; empty where there is none.
func (r *rig) metric(t *testing.T, series string) string {
	t.Helper()
	resp, err := r.client.Get("http://" + r.server.AdminAddr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// over waits until nothing is in flight, in the gateway and at the worker.
func (r *rig) over(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		s := r.worker.Stats()
		flying := r.metric(t, "penstock_inflight_requests")
		if flying == "0" && s.Running == 0 && s.Waiting == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s requests are in flight, %d run and %d wait at the worker", flying, s.Running, s.Waiting)
		}
	}
}

// ledger is a store that notes what is taken and given back.
type ledger struct {
	penstock.Store
	mu       sync.Mutex
	now      time.Time // that the store is told; zero: its own clock
	accounts map[account]*entry
}

// account names a counter.
type account struct {
	key    string
	limits *penstock.Limits
	index  int
}

// entry is what is noted of one.
type entry struct {
	charge penstock.Charge
	sum    int64
}

func (l *ledger) time() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *ledger) set(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = now
}

func (l *ledger) note(c *penstock.Charge, amount int64) {
	a := account{c.Key, c.Limits, c.Index}
	if l.accounts[a] == nil {
		l.accounts[a] = &entry{charge: penstock.Charge{Key: c.Key, Limits: c.Limits, Index: c.Index}}
	}
	l.accounts[a].sum += amount
}

// Take implements penstock.Store.
func (l *ledger) Take(ctx context.Context, _ time.Time, charges []penstock.Charge) (time.Time, error) {
	at, err := l.Store.Take(ctx, l.time(), charges)
	if err != nil {
		return at, err
	}
	for i := range charges {
		if charges[i].RetryAfter != 0 {
			return at, nil
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range charges {
		l.note(&charges[i], charges[i].Amount)
	}
	return at, nil
}

// Look implements penstock.Store.
func (l *ledger) Look(ctx context.Context, _ time.Time, charges []penstock.Charge) (time.Time, error) {
	return l.Store.Look(ctx, l.time(), charges)
}

// Adjust implements penstock.Store.
func (l *ledger) Adjust(ctx context.Context, _ time.Time, adjustments []penstock.Adjustment) (time.Time, error) {
	at, err := l.Store.Adjust(ctx, l.time(), adjustments)
	if err != nil {
		return at, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range adjustments {
		l.note(adjustments[i].Charge, adjustments[i].Delta)
	}
	return at, nil
}

// used is what the store holds of a charge's counter.
func (l *ledger) used(t *testing.T, c penstock.Charge) int64 {
	t.Helper()
	c.Amount = 0
	one := []penstock.Charge{c}
	if _, err := l.Look(t.Context(), time.Time{}, one); err != nil {
		t.Fatal(err)
	}
	return one[0].Used
}
