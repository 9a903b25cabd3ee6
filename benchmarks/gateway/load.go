//go:build linux

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A tally is what a turn of the load generator comes to. Requests were
// answered in full; Cut are the others, whose answer broke off.
type tally struct {
	Requests int
	Cut      int
	Elapsed  time.Duration
	P50, P99 time.Duration
}

// runLoad is the process that sends requests: each connection one after the
// other, for a time. Any answer but the one that is expected is an error,
// except that a connection may break off: a bare ReverseProxy does that to a
// few streams in ten thousand. (The worker's answer begins while the proxy's
// transport still looks for the end of the request's body; the server closes
// that body, and the transport the connection.)
func runLoad(ctx context.Context, args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	address := fs.String("address", "", "host:port of the proxy")
	name := fs.String("workload", "", "what to send")
	turn := fs.Duration("time", time.Second, "how long")
	if err := fs.Parse(args); err != nil {
		return err
	}
	found, err := chosen(workloads, *name, func(w workload) string { return w.name })
	if err != nil {
		return err
	}
	t, err := load(ctx, *address, found[0], *turn)
	if err != nil {
		return fmt.Errorf("load %s: %w", found[0].name, err)
	}
	return json.NewEncoder(stdout).Encode(t)
}

func load(ctx context.Context, address string, w workload, turn time.Duration) (tally, error) {
	ctx, cancel := context.WithTimeout(ctx, turn)
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		waits []time.Duration
		cut   int
		errs  []error
	)
	began := time.Now()
	for n := range w.connections {
		wg.Go(func() {
			for ctx.Err() == nil {
				own, err := converse(ctx, address, w, n)
				mu.Lock()
				waits = append(waits, own...)
				if errors.Is(err, errCut) {
					cut++
				} else {
					errs = append(errs, err)
				}
				mu.Unlock()
				if err != nil && !errors.Is(err, errCut) {
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return tally{}, err
	}
	if len(waits) < 20*cut || len(waits) == 0 {
		return tally{}, fmt.Errorf("%d requests were answered, and the answers of %d broke off", len(waits), cut)
	}
	slices.SortFunc(waits, cmp.Compare)
	return tally{len(waits), cut, time.Since(began), waits[len(waits)/2], waits[len(waits)*99/100]}, nil
}

// converse sends requests over one connection until ctx ends, and returns how
// long each took. The last one is waited for.
func converse(ctx context.Context, address string, w workload, n int) (waits []time.Duration, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request := w.request(n)
	in := bufio.NewReaderSize(conn, 16<<10)
	for ctx.Err() == nil {
		began := time.Now()
		if _, err := conn.Write(request); err != nil {
			return waits, err
		}
		if err := answered(in, w); err != nil {
			return waits, err
		}
		waits = append(waits, time.Since(began))
	}
	return waits, nil
}

var errCut = errors.New("the connection broke off in the middle of an answer")

// answered reads one answer and holds it to what the worker sends.
func answered(in *bufio.Reader, w workload) error {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("answered %s: %s", resp.Status, text)
	}
	length, err := io.Copy(io.Discard, resp.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return errCut
	}
	if err != nil {
		return err
	}
	if want := w.answerBytes(); length != want {
		return fmt.Errorf("an answer of %d bytes, want %d", length, want)
	}
	return nil
}
