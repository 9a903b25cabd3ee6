package gateway

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowClients has clients that say little and late: each is cut off at a
// time that is known, whatever it says until then, and nothing is charged.
func TestSlowClients(t *testing.T) {
	const (
		head    = "POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
		preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	)
	settings := h2Frame(h2Settings, 0, 0, "")
	for name, c := range map[string]struct {
		says  string // at once
		drips string // a byte a second, again and again
		after time.Duration
	}{
		"nothing":                        {after: 10 * time.Second},
		"empty lines":                    {drips: "\r\n", after: 10 * time.Second},
		"a head, byte by byte":           {drips: head, after: 10 * time.Second},
		"a head without its end":         {says: head, after: 10 * time.Second},
		"a header without end":           {says: head + "X: ", drips: "x", after: 10 * time.Second},
		"headers without end":            {says: head, drips: "X: y\r\n", after: 10 * time.Second},
		"a fold without end":             {says: head + "X: y\r\n", drips: " ", after: 10 * time.Second},
		"nothing after a request":        {says: get("/health"), after: 2 * time.Minute},
		"a head after a request":         {says: get("/health") + head, after: 10 * time.Second},
		"a head after one, byte by byte": {says: get("/health"), drips: head, after: (4 + 10) * time.Second}, // its first four bytes are what it is known by,
		"no body":                        {says: head + "Content-Length: 100\r\n\r\n", after: 30 * time.Second},
		"a body, byte by byte":           {says: head + "Content-Length: 100\r\n\r\n", drips: " ", after: 30 * time.Second},
		"chunks, byte by byte":           {says: head + "Transfer-Encoding: chunked\r\n\r\n", drips: "1\r\n \r\n", after: 30 * time.Second},
		"a chunk's extension":            {says: head + "Transfer-Encoding: chunked\r\n\r\n1;", drips: "x", after: 30 * time.Second},
		"a trailer":                      {says: head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", drips: "X: y\r\n", after: 30 * time.Second},
		"half a preface":                 {says: preface[:20], after: 10 * time.Second},
		"a preface":                      {says: preface, after: 2 * time.Second},
		"a preface and settings":         {says: preface + settings, after: 2 * time.Minute},
		"half a frame":                   {says: preface + settings + h2Frame(h2Headers, h2EndHeaders, 1, h2Ask("GET", "/a"))[:12], after: 2 * time.Minute},
		"headers without their end":      {says: preface + settings + h2Frame(h2Headers, 0, 1, h2Ask("GET", "/a")), after: 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigOn(t, newPipes(), hostileLimits)
				w := r.pipe()
				began := time.Now()
				dripped := make(chan struct{})
				go func() {
					defer close(dripped)
					if _, err := io.WriteString(w.Conn, c.says); err != nil || c.drips == "" {
						return
					}
					for {
						for i := range c.drips {
							time.Sleep(time.Second) // the bubble's
							if _, err := io.WriteString(w.Conn, c.drips[i:i+1]); err != nil {
								return
							}
						}
					}
				}()
				_, _ = io.Copy(io.Discard, w.r) // to the end of the connection
				// Some are told so first, and have a moment to read it.
				if d := time.Since(began); d < c.after || d > c.after+time.Second {
					t.Errorf("cut off after %v, want %v", d, c.after)
				}
				_ = w.Close()
				<-dripped
				r.idle()
				if got := r.usedBy(r.pipeCaller(), "")["requests_per_hour"]; got != 0 {
					t.Errorf("charged %d requests, want none", got)
				}
				synctest.Wait()
			})
		})
	}
}
