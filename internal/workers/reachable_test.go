package workers

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"testing"
)

func TestReachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := Worker{URL: &url.URL{Scheme: "http", Host: l.Addr().String()}}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	live := newWorker(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	ctx := t.Context()
	if newPool(t).Reachable(ctx) {
		t.Error("an empty pool is reachable")
	}
	if newPool(t, refused).Reachable(ctx) {
		t.Error("a worker that refuses connections is reachable")
	}
	if !newPool(t, refused, live).Reachable(ctx) {
		t.Error("one of two is live, and the pool is not reachable")
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if newPool(t, live).Reachable(ctx) {
		t.Error("reachable after the end of the context")
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"http://w1": "w1:80", "https://w1": "w1:443", "http://w1:8000/v1": "w1:8000", "https://[::1]:9": "[::1]:9", "http://[::1]": "[::1]:80",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := address(u); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
