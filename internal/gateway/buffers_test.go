package gateway

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBodyBuffers: a buffer is empty and large enough, is lent to one at a time,
// and is no more than twice as large as asked for.
func TestBodyBuffers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p bodyBuffers
		lent := map[*byte]bool{}
		var mine [][]byte
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(mine) > 0 && rapid.Bool().Draw(t, "give back?") {
				b := mine[len(mine)-1]
				mine = mine[:len(mine)-1]
				delete(lent, &b[:1][0])
				p.put(b)
				continue
			}
			size := rapid.Int64Range(1, 3<<20).Draw(t, "size")
			b := p.get(size)
			if len(b) != 0 || int64(cap(b)) < size || int64(cap(b)) > max(2*size, 1<<leastBuffer) {
				t.Fatalf("asked for %d bytes and got %d of %d", size, len(b), cap(b))
			}
			if lent[&b[:1][0]] {
				t.Fatal("a buffer was lent twice")
			}
			lent[&b[:1][0]] = true
			mine = append(mine, b)
		}
	})
}

// TestBodiesAreNotMixedUp sends bodies of all sizes at once, to a worker that
// answers some before it has read them: each gets there as it was, though they
// share memory one after the other.
func TestBodiesAreNotMixedUp(t *testing.T) {
	r := newRig(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Early") != "" {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusTeapot)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	var all sync.WaitGroup
	for c := range 16 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(c), 1))
			for range 30 {
				size := 1 << rnd.IntN(19)
				letter := string(rune('a' + rnd.IntN(26)))
				body := `{"model":"` + letter + `","prompt":"` + strings.Repeat(letter, size) + `"}`
				switch rnd.IntN(4) {
				case 0:
					r.send("POST", "/v1/completions", body, "X-Early", "1")
				case 1:
					ctx, leave := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(2000))*time.Microsecond)
					if resp, err := r.client.Do(r.request("POST", "/v1/completions", body).WithContext(ctx)); err == nil {
						_ = resp.Body.Close()
					}
					leave()
				default:
					if a := r.send("POST", "/v1/completions", body); a.body != body {
						t.Errorf("a body of %d bytes came as one of %d", len(body), len(a.body))
					}
				}
			}
		})
	}
	all.Wait()
}
