package gateway

import (
	"net/http"
	"strconv"
	"testing"
)

// TestForget: a map of headers serves again, but not one that was large.
func TestForget(t *testing.T) {
	for n, kept := range map[int]bool{0: true, keptHeaders: true, keptHeaders + 1: false} {
		h := http.Header{}
		for i := range n {
			h["X-"+strconv.Itoa(i)] = []string{"1"}
		}
		x := &exchange{reused: &reused{header: h}, id: "a"}
		if !x.forget() {
			t.Fatal("it may not serve again, though nobody holds on to it")
		}
		if len(x.header) != 0 || (x.header != nil) != kept || x.id != "" {
			t.Errorf("after %d headers: %d are left, kept %t, want none and %t", n, len(x.header), x.header != nil, kept)
		}
	}
}
