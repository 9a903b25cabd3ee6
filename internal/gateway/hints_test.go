package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const hinted = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okAnswer

// TestHints: an interim answer has what the worker says in it, and no length.
func TestHints(t *testing.T) {
	worker, _ := scripted(t, hinted)
	r := newRigFor(t, "", worker)
	for name, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2": r.client2} {
		var got textproto.MIMEHeader
		req := r.request("GET", "/a", "")
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
				got = header
				return nil
			},
		}))
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if a := readAll(resp); a.body != "ok" || a.header.Get("Content-Length") != "2" || a.header.Get("Link") != "" {
			t.Errorf("%s: answer %v %q", name, a.header, a.body)
		}
		if d := cmp.Diff(textproto.MIMEHeader{"Link": {"</a>"}}, got); d != "" {
			t.Errorf("%s: the interim answer (-want +got):\n%s", name, d)
		}
	}
}

// lengths is a writer that looks, as net/http does in HTTP/2, whether an interim
// answer's header names a length, and is to be copied.
type lengths struct {
	*httptest.ResponseRecorder
	copied int
}

func (l *lengths) WriteHeader(code int) {
	if code != http.StatusEarlyHints {
		l.ResponseRecorder.WriteHeader(code)
	} else if _, named := l.Header()["Content-Length"]; named {
		l.copied++
	}
}

// TestHintsAreCopied: net/http writes the header of an interim answer in HTTP/2
// from another goroutine, and does not wait for that when the client goes. Were it
// the map itself, the program could end with a map that is read and written at a
// time. The race detector sees it only where the client is another program, since
// it takes what two goroutines read and write for an order.
func TestHintsAreCopied(t *testing.T) {
	worker, _ := scripted(t, strings.Repeat(strings.TrimSuffix(hinted, okAnswer), 2)+okAnswer)
	r := newRigFor(t, "", worker)
	req := httptest.NewRequest("GET", "/a", nil)
	req.RemoteAddr = "127.0.0.1:1"
	w := &lengths{ResponseRecorder: httptest.NewRecorder()}
	r.ServeHTTP(w, req)
	if w.copied != 2 || w.Body.String() != "ok" {
		t.Errorf("%d interim answers are copied, want 2; the answer is %q", w.copied, w.Body)
	}
}
