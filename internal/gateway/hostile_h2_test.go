package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The frames of HTTP/2 that a hostile client sends.
const (
	h2Data         = 0x0
	h2Headers      = 0x1
	h2Reset        = 0x3
	h2Settings     = 0x4
	h2Ping         = 0x6
	h2GoAway       = 0x7
	h2Continuation = 0x9

	h2EndStream  = 0x1
	h2Ack        = 0x1
	h2EndHeaders = 0x4
)

// two is a connection of HTTP/2 whose every frame the test writes itself.
type two struct{ *wire }

// dialTwo opens one, with these settings: numbers and values in turn.
func (r *rig) dialTwo(settings ...uint32) two {
	r.t.Helper()
	c := two{r.dial()}
	_ = c.SetDeadline(time.Now().Add(patience))
	c.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	var b []byte
	for i := 0; i < len(settings); i += 2 {
		b = binary.BigEndian.AppendUint16(b, uint16(settings[i]))
		b = binary.BigEndian.AppendUint32(b, settings[i+1])
	}
	c.write(h2Frame(h2Settings, 0, 0, string(b)))
	return c
}

func h2Frame(kind, flags byte, stream uint32, payload string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	return string(b) + payload
}

// h2Block is a block of headers, names and values in turn, none of them indexed.
func h2Block(fields ...string) string {
	var b strings.Builder
	for i, s := range fields {
		if i%2 == 0 {
			b.WriteByte(0)
		}
		switch n := len(s); {
		case n < 127:
			b.WriteByte(byte(n))
		default:
			b.WriteByte(127)
			for n -= 127; n >= 128; n >>= 7 {
				b.WriteByte(byte(n) | 128)
			}
			b.WriteByte(byte(n))
		}
		b.WriteString(s)
	}
	return b.String()
}

// h2Ask is a block with what every request has.
func h2Ask(method, path string, fields ...string) string {
	return h2Block(append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", "x"}, fields...)...)
}

// frame reads the next frame.
func (c two) frame() (kind, flags byte, stream uint32, payload []byte, err error) {
	var head [9]byte
	if _, err = io.ReadFull(c.r, head[:]); err != nil {
		return 0, 0, 0, nil, err
	}
	payload = make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
	_, err = io.ReadFull(c.r, payload)
	return head[3], head[4], binary.BigEndian.Uint32(head[5:]), payload, err
}

// outcome is what became of a stream: the status of its answer, "reset", or
// "cut" where the connection has ended.
func (c two) outcome(stream uint32) string {
	c.t.Helper()
	for {
		kind, flags, of, payload, err := c.frame()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.t.Fatalf("nothing becomes of stream %d", stream)
		case err != nil, kind == h2GoAway:
			return "cut"
		case kind == h2Settings && flags&h2Ack == 0:
			_, _ = io.WriteString(c.Conn, h2Frame(h2Settings, h2Ack, 0, ""))
		case of != stream:
		case kind == h2Reset:
			return "reset"
		case kind == h2Headers:
			// Of the static table.
			status, ok := map[byte]string{0x88: "200", 0x89: "204", 0x8c: "400", 0x8d: "404", 0x8e: "500"}[payload[0]]
			if !ok {
				return "other"
			}
			return status
		}
	}
}

