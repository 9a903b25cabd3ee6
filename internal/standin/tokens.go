package standin

import (
	"math"
	"math/rand/v2"
)

// tokenizer is the size of a token in thousandths of a byte, so that counting
// is exact.
type tokenizer int64

// newTokenizer returns the tokenizer of so many bytes a token; 4 where that is
// not from 1 to 64.
func newTokenizer(bytesPerToken float64) tokenizer {
	if !(bytesPerToken >= 1 && bytesPerToken <= 64) {
		return 4000
	}
	return tokenizer(math.Round(bytesPerToken * 1000))
}

// count returns the number of tokens of so many bytes of text.
func (t tokenizer) count(bytes int64) int64 {
	return (bytes*1000 + int64(t) - 1) / int64(t)
}

// pen writes the text of one answer, token by token. The first n tokens have
// n*t/1000 bytes together, rounded down, of which t.count gives n again.
type pen struct {
	tokens  tokenizer
	rng     *rand.Rand
	written int64 // tokens
}

// next returns the next token: a space and letters that can be spoken, or one
// letter where there is room for no more.
func (p *pen) next() string {
	const consonants, vowels = "bcdfghjklmnprstvz", "aeiou"
	from := p.written * int64(p.tokens) / 1000
	p.written++
	token := make([]byte, p.written*int64(p.tokens)/1000-from)
	for i := range token {
		letters := consonants
		if i%2 == 0 {
			letters = vowels
		}
		token[i] = letters[p.rng.IntN(len(letters))]
	}
	if len(token) > 1 {
		token[0] = ' '
	}
	return string(token)
}
