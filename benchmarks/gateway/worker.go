//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// An announcement is the first line that a process of ours prints: where it
// listens.
type announcement struct {
	Listen string `json:"listen"`
	Admin  string `json:"admin_listen"`
}

// serve listens on loopback and serves the handlers until ctx ends, announced
// on stdout. A nil admin has no port.
func serve(ctx context.Context, stdout io.Writer, front, admin http.Handler) error {
	var a announcement
	failed := make(chan error, 2)
	for _, s := range []struct {
		handler http.Handler
		address *string
	}{{front, &a.Listen}, {admin, &a.Admin}} {
		if s.handler == nil {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		*s.address = l.Addr().String()
		go func() { failed <- http.Serve(l, s.handler) }()
	}
	if err := json.NewEncoder(stdout).Encode(a); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// runWorker is the process that stands in for an inference server, with
// nothing of its own: it reads a request and answers as its headers say.
func runWorker(ctx context.Context, stdout io.Writer) error {
	return serve(ctx, stdout, http.HandlerFunc(work), nil)
}

func work(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		panic(http.ErrAbortHandler) // the proxy has gone
	}
	if r.Header.Get(chunksHeader) == "" {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answerJSON)))
		_, _ = w.Write(answerJSON)
		return
	}
	chunks, err := strconv.Atoi(r.Header.Get(chunksHeader))
	pause, err2 := time.ParseDuration(r.Header.Get(pauseHeader))
	if err := errors.Join(err, err2); err != nil {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	for range chunks {
		if pause > 0 {
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return
			}
		}
		_, _ = w.Write(answerChunk)
		if control.Flush() != nil {
			return // the proxy has gone
		}
	}
	_, _ = w.Write(answerUsage)
	_, _ = w.Write(answerDone)
}
