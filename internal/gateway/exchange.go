package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/identity"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/provider"
	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/traffic"
	"github.com/penstock-dev/penstock/internal/workers"
)

// exchange is one request on its way, and what must be undone when it is over.
type exchange struct {
	*reused
	g     *Gateway
	rules *generation
	w     http.ResponseWriter
	r     *http.Request
	began time.Time

	id       string
	path     string   // cleaned
	others   []string // what some workers may read it as
	endpoint traffic.Endpoint
	caller   traffic.Caller
	cred     identity.Credential

	asked    provider.Request
	counted  bool         // what it uses is counted: the request is metered
	read     bool         // the body was read, too
	body     workers.Held // of it, what the worker gets; until it has answered
	lent     []byte       // the memory that it is in; nil when it was given back
	cut      bool         // the client's body was given up
	closing  bool         // the client was told that the connection ends
	aborted  bool         // the connection is cut within the answer
	upload   *upload
	buffered int64 // bytes of it that count against MaxBuffered
	need     policy.Need
	room     [8]penstock.Charge
	res      *penstock.Reservation // nil: nothing was charged
	standing *penstock.Decision    // how its limits stand, for the headers; nil when nothing was decided
	stood    time.Time             // when they were asked
	binds    *policy.Rule          // the one that the request is too large for; nil for the decision's own
	slot     queue.Slot
	class    traffic.Class
	weight   int64 // of the caller, beside others of the class
	served   int64 // output tokens that the caller has been counted for
	position int   // at which it began to wait; 0: it did not
	begun    bool  // the client has the headers: it was told while it waited
	open     bool  // it counts among the connections that may be handed over
	decided  bool  // a verdict was counted

	shared   bool                 // others than the request's goroutine may hold on to this
	away     bool                 // so may what sends the request
	asking   time.Time            // when a worker was asked
	lines    [addedHeaders]string // values of headers to it
	said     int                  // how many there are
	hearing  sync.Mutex           // guards heard
	heard    bool                 // the worker has answered: interim answers are over
	writes   atomic.Uint32        // of the answer's body, begun and ended: odd within one
	timing   sync.Mutex           // guards what follows, up to over
	left     time.Duration        // of the request's time, when the timer has run out
	looked   uint32               // writes, when it last had
	over     bool                 // the request can no longer time out
	cancel   context.CancelCauseFunc
	ctx      context.Context
	sent     bool // a worker may have seen something of it
	status   int  // of the answer; 0 while there is none
	metered  bool // the answer is read
	events   bool // it is a stream of events
	flowed   bool // some of its body has come
	finished bool // it was settled
	broken   error
	answer   answer
	covered  int64 // output tokens that the reservation covers; negative: not known yet
	ceiling  int64 // those that the limits have room for
}

// reused is of an exchange what serves the next request, too.
type reused struct {
	meter  provider.Meter
	header http.Header // of the request to a worker; nil until there was one
	timer  *time.Timer // of watch; nil until a worker was asked
}

// forget makes x ready for another request, and reports whether it may serve one:
// whether nobody else can hold on to it.
func (x *exchange) forget() bool {
	if x.shared || x.away || !x.body.Free() {
		return false
	}
	if len(x.header) > keptHeaders {
		x.header = nil
	}
	clear(x.header)
	*x = exchange{reused: x.reused}
	return true
}

// keptHeaders is how many headers a map had at most that is used again. A map does
// not shrink: one of thousands would make every request after it slower.
const keptHeaders = 64

// serve walks the request through, once, from top to bottom.
func (x *exchange) serve() {
	raw := rawPath(x.r.RequestURI)
	x.path = cleanPath(raw)
	x.id = requestID(x.r.Header.Get("X-Request-Id"))
	x.others = otherReadings(raw)
	if isComfyUI(x.path) {
		x.others = append(x.others, "/api"+x.path)
	}
	x.endpoint = x.route()
	if x.r.ContentLength != 0 {
		// An answer does not wait for a body that nobody reads. (HTTP/2 is
		// always so; the error says that.)
		_ = http.NewResponseController(x.w).EnableFullDuplex()
	}

	if x.path == "/health" {
		x.health()
		return
	}
	if x.g.stopping.Load() {
		x.refuse(reply.Denial{Code: reply.ShuttingDown})
		return
	}
	if x.isClosed() {
		x.refuse(reply.Denial{Code: reply.NotFound})
		return
	}
	if x.r.ContentLength > x.rules.MaxBody {
		x.refuse(*tooLarge(x.rules.MaxBody))
		return
	}
	if !canBeSent(x.r.Method, x.r.Host) {
		x.refuse(reply.Denial{Code: reply.InvalidRequest, Message: "The request's method or host is none. Write them in ASCII, without spaces."})
		return
	}

	x.caller, x.cred = x.rules.Identifier.Identify(x.r)
	switch {
	case x.rules.Policy.Bypass(&x.caller, raw, isClean(raw)):
		x.forward()
		return
	case x.r.Method == http.MethodOptions:
		x.forward()
		return
	}
	x.asked, x.counted = provider.Unread(x.endpoint), x.endpoint.Metered()
	if x.counted && (!x.precheck() || !x.isForm() && !x.peek()) {
		return
	}
	if !x.mayOpen() || !x.reserve() || !x.hasWorker() || !x.enter() {
		return
	}
	if x.res != nil || x.slot != (queue.Slot{}) {
		x.verdict(traffic.Verdict{Allowed: true})
		x.foresee()
	}
	x.forward()
}

