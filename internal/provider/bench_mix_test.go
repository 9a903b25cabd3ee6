package provider

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// mix makes text that does not repeat, of which no processor can learn by heart
// what comes next. It makes the same every time.
type mix struct {
	*rand.Rand
	strings.Builder
}

func newMix() *mix { return &mix{Rand: rand.New(rand.NewPCG(1, 2))} }

// word is a name as code has it.
func (m *mix) word() string {
	var w strings.Builder
	for range 1 + m.IntN(4) + m.IntN(6) {
		w.WriteByte("etaoinshrdlcum_fpgwybvkxjqz"[m.IntN(1+m.IntN(27))])
	}
	return w.String()
}

// words is some of them, with what stands between them.
func (m *mix) words(least, most int, between ...string) string {
	w := m.word()
	for range least + m.IntN(most-least+1) - 1 {
		w += between[m.IntN(len(between))] + m.word()
	}
	return w
}

// messages are a conversation of some lines each.
func (m *mix) messages(size int) string {
	for m.Len() < size {
		fmt.Fprintf(m, `{"role":"user","content":"%s\n%s"},`, m.words(5, 30, " "), m.words(1, 30, " ", " ", " ", `\n`))
	}
	return m.String() + `{"role":"user","content":"?"}`
}

// paragraphs are prose with few escapes.
func (m *mix) paragraphs(size int) string {
	for m.Len() < size {
		m.WriteString(m.words(20, 80, " ", " ", ", ", ". ") + []string{`.\n\n`, `.\n- `, `: \"` + m.word() + `\" `}[m.IntN(3)])
	}
	return m.String()
}

// code is source code in a JSON string.
func (m *mix) code(size int) string {
	for m.Len() < size {
		m.WriteString(strings.Repeat(`\t`, m.IntN(5)))
		switch m.IntN(8) {
		case 0: // an empty line
		case 1:
			m.WriteString("// " + m.words(3, 12, " "))
		case 2:
			m.WriteString(m.words(1, 2, ".") + `(\"` + m.words(1, 6, " ", ": ", " %d, ", `\\n`, `\\\"`) + `\")`)
		case 3:
			m.WriteString(`path := \"C:\\\\` + m.words(1, 4, `\\\\`) + `\"`)
		default:
			m.WriteString(m.words(2, 9, " ", ".", "(", ") ", ", ", " := ", `, \"`, " {", "[i]", `\"`))
		}
		m.WriteString(`\n`)
	}
	return m.String()
}

// escaped is text of which all that is not ASCII is escaped, as Python has it by
// default.
func (m *mix) escaped(size int) string {
	for m.Len() < size {
		for range 1 + m.IntN(12) {
			if m.IntN(20) == 0 {
				m.WriteString(`\ud83d\ude` + strconv.Itoa(10+m.IntN(30)))
			} else {
				fmt.Fprintf(m, `\u%04x`, 0x400+m.IntN(0x60))
			}
		}
		m.WriteString([]string{" ", " ", " ", ", ", `\n`, " LLM "}[m.IntN(6)])
	}
	return m.String()
}

// markup is what Go makes of HTML.
func (m *mix) markup(size int) string {
	for m.Len() < size {
		tag := m.word()
		fmt.Fprintf(m, `\u003c%s %s=\"%s\"\u003e`, tag, m.word(), m.words(1, 3, " "))
		if m.IntN(2) == 0 {
			m.WriteString(m.words(1, 12, " ", " ", ", ", `\u0026`, "é") + `\u003c/` + tag + `\u003e`)
		}
		m.WriteString(`\n` + strings.Repeat(`\t`, m.IntN(4)))
	}
	return m.String()
}

// tools is a list of tools with the schemas of their parameters.
func (m *mix) tools(size int) string {
	for m.Len() < size {
		if m.Len() > 0 {
			m.WriteByte(',')
		}
		fmt.Fprintf(m, `{"type":"function","function":{"name":%q,"description":"%s.","parameters":`, m.words(1, 3, "_"), m.prose())
		m.object(0)
		m.WriteString("}}")
	}
	return m.String()
}

func (m *mix) prose() string { return m.words(2, 14, " ", " ", " ", ", ", `, \"`) }

// object is the schema of an object, some levels deep.
func (m *mix) object(depth int) {
	m.WriteString(`{"type":"object","properties":{`)
	n := 1 + m.IntN(5)
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Quote(m.words(1, 2, "_"))
		m.WriteString(names[i] + ":")
		m.property(depth)
		if i < n-1 {
			m.WriteByte(',')
		}
	}
	m.WriteString("}")
	if m.IntN(2) == 0 {
		m.WriteString(`,"required":[` + strings.Join(names[:1+m.IntN(n)], ",") + "]")
	}
	if m.IntN(3) == 0 {
		m.WriteString(`,"additionalProperties":false`)
	}
	m.WriteByte('}')
}

func (m *mix) property(depth int) {
	switch kind := m.IntN(8); {
	case kind == 0 && depth < 3:
		m.object(depth + 1)
	case kind == 1 && depth < 3:
		m.WriteString(`{"type":"array","items":`)
		m.property(depth + 1)
		m.WriteByte('}')
	case kind < 4:
		fmt.Fprintf(m, `{"type":"integer","minimum":%d,"default":%d,"description":"%s"}`, m.IntN(3), m.IntN(2000), m.prose())
	case kind == 4:
		fmt.Fprintf(m, `{"type":["string","null"],"enum":["%s"]}`, m.words(2, 6, `","`))
	case kind == 5:
		fmt.Fprintf(m, `{"type":"boolean","default":%t}`, m.IntN(2) == 0)
	default:
		fmt.Fprintf(m, `{"type":"string","description":"%s"}`, m.prose())
	}
}
