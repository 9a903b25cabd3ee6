package jsonpeek

// levels says of each level of a document whether it is an object.
type levels [MaxDepth/64 + 1]uint64

func (l *levels) set(depth int, object bool) {
	l[depth/64] &^= 1 << (depth % 64)
	if object {
		l[depth/64] |= 1 << (depth % 64)
	}
}

func (l *levels) object(depth int) bool { return l[depth/64]>>(depth%64)&1 != 0 }

// nested moves past an array or object, whatever lies in it. It keeps its place
// in a few words instead of on the stack, which a document could make grow.
func (c *Cursor) nested() {
	var in levels
	outside, object := c.depth, false
	i := c.pos
	for {
		// The cursor is before a value, at i; c.pos is where it was last written down.
		switch b := c.at(i); b {
		case '"':
			n := 0
			if s := window(c.data, i); s != nil {
				n = short(s)
			}
			if n > 0 {
				i += n
			} else {
				c.pos = i
				c.Text()
				i = c.pos
			}
		case '{', '[':
			c.pos = i
			c.enter(kinds[b])
			i = c.pos
			object = b == '{'
			in.set(c.depth, object)
			if c.at(i) != b+2 { // in ASCII, the bracket that closes it
				if object {
					i = c.passKey(i)
				}
				continue
			}
			i++
			c.depth--
		default:
			c.pos = i
			c.Skip()
			i = c.pos
		}
		// It is behind a value, and leaves what ends here.
		for {
			if c.depth == outside || c.err != nil {
				c.pos = i
				return
			}
			object = in.object(c.depth)
			b := c.at(i)
			if b == ',' {
				i++
				break
			}
			if object && b == '}' || !object && b == ']' {
				i++
				c.depth--
				continue
			}
			if j := spaces(c.data, i); j > i {
				i = j
				continue
			}
			c.pos = i
			c.unexpected("a comma or a closing bracket")
			return
		}
		if c.at(i) <= ' ' {
			i = spaces(c.data, i)
		}
		if object {
			i = c.passKey(i)
		}
	}
}

// at returns the byte at i; 0, which begins nothing, behind the end.
func (c *Cursor) at(i int) byte {
	if i < len(c.data) {
		return c.data[i]
	}
	return 0
}

// passKey returns where the value begins whose key is at i.
func (c *Cursor) passKey(i int) int {
	if s := window(c.data, i); s != nil && s[0] == '"' {
		if n := short(s) % margin; n > 0 && s[n] == ':' {
			n++
			if s[n] == ' ' {
				n++
			}
			if s[n] > ' ' {
				return i + n
			}
		}
	}
	c.pos = i
	c.key()
	return c.pos
}