// route is what method and path say. A path that some workers may read as a
// metered one, or as one of another model, or as one that keeps them busy, is
// that one; so is one that is metered in another case.
func (x *exchange) route() traffic.Endpoint {
	method := x.method()
	e := provider.Route(method, x.path)
	for _, p := range x.others {
		other := provider.Route(method, p)
		if other.Metered() && (!e.Metered() || other.Model != e.Model) || other.TakesSlot() && !e.TakesSlot() {
			e = other
		}
	}
	if e.Metered() {
		return e
	}
	if other := provider.Route(method, lowered(x.path)); other.Metered() {
		return other
	}
	for _, p := range x.others {
		if other := provider.Route(method, lowered(p)); other.Metered() {
			return other
		}
	}
	return e
}

// method is the request's as rules have it: in upper case, since there are
// workers that make it so.
func (x *exchange) method() string { return strings.ToUpper(x.r.Method) }

// isClosed reports whether the path is a route of the workers' that nobody has
// opened, or some workers may read it as one, in whatever case, or the method is one
// that is closed everywhere.
func (x *exchange) isClosed() bool {
	shut := func(p string) bool { return closed.has(lowered(p)) && !x.rules.open.has(p) }
	switch x.method() {
	case http.MethodConnect, http.MethodTrace, "TRACK": // by the last two a worker tells what it was sent: its key, too
		return true
	}
	return shut(x.path) || slices.ContainsFunc(x.others, shut)
}

// health answers for penstock itself; the workers' own is not asked.
func (x *exchange) health() {
	switch {
	case x.r.Method != http.MethodGet && x.r.Method != http.MethodHead:
		x.refuse(reply.Denial{Code: reply.NotFound})
	case x.g.stopping.Load():
		x.refuse(reply.Denial{Code: reply.ShuttingDown})
	default:
		x.status = http.StatusOK
		h := x.w.Header()
		h.Set("X-Request-Id", x.id)
		h.Set("Content-Type", "application/json")
		_, _ = io.WriteString(x.w, `{"status":"ok"}`+"\n")
	}
}

// precheck looks at what is known from the headers alone: a denial here never
// reads the body.
func (x *exchange) precheck() bool {
	charges := x.rules.Policy.Precheck(x.room[:0], &x.caller, x.target())
	if len(charges) == 0 {
		return true
	}
	x.stood = time.Now()
	d, err := x.g.Limiter.Look(x.r.Context(), charges...)
	if err != nil {
		x.g.storeFailed(err)
		x.refuse(reply.Denial{Code: reply.StoreUnavailable})
		return false
	}
	if !d.Allowed {
		x.deny(&d)
	}
	return d.Allowed
}

// isForm reports whether the body is a form, which passes unread where one may
// be. Its answer is metered all the same.
func (x *exchange) isForm() bool {
	media, _, _ := strings.Cut(x.r.Header.Get("Content-Type"), ";")
	return x.endpoint.Form && len(x.r.Header["Content-Type"]) == 1 && strings.EqualFold(strings.TrimSpace(media), "multipart/form-data")
}

// shortBody is how long a body may be that is read though nobody needs to know
// what it says.
const shortBody = 64 << 10

// isShort reports whether the body passes, and is better read before the request
// waits: net/http sees that a client of HTTP/1.1 has gone only when it has read all
// that the client had to say. A client that asks whether to go on asks the worker.
func (x *exchange) isShort() bool {
	return !x.counted && x.r.Header["Expect"] == nil && 0 < x.r.ContentLength && x.r.ContentLength <= shortBody
}

// readAhead reads a body that passes.
func (x *exchange) readAhead() bool {
	body, problem := x.readBody()
	if problem != nil {
		x.noBody(problem)
		return false
	}
	x.read, x.lent = true, body
	x.body.Hold(x.lent)
	return true
}

// noBody answers a request whose body could not be read.
func (x *exchange) noBody(problem *reply.Denial) {
	if problem.Code == reply.Overloaded {
		x.failing(problem.Code, errOverloaded)
	}
	x.cut = true
	x.refuse(*problem)
}

