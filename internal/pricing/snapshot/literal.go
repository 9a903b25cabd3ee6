package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// toJSON returns the JavaScript literal at the beginning of text as JSON. It reads
// what bundlers write of plain data: objects, arrays, strings in any of the three
// quotes, numbers, !0 and !1; nothing that would have to be run.
func toJSON(text string) ([]byte, error) {
	var out []byte
	for depth, i := 0, 0; i < len(text); {
		c := text[i]
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
			continue
		case c == '{', c == '[':
			out = append(out, c)
			depth++
			i++
		case c == '}', c == ']':
			out = append(out, c)
			depth--
			i++
		case c == ',', c == ':':
			out = append(out, c)
			i++
		case c == '"', c == '\'', c == '`':
			s, n, err := unquote(text[i:])
			if err != nil {
				return nil, fmt.Errorf("at byte %d: %w", i, err)
			}
			quoted, _ := json.Marshal(s) // of a string it cannot fail
			out = append(out, quoted...)
			i += n
		default:
			word := text[i : len(text)-len(strings.TrimLeft(text[i:], wordLetters))]
			i += len(word)
			switch {
			case word == "":
				return nil, fmt.Errorf("at byte %d: %q is not plain data", i, c)
			case strings.HasPrefix(strings.TrimLeft(text[i:], " \t\r\n"), ":"):
				out = strconv.AppendQuote(out, word)
			case word == "!0":
				out = append(out, "true"...)
			case word == "!1":
				out = append(out, "false"...)
			case word[0] == '.':
				out = append(append(out, '0'), word...)
			default: // a number; what is none is no JSON, either
				out = append(out, word...)
			}
		}
		if depth <= 0 {
			if !json.Valid(out) {
				return nil, errors.New("not plain data")
			}
			return out, nil
		}
	}
	return nil, errors.New("the data does not end")
}

const wordLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$!.+-"

// unquote returns the string at the beginning of text, and its length there.
func unquote(text string) (s string, length int, err error) {
	var b strings.Builder
	for i := 1; i < len(text); {
		switch c := text[i]; {
		case c == text[0]:
			return b.String(), i + 1, nil
		case c == '$' && text[0] == '`' && strings.HasPrefix(text[i:], "${"):
			return "", 0, errors.New("a template is not plain data")
		case c == '\\' && strings.HasPrefix(text[i+1:], text[:1]), strings.HasPrefix(text[i:], `\$`):
			b.WriteByte(text[i+1])
			i += 2
		case c == '\\':
			r, _, rest, err := strconv.UnquoteChar(text[i:], 0)
			if err != nil {
				return "", 0, fmt.Errorf("escape %.2q in a string: %w", text[i:], err)
			}
			b.WriteRune(r)
			i = len(text) - len(rest)
		default:
			_, n := utf8.DecodeRuneInString(text[i:])
			b.WriteString(text[i : i+n])
			i += n
		}
	}
	return "", 0, errors.New("a string does not end")
}