// TestHostileFrames sends requests in HTTP/2 that HTTP/1.1 would be another
// request, or none.
func TestHostileFrames(t *testing.T) {
	for name, c := range map[string]struct {
		block          string
		body           string // empty: the headers end the stream
		gets           string
		costs, reached string
	}{
		"nothing odd":                    {h2Ask("GET", "/a"), "", "200", "1/0/0", "GET /a"},
		"metered":                        {h2Ask("POST", complete), question, "200", "1/7/5", "POST " + complete + " " + question},
		"Transfer-Encoding":              {h2Ask("POST", "/a", "transfer-encoding", "chunked"), chunks(smuggled), "400", "", ""},
		"Connection":                     {h2Ask("GET", "/a", "connection", "x-forwarded-for"), "", "400", "", ""},
		"Upgrade":                        {h2Ask("GET", "/a", "upgrade", "h2c"), "", "400", "", ""},
		"TE":                             {h2Ask("GET", "/a", "te", "chunked"), "", "400", "", ""},
		"a length that is too short":     {h2Ask("POST", complete, "content-length", "2"), question, "reset", "", ""},
		"a length that is too long":      {h2Ask("POST", complete, "content-length", "99"), question, "400", "", ""},
		"two lengths":                    {h2Ask("POST", complete, "content-length", "30", "content-length", "2"), question, "200", "1/7/5", "POST " + complete + " " + question},
		"a length of letters":            {h2Ask("POST", complete, "content-length", "x"), question, "reset", "", ""},
		"a line end in a value":          {h2Ask("GET", "/a", "x-a", "1\r\nX-B: 2"), "", "reset", "", ""},
		"a line end in a name":           {h2Ask("GET", "/a", "x-a: 1\r\nx-b", "2"), "", "reset", "", ""},
		"a line end in the path":         {h2Ask("GET", "/a HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled"), "", "reset", "", ""},
		"a line end in the method":       {h2Ask("GET /smuggled HTTP/1.1\r\n\r\nGET", "/a"), "", "reset", "", ""},
		"a line end in the authority":    {h2Block(":method", "GET", ":scheme", "http", ":path", "/a", ":authority", "x\r\nX-B: 2"), "", "reset", "", ""},
		"a space in the method":          {h2Ask("G ET", "/a"), "", "400", "", ""},
		"a method of other letters":      {h2Ask("P\xc3\x96ST", complete), question, "400", "", ""},
		"trailers of no name":            {h2Ask("POST", "/a", "trailer", "x-sum, a b,"), "abc", "200", "1/0/0", "POST /a abc"},
		"a space in the path":            {h2Ask("GET", "/a /b"), "", "200", "1/0/0", "GET /a%20/b"},
		"a fragment":                     {h2Ask("POST", complete+"#x"), question, "200", "1/7/5", "POST " + complete + "#x " + question},
		"dots":                           {h2Ask("POST", "/x/../v1/completions"), question, "200", "1/7/5", "POST /x/../v1/completions " + question},
		"a closed route":                 {h2Ask("GET", "/%6detrics"), "", "404", "", ""},
		"no path":                        {h2Block(":method", "GET", ":scheme", "http", ":authority", "x"), "", "reset", "", ""},
		"an empty path":                  {h2Ask("GET", ""), "", "reset", "", ""},
		"two paths":                      {h2Ask("GET", "/a", ":path", "/b"), "", "reset", "", ""},
		"a path behind the headers":      {h2Block(":method", "GET", ":scheme", "http", "x-a", "1", ":path", "/a"), "", "reset", "", ""},
		"no method":                      {h2Block(":path", "/a", ":scheme", "http", ":authority", "x"), "", "reset", "", ""},
		"a lower-case method":            {h2Ask("post", complete), question, "200", "1/7/5", "post " + complete + " " + question},
		"an unknown pseudo-header":       {h2Ask("GET", "/a", ":x", "y"), "", "reset", "", ""},
		"an upper-case name":             {h2Ask("GET", "/a", "X-A", "1"), "", "reset", "", ""},
		"two hosts":                      {h2Ask("GET", "/a", "host", "other"), "", "200", "1/0/0", "GET /a"},
		"a CONNECT":                      {h2Block(":method", "CONNECT", ":authority", "other:443"), "", "404", "", ""},
		"a websocket":                    {h2Block(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/ws", ":authority", "x"), "", "reset", "", ""},
		"headers of 100 KB":              {h2Ask("GET", "/a", "x-a", strings.Repeat("x", 10_000), "x-b", strings.Repeat("x", 10_000)) + strings.Repeat(h2Block("x-c", strings.Repeat("x", 1000)), 80), "", "cut", "", ""},
		"one header, a thousand times":   {h2Ask("GET", "/a") + "\x40\x03x-a\x7f\xa1\x1e" + strings.Repeat("x", 4000) + strings.Repeat("\xbe", 5000), "", "other", "", ""},
		"a block that is no block":       {"\xff\xff\xff\xff\xff\xff\xff", "", "cut", "", ""},
		"a block that refers to nothing": {h2Ask("GET", "/a") + "\xfe", "", "cut", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			worker := newWitness(t)
			r := newRigFor(t, hostileLimits, worker.url)
			conn := r.dialTwo()
			flags := byte(h2EndStream)
			if c.body != "" {
				flags = 0
			}
			block, rest := c.block, ""
			for len(block) > 16<<10 {
				last := (len(block) - 1) / (16 << 10) * (16 << 10)
				end := byte(0)
				if rest == "" {
					end = h2EndHeaders
				}
				block, rest = block[:last], h2Frame(h2Continuation, end, 1, block[last:])+rest
			}
			if rest == "" {
				flags |= h2EndHeaders
			}
			text := h2Frame(h2Headers, flags, 1, block) + rest
			if c.body != "" {
				text += h2Frame(h2Data, h2EndStream, 1, c.body)
			}
			conn.write(text)
			if got := conn.outcome(1); got != c.gets {
				t.Errorf("gets: %s, want: %s", got, c.gets)
			}
			r.idle()
			if got := r.tally().since(tally{}); got != c.costs {
				t.Errorf("costs: %q, want %q", got, c.costs)
			}
			if got := told(worker.forget()); got != c.reached {
				t.Errorf("the worker got: %s\n        want: %s", got, c.reached)
			}
			if a := r.sendOn(r.client2, "GET", "/b", ""); a.status != 200 {
				t.Errorf("the next client gets %d, want 200", a.status)
			}
		})
	}
}

// TestRapidResets opens streams and resets them at once, thousands on each
// connection. What came to the worker is charged, what runs at a time is
// bounded, and others are served meanwhile.
func TestRapidResets(t *testing.T) {
	const streams, bound = 3000, 250 // streams of a connection, by net/http
	var came, most, now atomic.Int64
	r := newRig(t, "rate_limiting: {default: {requests_per_hour: 1000000, concurrent_requests: 100000}}", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/well" {
			return
		}
		came.Add(1)
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-r.Context().Done()
	}))
	for range 2 {
		c := r.dialTwo()
		wrote := make(chan error, 1)
		go func() {
			for i := range uint32(streams) {
				text := h2Frame(h2Headers, h2EndStream|h2EndHeaders, 2*i+1, h2Ask("GET", "/a")) + h2Frame(h2Reset, 0, 2*i+1, "\x00\x00\x00\x08")
				if _, err := io.WriteString(c.Conn, text); err != nil {
					wrote <- err
					return
				}
			}
			wrote <- nil
		}()
		if a := r.sendOn(r.client2, "GET", "/well", ""); a.status != 200 {
			t.Errorf("beside it a client gets %d, want 200", a.status)
		}
		if a := r.send("GET", "/well", ""); a.status != 200 {
			t.Errorf("beside it a client gets %d, want 200", a.status)
		}
		var late net.Error
		if err := <-wrote; errors.As(err, &late) && late.Timeout() {
			t.Fatal("the gateway neither reads on nor ends the connection")
		}
		_ = c.Close()
		r.alone()
	}
	eventually(t, "the worker is left", func() bool { return now.Load() == 0 })
	if n := most.Load(); n > bound {
		t.Errorf("%d requests ran at a time, want at most %d", n, bound)
	}
	n := came.Load() + 4 // others' among them
	if got := r.used()["requests_per_hour"]; got < n {
		t.Errorf("%d requests came to the worker, and %d were charged", n, got)
	}
	t.Logf("of %d streams %d came to the worker, %d at a time", 2*streams, came.Load(), most.Load())
}