// usageRoom is what the wish for usage adds to a body at most.
const usageRoom = 64

// peek reads the body and what it asks for.
func (x *exchange) peek() bool {
	body, problem := x.readBody()
	if problem != nil {
		x.noBody(problem)
		return false
	}
	x.read = true
	var err error
	x.lent = body
	if x.asked, err = x.g.Peeker.Peek(x.endpoint, body); err != nil {
		x.refuse(reply.Denial{Code: reply.InvalidRequest, Message: err.Error()})
		return false
	}
	if x.asked.HideUsage() {
		x.lent = x.asked.AppendBody(x.g.bodies.get(int64(len(body)+usageRoom)), body)
		x.g.bodies.put(body)
	}
	x.body.Hold(x.lent)
	return true
}

// target is what the request is sent to, as rules have it.
func (x *exchange) target() policy.Target {
	return policy.Target{Method: x.method(), Path: x.path, Others: x.others}
}

// reserve takes what the request may need, or denies it.
func (x *exchange) reserve() bool {
	ask := &x.asked.Ask
	x.need = x.rules.Policy.Need(&x.caller, ask)
	charges, large := x.rules.Policy.Charges(x.room[:0], &x.caller, x.target(), ask, &x.need)
	if large != nil {
		x.look(charges, large.Rule)
		x.verdict(traffic.Verdict{Code: reply.RequestTooLargeForLimit.String(), Rule: large.Rule.Name})
		x.refuse(reply.Denial{Code: reply.RequestTooLargeForLimit, Message: large.Message})
		return false
	}
	if len(charges) == 0 {
		return true
	}
	x.stood = time.Now()
	res, err := x.g.Limiter.Reserve(x.r.Context(), charges...)
	if err != nil {
		x.g.storeFailed(err)
		x.refuse(reply.Denial{Code: reply.StoreUnavailable})
		return false
	}
	x.res, x.standing = res, &res.Decision
	if !res.Allowed {
		x.deny(&res.Decision)
	}
	return res.Allowed
}

// look notes how the limits stand for a request that is too large for one.
func (x *exchange) look(charges []penstock.Charge, rule *policy.Rule) {
	x.stood = time.Now()
	d, err := x.g.Limiter.Look(x.r.Context(), charges...)
	if err != nil {
		x.g.storeFailed(err) // it is denied all the same
		return
	}
	d.Allowed = false
	x.standing, x.binds = &d, rule
}

// deny answers a request that a limit denies.
func (x *exchange) deny(d *penstock.Decision) {
	b := d.Binding()
	rule := x.rules.Policy.Rule(b)
	denial := reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: d.RetryAfter}
	if rule.Global {
		denial.Global = &reply.Global{Current: b.Used + b.Amount, Limit: rule.Limit.Size()}
	}
	x.verdict(traffic.Verdict{Code: denial.Code.String(), Rule: rule.Name, Wait: d.RetryAfter})
	x.standing = d
	x.refuse(denial)
}

// verdict counts and logs what was decided, once.
func (x *exchange) verdict(v traffic.Verdict) {
	if x.decided {
		return
	}
	x.decided = true
	x.describe(&v)
	x.g.Metrics.Decided(&v)
	x.rules.Decisions.Decided(x.began, &v)
}

// describe says in a verdict whom and what it is about.
func (x *exchange) describe(v *traffic.Verdict) {
	v.Caller, v.Path, v.Model, v.RequestID = &x.caller, x.path, x.asked.Ask.Model, x.id
}

// refuse answers the request itself.
func (x *exchange) refuse(d reply.Denial) {
	if x.begun {
		x.g.Metrics.Own(d.Code.String())
		x.breakOff(d)
	}
	h := x.w.Header()
	x.setPosition(h)
	h.Set("X-Request-Id", x.id)
	x.close()
	x.setLimits(h)
	x.status = d.Code.Status()
	x.g.Metrics.Own(d.Code.String())
	x.rules.Errors.Write(x.w, x.r, x.endpoint.Dialect, d)
}

// errOverloaded says what to do about bodies that find no memory.
var errOverloaded = errors.New("the bodies that are held have used up max_buffered_bytes: raise it, or let fewer requests in at a time")

// failing logs a request that a worker or the gateway fails.
func (x *exchange) failing(code reply.Code, err error) {
	v := traffic.Verdict{Code: code.String()}
	x.describe(&v)
	x.rules.Decisions.Failed(time.Now(), &v, err)
}

// requestID is the client's own where that may stand in a log, else a new one.
func requestID(own string) string {
	if len(own) >= 1 && len(own) <= 128 {
		ok := true
		for i := range len(own) {
			c := own[i]
			ok = ok && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-')
		}
		if ok {
			return own
		}
	}
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
