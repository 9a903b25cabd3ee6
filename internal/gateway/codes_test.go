package gateway

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/reply"
)

// TestCodesFromTheStart: every code that the gateway answers with is counted
// from 0, so that rate() sees the first of each.
func TestCodesFromTheStart(t *testing.T) {
	r := newRig(t, "", nil)
	w := httptest.NewRecorder()
	r.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, code := range reply.Codes() {
		if !strings.Contains(w.Body.String(), `penstock_own_answers_total{code="`+code.String()+`"} 0`+"\n") {
			t.Errorf("%s is not there", code)
		}
	}
}
