package workers

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The frames of HTTP/2 that these workers read and send.
const (
	h2Headers  = 0x1
	h2Reset    = 0x3
	h2Settings = 0x4
	h2Ping     = 0x6

	h2EndStream  = 0x1
	h2Ack        = 0x1
	h2EndHeaders = 0x4
)

const (
	h2OK    = "\x88"             // a block of headers: 200
	h2Hints = "\x08\x03" + "103" // and 103
)

func h2Frame(kind, flags byte, stream uint32, payload string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	return string(b) + payload
}

// answered is an answer without a body.
func answered(stream uint32) string {
	return h2Frame(h2Headers, h2EndStream|h2EndHeaders, stream, h2OK)
}

// reset ends a stream with an error.
func reset(code byte) func(uint32) string {
	return func(stream uint32) string { return h2Frame(h2Reset, 0, stream, "\x00\x00\x00"+string(rune(code))) }
}

// two is a worker within a bubble of synctest that speaks HTTP/2, and of whose
// answers the test writes every frame.
type two struct {
	t        testing.TB
	tls      *tls.Config
	settings string                     // its own
	answers  func(stream uint32) string // frames

	mu           sync.Mutex
	asked, conns int
	dead         bool // once read: nothing comes any more by the connections that there are
}

// newTwos returns what such workers say who they are by, and who vouches for them.
// It is made outside of the bubble.
func newTwos(t *testing.T) (*tls.Config, *x509.CertPool) {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	ca := x509.NewCertPool()
	ca.AddCert(srv.Certificate())
	return &tls.Config{Certificates: srv.TLS.Certificates, NextProtos: []string{"h2"}}, ca
}

// poolOfTwos is a pool of such workers, which are told apart by their ports.
func poolOfTwos(t testing.TB, ca *x509.CertPool, policy Policy, twos ...*two) *Pool {
	ports := []string{"1", "2", "3"}[:len(twos)]
	p := New(Options{
		dial: func(_ context.Context, _, address string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(address)
			near, far := net.Pipe()
			go twos[port[0]-'1'].serve(far)
			return near, nil
		},
		jitter: func(most time.Duration) time.Duration { return most / 2 },
	})
	var workers []Worker
	for _, port := range ports {
		workers = append(workers, Worker{URL: mustParse(t, "https://example.com:"+port), CA: ca})
	}
	p.Update(workers, policy)
	t.Cleanup(func() {
		synctest.Wait() // no stream ends any more
		p.Update(nil, Policy{})
	})
	return p
}

func (w *two) serve(raw net.Conn) {
	defer raw.Close()
	c := tls.Server(raw, w.tls)
	in := bufio.NewReader(c)
	if _, err := in.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		return
	}
	w.mu.Lock()
	w.conns++
	number, dead := w.conns, 0 // dead: the last connection that is
	w.mu.Unlock()
	out := make(chan string, 4)
	defer close(out)
	go func() {
		for s := range out {
			_, _ = io.WriteString(c, s)
		}
	}()
	out <- h2Frame(h2Settings, 0, 0, w.settings)
	for {
		var head [9]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		w.mu.Lock()
		if w.dead {
			w.dead, dead = false, w.conns
		}
		w.mu.Unlock()
		if number <= dead {
			continue
		}
		switch kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:]); {
		case kind == h2Settings && flags&h2Ack == 0:
			out <- h2Frame(h2Settings, h2Ack, 0, "")
		case kind == h2Ping && flags&h2Ack == 0:
			out <- h2Frame(h2Ping, h2Ack, 0, string(payload))
		case kind == h2Headers:
			w.mu.Lock()
			w.asked++
			w.mu.Unlock()
			out <- w.answers(stream)
		}
	}
}

// seen is how many requests and connections the worker has had.
func (w *two) seen() (asked, conns int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked, w.conns
}

