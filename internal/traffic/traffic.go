// Package traffic holds the types that the rooms of the gateway hand to each
// other: who is asking, what is asked for, and what was really used. They
// hold what is said of a request, and do nothing with it.
package traffic

import (
	"net/netip"
	"time"
)

// Dialect is the shape of an API on the wire.
type Dialect uint8

// The dialects. Plain is everything whose body is not read.
const (
	Plain Dialect = iota
	OpenAI
	Anthropic
	Google
	Ollama
	ComfyUI
)

// String returns the dialect's name in lower case.
func (d Dialect) String() string {
	switch d {
	case OpenAI:
		return "openai"
	case Anthropic:
		return "anthropic"
	case Google:
		return "google"
	case Ollama:
		return "ollama"
	case ComfyUI:
		return "comfyui"
	default:
		return "plain"
	}
}

// Caller is who is asking, as far as it was verified. The zero Caller is
// nobody; identity never returns it without an error.
type Caller struct {
	// ID names the caller's counters. It differs for different callers and
	// never holds a key in clear.
	ID string
	// Name is what logs and metrics show: the given name of a key, a short
	// keyed hash of one without a name, or an address.
	Name string
	// Verified says that ID rests on a credential that was checked, not on
	// the address alone.
	Verified bool
	// Listed says that the configuration names the caller, so that Name may
	// be a metric label and its counters have their room reserved.
	Listed bool
	// Bypass says that the caller's key skips every limit.
	Bypass bool
	// Tenant is empty where nothing says it. Role is then RoleUser or
	// RoleAnonymous.
	Tenant, Role string
	// Addr is the client's address, behind trusted proxies where there are
	// any. It is never an IPv4-mapped IPv6 address and has no zone.
	Addr netip.Addr
	// AddrCertain is false when the request carried forwarding headers from a
	// peer that is not trusted, so that Addr may be a proxy's.
	AddrCertain bool
}

// Class says who goes first where requests wait: every request of a higher
// class before one of a lower.
type Class uint8

// The classes. The zero Class is the one of whom nothing says another.
const (
	ClassDefault Class = iota
	ClassInteractive
	ClassBulk
)

// Classes are all of them, the one that goes first in front.
func Classes() []Class { return []Class{ClassInteractive, ClassDefault, ClassBulk} }

// String returns the class's name as configurations and headers have it.
func (c Class) String() string {
	switch c {
	case ClassInteractive:
		return "interactive"
	case ClassBulk:
		return "bulk"
	default:
		return "default"
	}
}

// Before reports whether requests of class c go before those of other.
func (c Class) Before(other Class) bool { return c.rank() < other.rank() }

func (c Class) rank() int {
	switch c {
	case ClassInteractive:
		return 0
	case ClassBulk:
		return 2
	default:
		return 1
	}
}

// The roles of callers of whom nothing says one: with a verified credential,
// and without.
const (
	RoleUser      = "user"
	RoleAnonymous = "anonymous"
)

// Kind is which of a dialect's endpoints a request asks.
type Kind uint8

// The kinds. Other is everything that is passed on unread.
const (
	Other Kind = iota
	// OpenAI's.
	ChatCompletions
	Completions
	Embeddings
	Responses
	Speech         // text to a recording
	Transcriptions // a recording to text, translations too; the body is a form
	Images         // generations, edits, variations
	Moderations
	Rerank // rerank and score, whose shape several workers share
	// Anthropic's.
	Messages
	// Google's.
	GenerateContent
	EmbedContent
	// Ollama's.
	OllamaChat
	OllamaGenerate
	OllamaEmbed
	// ComfyUI's: a job, of which the answer says only that it was taken.
	ComfyPrompt
	// Charged as a request; take no slot and no tokens, and are not read.
	ModelList
	CountTokens
)

// Endpoint is what method and path alone say of a request.
type Endpoint struct {
	Dialect Dialect
	Kind    Kind
	// Model is the model that the path names, which is the one that a worker
	// serves whatever the body says; empty where the path names none.
	Model string
	// Stream says that the path asks for a stream.
	Stream bool
	// Form says that the body may be a form, of recordings or images, instead
	// of JSON. A form is passed on unread.
	Form bool
}

// Metered reports whether the bodies of the endpoint are read: all but plain
// traffic and lists.
func (e Endpoint) Metered() bool {
	return e.Kind != Other && e.Kind != ModelList && e.Kind != CountTokens
}

// TakesSlot reports whether the endpoint keeps a worker busy.
func (e Endpoint) TakesSlot() bool { return e.Kind != ModelList && e.Kind != CountTokens }

// Generates reports whether the endpoint's answer is made of output tokens, so
// that they are reserved before it runs.
func (e Endpoint) Generates() bool {
	switch e.Kind {
	case ChatCompletions, Completions, Responses, Messages, GenerateContent, OllamaChat, OllamaGenerate:
		return true
	}
	return false
}

// Ask is what a request asks for before it runs. Token counts are estimates
// unless said otherwise.
type Ask struct {
	Endpoint
	// Model is the model's name as the client wrote it; empty when it named
	// none or the path is plain.
	Model string
	// Stream says that the client wants the answer as a stream.
	Stream bool
	// Input is the estimated number of input tokens; LeastInput is the number
	// below which the real one cannot lie.
	Input, LeastInput int64
	// TextBytes is the number of bytes of text that Input was estimated from,
	// media and token ids not counted.
	TextBytes int64
	// MaxOutput is the largest of the request's own maxima times its number
	// of answers (n, best_of); negative when the request names none.
	MaxOutput int64
	// Answers is the number of answers asked for (n, best_of), at least 1.
	Answers int64
}

// Source says where a Usage comes from.
type Source uint8

// The sources of a usage, from the best to the last resort.
const (
	// Reported by the worker.
	Reported Source = iota
	// Counted from what streamed past.
	Counted
	// Reserved: nothing could be known, the reservation stands.
	Reserved
)

// Usage is what a request really used, in tokens. CachedInput, which was read
// from a cache, and CacheWrites, which was written to one, are parts of Input.
type Usage struct {
	Input, Output, CachedInput, CacheWrites int64
	// LongCacheWrites are those of CacheWrites that are kept for an hour.
	LongCacheWrites int64
	Source          Source
}

// A Verdict is what was decided of one limited request.
type Verdict struct {
	Allowed bool
	// Shadow says that it was allowed, and that Rule, which is not enforced,
	// would have denied it.
	Shadow bool
	// Code is why it was denied, as the client reads it: rate_limit_exceeded,
	// queue_full …; empty when it was allowed.
	Code string
	// Rule is the rule that binds; empty when none does.
	Rule string
	// Caller asked for Path (cleaned) and Model; empty where not known.
	Caller      *Caller
	Path, Model string
	// Wait is how long a denied client is told to wait; 0 when it is told not
	// to come back.
	Wait time.Duration
	// RequestID is the one that the client reads.
	RequestID string
}
