package workers

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
)

const upgradeRequest = "GET /ws HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// upgradeTo is a worker that switches to protocol and then echoes what comes
// up to its end.
func upgradeTo(t *testing.T, protocol string) Worker {
	return newWorker(t, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
		_, _ = io.Copy(c, rw)
		_, _ = io.WriteString(c, "bye")
	})
}

func TestUpgrade(t *testing.T) {
	p := newPool(t, upgradeTo(t, "echo"))
	gateway, done := newGateway(t, p)
	c, in := dial(t, gateway, upgradeRequest)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", resp.StatusCode)
	}
	for _, want := range []string{"ping", "pong"} {
		if _, err := io.WriteString(c, want); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(in, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v", got, err)
		}
		wantCounts(t, p, counts{Outstanding: 1, Sent: 1})
	}
	// The client ends its direction; the worker still answers.
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(in)
	if err != nil || string(rest) != "bye" {
		t.Errorf("after the client's end: %q, %v", rest, err)
	}
	<-done
	waitFor(t, "the connection is closed", func() bool { return p.Stats()[0].Outstanding == 0 })
	wantCounts(t, p, counts{Sent: 1})
}

// TestRefusedUpgrade lets the worker switch to something else: ReverseProxy
// answers 502 and forgets the connection, and yet it must end.
func TestRefusedUpgrade(t *testing.T) {
	p := newPool(t, upgradeTo(t, "other"))
	gateway, done := newGateway(t, p)
	_, in := dial(t, gateway, upgradeRequest)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d", resp.StatusCode)
	}
	<-done
	waitFor(t, "the connection is closed", func() bool { return p.Stats()[0].Outstanding == 0 })
}

type noHalfClose struct{ io.ReadWriteCloser }

func TestCloseWriteWhereTheConnectionCannot(t *testing.T) {
	u := &upgraded{ReadWriteCloser: noHalfClose{}}
	if err := u.CloseWrite(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("got %v", err)
	}
}

// TestHintsAndTrailers passes a 103 and trailers through the gateway.
func TestHintsAndTrailers(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		p := newPool(t, newWorker(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			w.Header().Set("Trailer", "Announced")
			_, _ = io.WriteString(w, "answer")
			w.Header().Set("Announced", "one")
			w.Header().Set(http.TrailerPrefix+"Surprise", "two")
		}))
		gateway, done := newGateway(t, p)
		hints := ""
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints {
				hints += h.Get("Link")
			}
			return nil
		}}
		client := &http.Transport{}
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", gateway.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "answer" {
			t.Errorf("body %q, %v", body, err)
		}
		_ = resp.Body.Close()
		if hints != "</style.css>" {
			t.Errorf("the 103 had Link %q", hints)
		}
		if a, s := resp.Trailer.Get("Announced"), resp.Trailer.Get("Surprise"); a != "one" || s != "two" {
			t.Errorf("trailers %v", resp.Trailer)
		}
		<-done
		wantCounts(t, p, counts{Sent: 1})
	})
}

// TestClientLeavesTheGateway hangs up on a stream: the worker sees it, and
// nothing stays outstanding.
func TestClientLeavesTheGateway(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		left := make(chan struct{})
		p := newPool(t, newWorker(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			close(left)
		}))
		gateway, done := newGateway(t, p)
		c, in := dial(t, gateway, "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 6\r\n\r\nprompt")
		for line := ""; !strings.HasPrefix(line, "data:"); {
			var err error
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		wantCounts(t, p, counts{Outstanding: 1, Sent: 1})
		_ = c.Close()
		<-left
		<-done
		wantCounts(t, p, counts{Sent: 1})
	})
}
