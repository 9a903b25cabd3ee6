package reply_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/traffic"
)

var update = flag.Bool("update", false, "write the golden files anew")

// dialects is all of them.
var dialects = []traffic.Dialect{traffic.Plain, traffic.OpenAI, traffic.Anthropic, traffic.Google, traffic.Ollama, traffic.ComfyUI}

// golden compares got with testdata/golden/name, or writes it there.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", path, d)
	}
}

// headerText is a header with its names in order, a line each.
func headerText(h http.Header) string {
	var lines []string
	for name, values := range h {
		for _, v := range values {
			lines = append(lines, name+": "+v+"\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// written is the answer that e writes.
func written(e reply.Errors, method string, d traffic.Dialect, den reply.Denial) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	e.Write(w, httptest.NewRequest(method, "/", nil), d, den)
	return w
}

// section is one answer in a golden file.
func section(name string, w *httptest.ResponseRecorder) string {
	return fmt.Sprintf("--- %s\n%d %s\n%s\n%s\n", name, w.Code, http.StatusText(w.Code), headerText(w.Header()), w.Body)
}
