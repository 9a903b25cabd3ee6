package penstock

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/penstock-dev/penstock/internal/clientaddr"
	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// Middleware limits an http.Handler. What it lets through carries the headers
// X-RateLimit-Limit, -Remaining, -Reset (in Unix seconds) and -Reset-After (in
// seconds) of the limit that is nearest; what it denies is answered 429 with
// Retry-After and a JSON body. Only Limits must be set. A Middleware does not
// change once Wrap was called. Of Middlewares inside each other each decides by
// itself, so that what the inner one denies stays charged to the outer one, and
// the headers are of the last that was asked.
type Middleware struct {
	// Limits are those of each key.
	Limits *Limits
	// Limiter decides; nil is a new one on a new [MemoryStore].
	Limiter *Limiter
	// Key says under which key a request is counted; nil is the client's
	// address, of IPv6 its /64.
	Key func(*http.Request) string
	// TrustedProxies are the networks of proxies whose X-Forwarded-For counts
	// for the address. Nil: none, the address is that of the connection.
	TrustedProxies []netip.Prefix
	// Amounts says what a request takes; nil is one of Requests and one of
	// Concurrent, so that limits on tokens or money deny and count nothing: with
	// such limits set it, to at least 1 of their unit. Where it is only an
	// estimate, the handler settles what was used with the Reservation of the
	// request's context.
	Amounts func(*http.Request) Amounts
	// Failed answers a request that could not be decided because the store
	// failed, or what Amounts said was out of bounds, or calls the handler
	// nevertheless; nil answers 503.
	Failed func(w http.ResponseWriter, r *http.Request, err error)
}

type reservationKey struct{}

// ReservationFrom returns the reservation of the request that a handler under
// a [Middleware] was called for, nil elsewhere. A handler that does not settle
// it leaves it to the middleware, which settles it as reserved. Of Middlewares
// inside each other it is the innermost one's, and the others settle as reserved:
// limits on what only the handler knows belong to the innermost.
func ReservationFrom(ctx context.Context) *Reservation {
	r, _ := ctx.Value(reservationKey{}).(*Reservation)
	return r
}

// Wrap returns a handler that calls next for the requests that are allowed.
// It panics when m has no Limits.
func (m Middleware) Wrap(next http.Handler) http.Handler {
	if m.Limits == nil {
		panic("penstock: a Middleware without Limits")
	}
	if m.Limiter == nil {
		m.Limiter = New(nil)
	}
	if m.Key == nil {
		trusted := clientaddr.Trusted(m.TrustedProxies)
		m.Key = func(r *http.Request) string {
			addr, _ := trusted.Client(r)
			return string(clientaddr.AppendCallerKey(nil, addr))
		}
	}
	if m.Amounts == nil {
		m.Amounts = func(*http.Request) Amounts { return Amounts{Requests: 1, Concurrent: 1} }
	}
	if m.Failed == nil {
		m.Failed = func(w http.ResponseWriter, r *http.Request, _ error) {
			new(reply.Errors).Write(w, r, traffic.Plain, reply.Denial{Code: reply.StoreUnavailable})
		}
	}
	headers, err := reply.NewHeaders(reply.HeaderOptions{})
	if err != nil {
		panic(err) // the standard names are header names
	}
	return &limited{m, next, headers}
}

type limited struct {
	Middleware
	next    http.Handler
	headers *reply.Headers
}

func (l *limited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	res, err := l.Limiter.Reserve(ctx, l.Limits.Charges(l.Key(r), l.Amounts(r))...)
	if err != nil {
		l.Failed(w, r, err)
		return
	}
	// The client may be gone when the handler returns; what it used is not.
	// Nothing is charged here, so that the memory store never fails, and another
	// one's loss is its operator's.
	defer func() { _ = res.Keep(context.WithoutCancel(ctx)) }()
	if b := res.Binding(); b != nil {
		limit := b.Limit()
		l.headers.Set(w.Header(), traffic.Plain, time.Now(), []reply.Limit{{
			Name:      limit.Name,
			Unit:      limit.Unit.String(),
			Limit:     limit.Size(),
			Remaining: b.Remaining(),
			Window:    limit.Window,
			Reset:     b.Reset,
		}}, 0)
	}
	if !res.Allowed {
		denial := reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: res.RetryAfter}
		if res.RetryAfter == Never {
			denial = reply.Denial{Code: reply.RequestTooLargeForLimit}
		}
		new(reply.Errors).Write(w, r, traffic.Plain, denial)
		return
	}
	l.next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, reservationKey{}, res)))
}
