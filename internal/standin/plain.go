package standin

import (
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// echo serves /echo and what lies below it, with any method: it answers what
// arrived, once all of it has.
func echo(a *answer, r *http.Request) {
	sum := sha256.New()
	size, err := io.Copy(sum, r.Body)
	if err != nil {
		a.err = err
		return
	}
	_ = a.json(http.StatusOK, struct {
		Method     string      `json:"method"`
		Target     string      `json:"target"` // as it stood in the request line
		Proto      string      `json:"proto"`
		Host       string      `json:"host"`
		Headers    http.Header `json:"headers"`
		Trailers   http.Header `json:"trailers,omitempty"`
		BodyBytes  int64       `json:"body_bytes"`
		BodySHA256 string      `json:"body_sha256"`
	}{r.Method, r.RequestURI, r.Proto, r.Host, r.Header, r.Trailer, size, hex.EncodeToString(sum.Sum(nil))})
}

// status serves /status/CODE: that status, with a body where it may have one.
func status(a *answer, r *http.Request) {
	code, err := parseCount(strings.TrimPrefix(r.URL.Path, "/status/"), 200, 599)
	if err != nil {
		a.refuse(badRequest("", "status: %v", err))
		return
	}
	if code == http.StatusNoContent || code == http.StatusNotModified {
		a.WriteHeader(int(code))
		return
	}
	_ = a.json(int(code), map[string]int64{"status": code})
}

// queryCount reads a number of the query string.
func queryCount(r *http.Request, name string) (int64, error) {
	n, err := parseCount(cmp.Or(r.URL.Query().Get(name), "0"), 0, 1<<40)
	if err != nil {
		return 0, badRequest(name, "%s: %v", name, err)
	}
	return n, nil
}

// bytesOut serves /bytes?n=N: N bytes, of known length.
func bytesOut(a *answer, r *http.Request) {
	n, err := queryCount(r, "n")
	if err != nil {
		a.refuseFor(err)
		return
	}
	a.Header().Set("Content-Type", "application/octet-stream")
	a.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	a.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	block := []byte(strings.Repeat("0123456789abcdef", 2048))
	for ; n > 0 && a.err == nil; n -= int64(len(block)) {
		_, _ = a.Write(block[:min(n, int64(len(block)))]) // the loop looks at a.err
	}
}

// chunksOut serves /chunks?n=N&every=DUR: N chunks, one a DUR, each sent at once.
func chunksOut(a *answer, r *http.Request) {
	n, err := queryCount(r, "n")
	if err != nil {
		a.refuseFor(err)
		return
	}
	every, err := parsePause(cmp.Or(r.URL.Query().Get("every"), "0s"))
	if err != nil {
		a.refuse(badRequest("every", "every: %v", err))
		return
	}
	a.Header().Set("Content-Type", "text/plain; charset=utf-8")
	a.WriteHeader(http.StatusOK)
	a.flush()
	if r.Method == http.MethodHead {
		return
	}
	due := time.Now()
	for i := range n {
		if i > 0 && every > 0 {
			due = due.Add(every)
			a.err = pause(r.Context(), time.Until(due))
		}
		if a.err != nil || a.chunk(fmt.Appendf(nil, "chunk %d\n", i)) != nil {
			return
		}
	}
}

// gzipOut serves /gzip: compressed for who accepts that, else plain.
func gzipOut(a *answer, r *http.Request) {
	a.Header().Set("Content-Type", "text/plain; charset=utf-8")
	a.Header().Set("Vary", "Accept-Encoding")
	var to io.Writer = a
	if acceptsGzip(r.Header) {
		a.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(a)
		defer func() { _ = z.Close() }() // its error stands in a
		to = z
	}
	_, _ = io.WriteString(to, strings.Repeat("the same line over and over\n", 100))
}

// acceptsGzip reports whether Accept-Encoding lists gzip, or everything, with a
// weight above 0.
func acceptsGzip(h http.Header) bool {
	for coding := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, params, _ := strings.Cut(coding, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "gzip" && name != "*" {
			continue
		}
		weight, weighted := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !weighted || (err == nil && q > 0)
	}
	return false
}
