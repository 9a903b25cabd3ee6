package standin

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ReadTrace reads a recorded trace: CSV with a line of column names, which are
//
//	TIMESTAMP,ContextTokens,GeneratedTokens         2023-11-16 18:15:46.6805900 (UTC, perhaps with +00:00): the Azure LLM inference traces
//	t_s,client,input_tokens,output_tokens           seconds, as a decimal number
//
// Lines that start with # are skipped. The requests are in order of time, which
// counts from the first of them. Errors name the line. Nothing but the requests
// is kept of a file, which may be of any length.
func ReadTrace(r io.Reader) ([]Request, error) {
	text := bufio.NewReader(r)
	if mark, err := text.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = text.Discard(3) // was peeked at
	}
	rows := csv.NewReader(text)
	rows.Comment = '#'
	rows.ReuseRecord = true
	columns, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the trace is empty; it needs a line of column names")
	}
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	var at func(string) (time.Duration, error)
	switch {
	case slices.Equal(columns, []string{"TIMESTAMP", "ContextTokens", "GeneratedTokens"}):
		at = timestamp
	case slices.Equal(columns, []string{"t_s", "client", "input_tokens", "output_tokens"}):
		at = seconds
	default:
		line, _ := rows.FieldPos(0)
		return nil, fmt.Errorf("trace: line %d: the columns are %.80q; they must be TIMESTAMP,ContextTokens,GeneratedTokens "+
			"or t_s,client,input_tokens,output_tokens", line, strings.Join(columns, ","))
	}
	var requests []Request
	var start, last time.Duration
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return requests, nil
		}
		if err != nil {
			return nil, fmt.Errorf("trace: %w", err)
		}
		request, err := parseRow(row, at)
		if len(requests) == 0 {
			start, last = request.At, request.At
		}
		if err == nil && request.At < last {
			err = errors.New("it is earlier than the row before; sort the rows by time")
		}
		if err != nil {
			line, _ := rows.FieldPos(0)
			return nil, fmt.Errorf("trace: line %d: %w", line, err)
		}
		last = request.At
		request.At -= start
		requests = append(requests, request)
	}
}

// parseRow reads a row: the time, the client where there is one, and the tokens.
func parseRow(row []string, at func(string) (time.Duration, error)) (r Request, err error) {
	if r.At, err = at(row[0]); err != nil {
		return r, err
	}
	if len(row) == 4 {
		client, err := strconv.ParseUint(row[1], 10, 31)
		if err != nil {
			return r, fmt.Errorf("%.40q is no client; a client is a number from 0 to 2147483647", row[1])
		}
		r.Caller = int(client)
		row = row[1:]
	}
	for i, tokens := range []*int64{&r.InputTokens, &r.OutputTokens} {
		n, err := strconv.ParseUint(row[1+i], 10, 31)
		if err != nil {
			return r, fmt.Errorf("%.40q is no number of tokens from 0 to 2147483647", row[1+i])
		}
		*tokens = int64(n)
	}
	return r, nil
}

// timestamp reads a time in UTC, as the time since 1970.
func timestamp(s string) (time.Duration, error) {
	t, err := time.Parse("2006-01-02 15:04:05", strings.TrimSuffix(s, "+00:00")) // takes a fraction, too
	if err != nil || t.Year() < 1970 || t.Year() > 2261 {
		return 0, fmt.Errorf("%.40q is no time such as 2023-11-16 18:15:46.6805900, from 1970 to 2261", s)
	}
	return time.Duration(t.UnixNano()), nil
}

// seconds reads a decimal number of seconds.
func seconds(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s + "s") // exact, where a float is not
	if err != nil || strings.Trim(s, ".0123456789") != "" {
		return 0, fmt.Errorf("%.40q is no number of seconds such as 12.345", s)
	}
	return d, nil
}
