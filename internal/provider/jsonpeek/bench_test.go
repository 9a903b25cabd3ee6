package jsonpeek

import (
	"fmt"
	"strings"
	"testing"
)

// benchBodies are chat requests of 219 KB, and a small one.
func benchBodies() map[string]string {
	fill := func(text string, size int) string {
		return strings.Repeat(text, size/len(text)+1)[:size]
	}
	chat := func(messages string) string {
		return `{"model":"gpt-4o-mini","stream":true,"temperature":0.7,"max_tokens":512,"user":"u-1234","messages":[` + messages + `]}`
	}
	prose := "The quick brown fox jumps over the lazy dog, and then thinks about it for a while. "
	code := `\tfor i, v := range items {\n\t\tfmt.Printf(\"%d: %s\\n\", i, v)\n\t}\n`
	small := `{"role":"user","content":"` + fill(prose, 13) + `"}`
	return map[string]string{
		"0.5KB":    chat(`{"role":"system","content":"You help."},{"role":"user","content":"` + fill(prose, 330) + `"}`),
		"prose":    chat(`{"role":"user","content":"` + fill(prose, 219_000) + `"}`),
		"code":     chat(`{"role":"user","content":"` + strings.Repeat(code, 219_000/len(code)) + `"}`),
		"cjk":      chat(`{"role":"user","content":"` + strings.Repeat("今天天气很好，我们去公园散步吧。", 219_000/48) + `"}`),
		"messages": chat(strings.TrimSuffix(strings.Repeat(small+",", 4500), ",")),
	}
}

var (
	benchTop     = NewFields("model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "messages")
	benchMessage = NewFields("role", "content", "name", "tool_calls")
)

// benchText returns how much text the contents of a chat's messages are.
func benchText(document []byte) (text Text, err error) {
	c := New(document)
	for o := c.Object(benchTop); o.Next(); {
		if o.Field != 6 {
			continue
		}
		for a := c.Array(); a.Next(); {
			for m := c.Object(benchMessage); m.Next(); {
				if m.Field == 1 {
					text.Add(c.Text())
				}
			}
		}
	}
	return text, c.End()
}

func BenchmarkWalk(b *testing.B) {
	for name, body := range benchBodies() {
		document := []byte(body)
		b.Run(fmt.Sprintf("%s-%d", name, len(body)), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if text, err := benchText(document); err != nil || text.Bytes() == 0 {
					b.Fatal(text, err)
				}
			}
		})
	}
}

// TestNoAllocation: a walk leaves nothing behind.
func TestNoAllocation(t *testing.T) {
	for name, body := range benchBodies() {
		document := []byte(body)
		if n := testing.AllocsPerRun(10, func() {
			if _, err := benchText(document); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}
