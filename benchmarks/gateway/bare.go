//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"sync"
)

// runBare is the process of the proxy that penstock is compared with: an
// httputil.ReverseProxy and nothing else, with what any operator would give
// it: enough idle connections, and a pool of buffers.
func runBare(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return errors.New("bare: say the worker's URL")
	}
	worker, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	return serve(ctx, stdout, bareProxy(worker), http.HandlerFunc(showMallocs))
}

func bareProxy(worker *url.URL) *httputil.ReverseProxy {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.DisableCompression = true
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 1024
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(worker)
			r.SetXForwarded()
		},
		Transport:  transport,
		BufferPool: new(buffers),
	}
}

type buffers struct{ pool sync.Pool }

func (p *buffers) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (p *buffers) Put(b []byte) { p.pool.Put(&b) }

// mallocs and mallocBytes are the metrics that penstock's admin port has, too.
const (
	mallocsMetric     = "go_memstats_mallocs_total"
	mallocBytesMetric = "go_memstats_alloc_bytes_total"
)

func showMallocs(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(w, "%s %d\n%s %d\n", mallocsMetric, m.Mallocs, mallocBytesMetric, m.TotalAlloc)
}