// TestRefused: a request that a worker refuses, in a way by which it may be sent
// again, is sent to it twice, and then to another where there is one.
func TestRefused(t *testing.T) {
	const protocolError, internalError, refusedStream = 1, 2, 7
	config, ca := newTwos(t)
	for _, tt := range []struct {
		name    string
		answers func(uint32) string
		retries int
		other   bool
		asked   [2]int
		err     error
	}{
		{"a protocol error", reset(protocolError), 0, false, [2]int{2}, errRefused},
		{"a refused stream", reset(refusedStream), 0, false, [2]int{2}, errRefused},
		{"another worker", reset(refusedStream), 2, true, [2]int{2, 1}, nil},
		{"no retries", reset(refusedStream), 0, true, [2]int{2, 0}, errRefused},
		{"the same again", reset(protocolError), 2, false, [2]int{6}, errRefused},
		{"another error", reset(internalError), 2, true, [2]int{1, 0}, errors.New("INTERNAL_ERROR")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				twos := []*two{{t: t, tls: config, answers: tt.answers}}
				if tt.other {
					twos = append(twos, &two{t: t, tls: config, answers: answered})
				}
				p := poolOfTwos(t, ca, Policy{Retries: tt.retries}, twos...)
				p.budget = mostBudget
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				resp, err := p.Send(newRequest(t, http.MethodPost, nil).WithContext(ctx), holding([]byte("prompt")), Want{})
				switch {
				case err == nil:
					_ = resp.Body.Close()
					if tt.err != nil {
						t.Errorf("status %d, want: %v", resp.StatusCode, tt.err)
					}
				case tt.err == nil || !strings.Contains(err.Error(), tt.err.Error()):
					t.Errorf("error: %v, want: %v", err, tt.err)
				}
				for i, w := range twos {
					if asked, _ := w.seen(); asked != tt.asked[i] {
						t.Errorf("worker %d was asked %d times, want %d", i+1, asked, tt.asked[i])
					}
				}
				for _, s := range p.Stats() {
					if s.Outstanding != 0 {
						t.Errorf("%d are outstanding at %s", s.Outstanding, s.URL)
					}
				}
			})
		})
	}
}

// TestLargeHeaders: a request whose headers are larger than the worker takes is not
// sent, and is nothing that the worker has failed at.
func TestLargeHeaders(t *testing.T) {
	config, ca := newTwos(t)
	synctest.Test(t, func(t *testing.T) {
		const maxHeaderListSize = "\x00\x06\x00\x00\x20\x00" // 8 KiB
		w := &two{t: t, tls: config, settings: maxHeaderListSize, answers: answered}
		p := poolOfTwos(t, ca, Policy{Failures: 1, Open: time.Hour}, w)
		for i, size := range []int{10, 9000, 9000, 10} {
			req := newRequest(t, http.MethodGet, nil)
			req.Header.Set("A", strings.Repeat("a", size))
			resp, err := p.RoundTrip(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			if size < 8192 && err != nil || size > 8192 && err != ErrHeaders {
				t.Errorf("request %d, of %d bytes: %v", i, size, err)
			}
			synctest.Wait() // the settings have come
		}
		if asked, conns := w.seen(); asked != 2 || conns != 1 {
			t.Errorf("asked %d times by %d connections, want 2 by 1", asked, conns)
		}
		if s := p.Stats()[0]; s.Failed != 0 || s.Breaker != Closed || s.Outstanding != 0 {
			t.Errorf("%d failed, the breaker is %s, %d are outstanding", s.Failed, s.Breaker, s.Outstanding)
		}
	})
}

// TestEndlessHints: interim answers by HTTP/2 without end are cut, as those by
// HTTP/1.1 are.
func TestEndlessHints(t *testing.T) {
	config, ca := newTwos(t)
	synctest.Test(t, func(t *testing.T) {
		const each = 32 // bytes, as they count
		w := &two{t: t, tls: config, answers: func(stream uint32) string {
			return strings.Repeat(h2Frame(h2Headers, h2EndHeaders, stream, h2Hints), 2*maxHeaderBytes/each) + answered(stream)
		}}
		p := poolOfTwos(t, ca, Policy{}, w)
		told := 0
		_, err := p.Send(newRequest(t, http.MethodGet, nil), nil, Want{Interim: func(int, textproto.MIMEHeader) error {
			told++
			return nil
		}})
		if err == nil || told != maxHeaderBytes/each {
			t.Errorf("told of %d, want %d: %v", told, maxHeaderBytes/each, err)
		}
	})
}

// TestDeadConnection: a worker to which nothing comes any more by the connection
// of HTTP/2 that there is, is asked by another.
func TestDeadConnection(t *testing.T) {
	config, ca := newTwos(t)
	synctest.Test(t, func(t *testing.T) {
		w := &two{t: t, tls: config, answers: answered}
		p := poolOfTwos(t, ca, Policy{HealthInterval: time.Second}, w)
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { p.Watch(ctx) })
		defer watching.Wait()
		defer cancel()
		time.Sleep(time.Second)
		w.mu.Lock()
		w.dead = true
		w.mu.Unlock()
		// A check that is not answered lets the connection go, unless its own stream is
		// still there; then pings do.
		time.Sleep(10*time.Second + pingAfter + pingWait)
		if s := p.Stats()[0]; s.State != Up {
			t.Errorf("the worker is %s, want up", s.State)
		}
		if _, conns := w.seen(); conns != 2 {
			t.Errorf("%d connections, want 2", conns)
		}
	})
}
