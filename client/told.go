package client

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// The headers by which servers say whether and when to try again. The official
// SDKs of OpenAI and Anthropic read the first two so, too.
const (
	shouldRetry  = "X-Should-Retry"
	retryAfterMS = "Retry-After-Ms"
	retryAfter   = "Retry-After"
)

// toldWait returns the wait that an answer with header h asks for, and whether
// it asks for one: a wait that cannot be read, or that is over, is none. It is
// the longest Duration where that is too short for it.
func toldWait(h http.Header, now time.Time) (time.Duration, bool) {
	wait := amount(h.Get(retryAfterMS), time.Millisecond)
	if wait <= 0 {
		wait = amount(h.Get(retryAfter), time.Second)
	}
	if wait <= 0 {
		if at, err := http.ParseTime(h.Get(retryAfter)); err == nil {
			// The date is of the server's clock, and so is Date.
			if date, err := http.ParseTime(h.Get("Date")); err == nil {
				now = date
			}
			wait = at.Sub(now)
		}
	}
	return max(wait, 0), wait > 0
}

// amount reads a decimal number of units; what is none is 0.
func amount(value string, unit time.Duration) time.Duration {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil && !math.IsInf(n, 0) || math.IsNaN(n) {
		return 0
	}
	n = math.Round(n * float64(unit))
	if n >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(max(n, 0))
}

// overloaded is what Anthropic's API answers, and gateways pass on, where others
// answer 503.
const overloaded = 529

// repeatable says that the request with this answer may be sent again: the
// server has not begun with it, or says that it may. told is whether the answer
// asks for a wait.
func repeatable(resp *http.Response, told bool) bool {
	switch resp.Header.Get(shouldRetry) {
	case "false":
		return false
	case "true":
		return resp.StatusCode >= 400
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, overloaded:
		return true
	case http.StatusRequestTimeout:
		return told
	}
	return false
}

// tooFast says that the answer is about the rate of requests. A 429 that forbids
// to try again and knows no wait is about its request, which can never pass.
func tooFast(resp *http.Response) bool {
	if resp.StatusCode != http.StatusTooManyRequests {
		return false
	}
	_, told := toldWait(resp.Header, time.Now())
	return told || resp.Header.Get(shouldRetry) != "false"
}
