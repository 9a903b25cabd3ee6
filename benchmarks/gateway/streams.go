//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// held is a stream that sends a chunk every second and lasts longer than its
// weighing.
var held = workload{name: "held", prompt: 300, chunks: 1_000_000, pause: time.Second}

// weighStreams opens streams through a proxy that has done nothing yet, and
// says how much memory it has for each once it has sent a chunk of each.
func weighStreams(ctx context.Context, o options, l launcher, v variant) error {
	p, err := l.start(ctx, v)
	if err != nil {
		return err
	}
	defer p.stop()
	before, err := p.resident()
	if err != nil {
		return err
	}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for n := range o.streams {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.Listen)
		if err != nil {
			return err
		}
		conns = append(conns, c)
		if _, err := c.Write(held.request(n)); err != nil {
			return err
		}
	}
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if err := firstChunk(bufio.NewReader(c)); err != nil {
			return err
		}
	}
	after, err := p.resident()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, "BenchmarkStreams/%d/%s 1 %.0f rss-B/stream\n", o.streams, v.name, float64(after-before)/float64(o.streams))
	return err
}

// firstChunk reads the head of an answer and as much as a chunk is.
func firstChunk(in *bufio.Reader) error {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	_, err = io.CopyN(io.Discard, resp.Body, int64(len(answerChunk)))
	return err
}