// TestManyStreams opens more streams than a connection may have: those beyond
// it are refused, and the others are served when the worker is ready.
func TestManyStreams(t *testing.T) {
	const streams, most = 400, 250 // net/http's own
	ready := make(chan struct{})
	r := newRig(t, "rate_limiting: {default: {requests_per_hour: 1000000}}", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ready }))
	c := r.dialTwo()
	var text strings.Builder
	for i := range uint32(streams) {
		text.WriteString(h2Frame(h2Headers, h2EndStream|h2EndHeaders, 2*i+1, h2Ask("GET", "/a")))
	}
	go func() { _, _ = io.WriteString(c.Conn, text.String()) }()
	refused, answered := 0, 0
	for refused+answered < streams {
		kind, _, _, _, err := c.frame()
		if err != nil || kind == h2GoAway {
			break // which it may, too
		}
		switch kind {
		case h2Reset:
			if refused++; refused == streams-most {
				close(ready)
			}
		case h2Headers:
			answered++
		}
	}
	if refused < streams-most {
		close(ready)
	}
	_ = c.Close()
	r.alone()
	if got := r.used()["requests_per_hour"]; got > most {
		t.Errorf("%d streams were taken, want at most %d", got, most)
	}
}

// TestHeaderBombs sends headers without end in HTTP/2: they are not kept, and
// the connection is cut.
func TestHeaderBombs(t *testing.T) {
	r := newRig(t, "", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	c := r.dialTwo()
	const most = 64 << 20
	sent := 0
	piece := h2Frame(h2Continuation, 0, 1, strings.Repeat(h2Block("x-a", strings.Repeat("x", 1000)), 16))
	_, err := io.WriteString(c.Conn, h2Frame(h2Headers, h2EndStream, 1, h2Ask("GET", "/a")))
	for ; err == nil && sent < most; sent += len(piece) {
		_, err = io.WriteString(c.Conn, piece)
	}
	if sent >= most {
		t.Errorf("%d bytes of headers were taken", sent)
	}
	if r.begun != 0 {
		t.Error("it came to a request")
	}
	if a := r.sendOn(r.client2, "GET", "/a", ""); a.status != 200 {
		t.Errorf("the next client gets %d, want 200", a.status)
	}
}

// TestPingsAndSettings sends thousands of each: they are answered, and a request
// behind them, too.
func TestPingsAndSettings(t *testing.T) {
	const each = 5000
	r := newRig(t, "", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	c := r.dialTwo()
	go func() {
		for i := range each {
			text := h2Frame(h2Ping, 0, 0, fmt.Sprintf("%08d", i)) + h2Frame(h2Settings, 0, 0, "")
			if _, err := io.WriteString(c.Conn, text); err != nil {
				return
			}
		}
		_, _ = io.WriteString(c.Conn, h2Frame(h2Headers, h2EndStream|h2EndHeaders, 1, h2Ask("GET", "/a")))
	}()
	if got := c.outcome(1); got != "200" {
		t.Errorf("the request behind them gets %s, want 200", got)
	}
}

// TestZeroWindow has a client of HTTP/2 that lets nothing through: its time is
// that of its request, and it holds nothing any more then.
func TestZeroWindow(t *testing.T) {
	const limits = "rate_limiting: {default: {requests_per_hour: 9, tokens_per_hour: 100000, concurrent_requests: 1}}"
	r := newRig(t, limits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", sse)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, event(1000)); err != nil {
				return
			}
		}
	}))
	r.slots(1, 0, 0)
	rules := r.rulesOf(limits)
	rules.RequestTimeout = 200 * time.Millisecond
	r.SetRules(rules)
	const initialWindow = 4
	c := r.dialTwo(initialWindow, 0)
	c.write(h2Frame(h2Headers, h2EndHeaders, 1, h2Ask("POST", complete)) + h2Frame(h2Data, h2EndStream, 1, `{"stream":true}`))
	if got := c.outcome(1); got != "200" {
		t.Fatalf("the stream begins with %s, want 200", got)
	}
	if got := c.outcome(1); got != "reset" && got != "cut" {
		t.Errorf("the stream ends with %s, want a reset", got)
	}
	r.idle()
	if got := r.used(); got["concurrent_requests"] != 0 || got["requests_per_hour"] != 1 || got["tokens_per_hour"] == 0 {
		t.Errorf("charged: %s", usedText(got))
	}
}
