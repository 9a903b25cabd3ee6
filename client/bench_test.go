package client_test

import (
	"net/http"
	"testing"

	"github.com/penstock-dev/penstock/client"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// BenchmarkAdaptive is many callers at a rate: per=1ms should take 1 ms an
// operation, however late timers are, and per=1ns is the cost of a turn.
func BenchmarkAdaptive(b *testing.B) {
	for per, rate := range map[string]float64{"per=1ms": 1e3, "per=1ns": 1e9} {
		b.Run(per, func(b *testing.B) {
			resp := &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody} // leaves the rate
			a := &client.Adaptive{
				Base:  roundTrip(func(*http.Request) (*http.Response, error) { return resp, nil }),
				Start: rate,
				Max:   rate,
			}
			b.SetParallelism(16)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				req := &http.Request{}
				for pb.Next() {
					if _, err := a.RoundTrip(req); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
