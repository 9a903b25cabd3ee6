package provider

// numberState is a place in a number.
type numberState uint8

const (
	noNumber numberState = iota
	numberBegin
	afterMinus
	afterZero
	inInteger
	afterPoint
	inFraction
	afterE
	afterESign
	inExponent
)

// ends reports whether the number may end here.
func (s numberState) ends() bool {
	return s == afterZero || s == inInteger || s == inFraction || s == inExponent
}

// numberLength returns the length of the number that p begins with; 0 where it
// is none.
func numberLength(p []byte) int {
	s := numberBegin
	for i, b := range p {
		next := s.step(b)
		if next == noNumber {
			if s.ends() {
				return i
			}
			return 0
		}
		s = next
	}
	return len(p)
}

// step returns the place behind b; noNumber where b cannot go on with it.
func (s numberState) step(b byte) numberState {
	digit := '0' <= b && b <= '9'
	switch s {
	case numberBegin, afterMinus:
		switch {
		case b == '-' && s == numberBegin:
			return afterMinus
		case b == '0':
			return afterZero
		case digit:
			return inInteger
		}
	case afterZero, inInteger:
		switch {
		case b == '.':
			return afterPoint
		case b == 'e' || b == 'E':
			return afterE
		case digit && s == inInteger:
			return inInteger
		}
	case afterPoint, inFraction:
		switch {
		case digit:
			return inFraction
		case s == inFraction && (b == 'e' || b == 'E'):
			return afterE
		}
	case afterE, afterESign, inExponent:
		switch {
		case digit:
			return inExponent
		case s == afterE && (b == '+' || b == '-'):
			return afterESign
		}
	}
	return noNumber
}
