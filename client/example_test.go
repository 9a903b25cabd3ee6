package client_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/client"
)

// Both together, for every request to one server.
func Example() {
	limits := penstock.MustLimits(penstock.PerSecond(penstock.Requests, 100))
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	server := httptest.NewServer(penstock.Middleware{Limits: limits}.Wrap(hello))
	defer server.Close()

	c := &http.Client{
		Transport: client.Retry{Base: &client.Adaptive{}},
		Timeout:   time.Minute, // for all of it: waits, turns, and every try
	}
	defer c.CloseIdleConnections()
	resp, err := c.Post(server.URL, "text/plain", strings.NewReader("ask"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output: 200
}

// A refusal that says when to come back is no refusal for the caller.
func ExampleRetry() {
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests++; requests < 3 {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("retry-after-ms", "20")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		io.WriteString(w, "hello")
	}))
	defer server.Close()

	c := &http.Client{Transport: client.Retry{Tries: 3, MaxWait: 10 * time.Second}}
	defer c.CloseIdleConnections()
	resp, err := c.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode, "at request", requests)
	// Output: 200 at request 3
}

// A success raises the rate by a tenth, a 429 halves it.
func ExampleAdaptive() {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer server.Close()

	adaptive := &client.Adaptive{Start: 20, Max: 50}
	c := &http.Client{Transport: adaptive}
	defer c.CloseIdleConnections()
	for _, status = range []int{http.StatusOK, http.StatusTooManyRequests} {
		resp, err := c.Get(server.URL)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode, adaptive.Rate())
	}
	// Output:
	// 200 22
	// 429 11
}
