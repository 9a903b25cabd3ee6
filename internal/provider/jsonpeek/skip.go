package jsonpeek

import "math/bits"

// nested moves past an array or object, whatever lies in it. It keeps its place
// in a few words instead of on the stack, which a document could make grow.
func (c *Cursor) nested() {
	var (
		object bool // what it is in
		key    bool // what comes next

		// Whether each of the arrays and objects that it is in is an object: a bit
		// each, the innermost lowest, and those of every 64 levels that are full.
		in   uint64
		full [MaxDepth / 64]uint64
	)
	data, i, depth := c.data, c.pos, c.depth // c has them where it was last written down
	for {
		// It is before a value or key, at i.
		switch b := at(data, i); {
		case b == '"':
			n := 0
			if s := window(data, i); s != nil {
				n = quoted(s)
			}
			if n > 0 {
				i += n
			} else {
				c.pos = i
				c.text()
				i = c.pos
			}
			if !key {
				break
			}
			if at(data, i) != ':' {
				if i = spaces(data, i); at(data, i) != ':' {
					c.pos = i
					c.unexpected("a colon")
					return
				}
			}
			i++
			if at(data, i) <= ' ' {
				i = spaces(data, i)
			}
			key = false
			continue
		case key:
			c.pos = i
			c.unexpected("a key")
			return
		case b == '{' || b == '[':
			if depth == MaxDepth {
				c.pos, c.depth = i, depth
				c.enter(kinds[b])
				return
			}
			if depth%64 == 0 {
				full[depth/64] = in
			}
			object = b == '{'
			in <<= 1
			if object {
				in |= 1
			}
			depth++
			i++
			if at(data, i) <= ' ' {
				i = spaces(data, i)
			}
			if at(data, i) != b+2 { // in ASCII, the bracket that closes it
				key = object
				continue
			}
		default:
			c.pos = i
			c.Skip()
			i = c.pos
		}
		// It is behind a value, or before what closes an empty one, and leaves
		// what ends here.
		for {
			b := at(data, i)
			if b == ',' {
				i++
				if at(data, i) <= ' ' {
					i = spaces(data, i)
				}
				key = object
				break
			}
			if object && b == '}' || !object && b == ']' {
				i++
				depth--
				if depth == c.depth {
					c.pos = i
					return
				}
				if in >>= 1; depth%64 == 0 {
					in = full[depth/64]
				}
				object = in&1 != 0
				continue
			}
			if j := spaces(data, i); j > i {
				i = j
				continue
			}
			c.pos = i
			c.unexpected("a comma or a closing bracket")
			return
		}
	}
}

// at returns the byte at i; 0, which begins nothing, behind the end.
func at(data []byte, i int) byte {
	if i < len(data) {
		return data[i]
	}
	return 0
}

// quoted returns the length of a string without escapes that s begins with, its
// quotes included; 0 when it is anything else, or about as long as s.
func quoted(s *[margin]byte) int {
	for n := 1; n <= margin-16; n += 8 {
		hit := ^plain(word(s[n:])) & highs
		if hit == 0 {
			continue
		}
		n += bits.TrailingZeros64(hit) / 8
		if s[n%margin] != '"' {
			break
		}
		return n + 1
	}
	return 0
}
