// Package config turns one YAML file, the flags and the environment into a
// Config: plain data, complete with its defaults. It is strict. An unknown
// key, a wrong type or a contradiction is an error, and all errors of a file
// are reported at once, each with its line and what to write instead.
// Nothing here opens a connection, starts anything or keeps state.
package config

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/penstock-dev/penstock/internal/pricing/usd"
)

// Config is everything that the gateway is told, with defaults filled in.
// Load and Parse return only those that are valid. It is plain data: nothing
// in it changes after it was returned.
type Config struct {
	// Listen and AdminListen are host:port. An empty host is every address.
	Listen      string
	AdminListen string
	Admin       Admin
	// TrustedProxies are the networks whose forwarding headers count; empty
	// is nobody.
	TrustedProxies []netip.Prefix
	RequestTimeout time.Duration
	ShutdownGrace  time.Duration
	// MaxBodyBytes bounds one request body, MaxBufferedBytes all of those
	// that are held at a time. The second is never below the first.
	MaxBodyBytes     int64
	MaxBufferedBytes int64
	Routes           Routes
	Workers          []Worker
	WorkerPolicy     WorkerPolicy
	Admission        Admission
	Auth             Auth
	RateLimiting     RateLimiting
	Estimate         Estimate
	Pricing          Pricing
	Metrics          Metrics
	Log              Log

	// Where all of it was said, for Warning.
	file   string
	places places
}

// Admin is the admin port's own section.
type Admin struct {
	// Token is that of the file or of PENSTOCK_ADMIN_TOKEN in the environment.
	// It is empty when there is none: then AdminListen is loopback.
	Token Secret
}

// Routes says which of the routes that are closed by default are open.
type Routes struct {
	// Allow holds cleaned paths. One that ends in /* is all below it.
	Allow []string
}

// Auth says whose word counts for who is asking.
type Auth struct {
	// UnknownKeys is by_address, trust or learn.
	UnknownKeys string
	// Keys are the listed keys, each with its ID.
	Keys []Key
}

// Key is a listed API key, of which only the digest is kept.
type Key struct {
	// ID is the key's given name; empty for a key that is listed only by its
	// value, in per_key or bypass.
	ID string
	// Digest is the SHA-256 of the key as a client sends it.
	Digest [32]byte
	// Role and Tenant are what auth.keys says of its holder; empty where it
	// says nothing.
	Role, Tenant string
	// Line is where this listing stands in the file.
	Line int
}

// RateLimiting is the section of the same name.
type RateLimiting struct {
	// Enabled is false when the section is absent or says so; then none of its
	// limits holds, nor Bypass and Concurrent. How denials look is said of those
	// by admission, too.
	Enabled bool
	// Default is the plan of every caller: the limits under default and those
	// under limits, together.
	Default Limits
	// Turn is what default says of the turns of every caller.
	Turn Turn
	// Strategy is the family that limits was held to: requests, tokens, cost
	// or concurrent; empty for any.
	Strategy    string
	Concurrent  Concurrent
	PerKey      PerKey
	Roles       []RoleLimits
	PerModel    PerModel
	PerEndpoint []EndpointLimits
	Rules       []Rule
	// Storage is memory.
	Storage string
	// StateFile is where counters survive a restart; empty for nowhere. A
	// path that is not absolute is relative to where the program runs.
	StateFile       string
	CleanupInterval time.Duration
	Headers         Headers
	ErrorResponse   ErrorResponse
	// Algorithm is sliding_window, fixed_window or token_bucket.
	Algorithm string
	Window    Window
	Burst     Burst
	Bypass    Bypass
	// Global is what all callers share.
	Global Limits
	// MaxKeys and MaxMemory (bytes) bound the counters.
	MaxKeys   int64
	MaxMemory int64
}

// Limits are the limits of one tier in the order of the file, no name twice.
type Limits []Limit

// Limit is one amount of one unit per calendar word.
type Limit struct {
	// Name is the key in the file, such as tokens_per_minute.
	Name string
	// Unit is requests, tokens, input_tokens, output_tokens, cost or
	// concurrent.
	Unit string
	// Per is second, minute, hour, day or month; empty for concurrent.
	Per string
	// Amount is from 1 to 2^53, of cost in nano-USD; 0 when Unlimited.
	Amount int64
	// Unlimited lifts what a plan underneath says for the same name.
	Unlimited bool
	// Line is where it stands in the file.
	Line int
}

// Turn says whose turn it is where requests wait for a slot. What is empty or 0
// was not said, which is left to the plan underneath, and at last the class
// default and the weight 1.
type Turn struct {
	// Priority is interactive, default or bulk.
	Priority string
	// Weight is from 1 to 1000: what a caller gets beside others of its class.
	Weight int64
}

// Concurrent is one gateway's own slots.
type Concurrent struct {
	Enabled       bool
	MaxConcurrent int
	QueueTimeout  time.Duration
}

// PerKey holds the overrides of single keys.
type PerKey struct {
	Enabled bool
	Keys    []KeyLimits
}

// KeyLimits overrides the default plan for one key, field by field.
type KeyLimits struct {
	Key    Key
	Limits Limits
	Turn   Turn
}

// PerModel holds the limits that stack on a caller's plan by model.
type PerModel struct {
	Enabled bool
	// Scope is caller (one budget per caller and entry) or all (one for all
	// callers together).
	Scope  string
	Models []ModelLimits
}

// ModelLimits are the limits of the models that one name or glob matches.
type ModelLimits struct {
	Name   string
	Limits Limits
}

// RoleLimits overrides the default plan for the callers of one role, field by
// field; what per_key says of a key comes over it.
type RoleLimits struct {
	Name   string
	Limits Limits
	Turn   Turn
}

// EndpointLimits are the limits that stack on a caller's plan by what it asks.
type EndpointLimits struct {
	// Path is a cleaned path; * in it stands for any letters.
	Path string
	// Methods are in upper case; none is every method.
	Methods []string
	Limits  Limits
	Line    int
}

// Rule is one limit of the general form: for whom, counted per what; or a
// priority, or both.
type Rule struct {
	// Name differs from those of all other rules, and from theirs with
	// .candidate added.
	Name  string
	Match Match
	// Per is any of caller, key, tenant, role, tier, model, path, ip and
	// ip6_48, each once; none is one counter for all.
	Per []string
	// Limit has no Unit where the rule has none.
	Limit RuleLimit
	// Priority is the class of the requests that match, whatever their plans
	// say: interactive, default or bulk; empty where the rule says none. The
	// first rule that matches and has one decides.
	Priority string
	// Shadow says that it decides nothing and is counted only.
	Shadow bool
	// Candidate is another amount of the same limit, which decides nothing
	// and is counted only; 0 for none.
	Candidate int64
	Line      int
}

// Match says which requests a rule is for: those that every list has a match
// for. An empty list is for all.
type Match struct {
	// Models and Paths may have a * in them, which stands for any letters.
	Models, Paths []string
	// Methods are in upper case.
	Methods        []string
	Roles, Tenants []string
	// Keys are ids of auth.keys, whether there is one of that id or not.
	Keys []string
	IPs  []netip.Prefix
}

// RuleLimit is what a rule holds its requests to.
type RuleLimit struct {
	// Unit is requests, tokens, input_tokens, output_tokens, cost or
	// concurrent.
	Unit string
	// Amount is from 1 to 2^53, of cost in nano-USD.
	Amount int64
	// Window is 0 for concurrent and for Month, a calendar month in UTC.
	Window time.Duration
	Month  bool
	// Algorithm is sliding_window, fixed_window or token_bucket; empty for
	// concurrent.
	Algorithm string
	// Capacity is that of a token bucket; 0 for the amount.
	Capacity int64
	// Precision divides the window of a sliding window into at most 120
	// steps; 0 leaves the choice to the algorithm.
	Precision time.Duration
}

// Headers says which rate-limit headers a response carries.
type Headers struct {
	Enabled bool
	// Limit, Remaining and Reset are header names; Reset with "-After" added
	// is the fourth.
	Limit, Remaining, Reset string
	RetryAfter              bool
	// Sets are any of ietf, openai and anthropic. Nil means what the path's
	// dialect has, empty means none.
	Sets []string
}

// ErrorResponse is what a rate denial looks like.
type ErrorResponse struct {
	StatusCode int
	// Message is empty for the standard one.
	Message           string
	IncludeRetryAfter bool
	// Body is json or none.
	Body string
	// Global is document or dialect: the shape of the global limit's answer.
	Global string
}

// Window says over what the per-minute limits are measured.
type Window struct {
	// Size is from a second to a day. Each per-minute
	// amount times Size over a minute is a whole number.
	Size time.Duration
	// Precision divides Size into at most 120 steps; 0 leaves the choice to
	// the algorithm.
	Precision time.Duration
}

// Burst smooths: the shortest limit of each unit gets a shorter one beside it,
// of Multiplier times its rate over Window.
type Burst struct {
	Enabled bool
	// Multiplier is in billionths: 2.0 is 2,000,000,000.
	Multiplier int64
	// Window is shorter than that of every limit that it smooths.
	Window time.Duration
}

// Bypass is who and what skips every limit.
type Bypass struct {
	Paths []string
	Keys  []Key
	IPs   []netip.Prefix
}

// Estimate says how the tokens of a request are guessed before it ran.
type Estimate struct {
	// Output and MediaPart are tokens.
	Output    int64
	MediaPart int64
	// Reserve is learned or max.
	Reserve string
	// OnOverrun is continue or stop.
	OnOverrun string
}

// Pricing says what tokens cost, over the built-in table.
type Pricing struct {
	// Default is the price of a model that is listed nowhere; its Input and
	// Output are there.
	Default Price
	// Models are in the order of the file, no name twice.
	Models []ModelPrice
}

// ModelPrice is the price of the models that one name or glob matches.
type ModelPrice struct {
	Name  string
	Price Price
}

// Price is in nano-USD per million tokens. What is nil was not said: that is
// left to the built-in table.
type Price struct {
	Input, Output, CachedInput, CacheWrites *int64
}

// Metrics is the section of the same name.
type Metrics struct {
	// Prefix begins every metric's name; it may be empty.
	Prefix string
}

// Log is the section of the same name.
type Log struct {
	Level slog.Level
	// Format is json or text.
	Format string
	// Decisions is denied, all or sampled.
	Decisions string
}

// Default returns what an absent key means. A Config that Load or Parse
// returns differs from it only in what the file or a flag says, except that
// TrustedProxies is empty when Listen is not loopback.
func Default() Config {
	return Config{
		Listen:           "127.0.0.1:3000",
		AdminListen:      "127.0.0.1:3001",
		TrustedProxies:   loopbackNetworks(),
		RequestTimeout:   30 * time.Minute,
		ShutdownGrace:    3 * time.Minute,
		MaxBodyBytes:     64 << 20,
		MaxBufferedBytes: 1 << 30,
		WorkerPolicy: WorkerPolicy{
			StartupTimeout: 30 * time.Minute,
			Health:         Health{Path: "/health", Interval: 10 * time.Second},
			Retries:        2,
			Breaker:        Breaker{Failures: 10, Open: 30 * time.Second},
		},
		Admission: Admission{MaxConcurrent: -1, QueueSize: 100, QueueTimeout: time.Minute},
		Auth:      Auth{UnknownKeys: "by_address"},
		RateLimiting: RateLimiting{
			Concurrent:      Concurrent{QueueTimeout: time.Minute},
			PerModel:        PerModel{Scope: "caller"},
			Storage:         "memory",
			CleanupInterval: time.Minute,
			Headers: Headers{
				Enabled:    true,
				Limit:      "X-RateLimit-Limit",
				Remaining:  "X-RateLimit-Remaining",
				Reset:      "X-RateLimit-Reset",
				RetryAfter: true,
			},
			ErrorResponse: ErrorResponse{
				StatusCode:        429,
				IncludeRetryAfter: true,
				Body:              "json",
				Global:            "document",
			},
			Algorithm: "sliding_window",
			Window:    Window{Size: time.Minute},
			MaxKeys:   1_000_000,
			MaxMemory: 256 << 20,
		},
		Estimate: Estimate{Output: 1024, MediaPart: 1000, Reserve: "learned", OnOverrun: "continue"},
		Pricing:  Pricing{Default: Price{Input: new(75 * usd.Dollar), Output: new(150 * usd.Dollar)}},
		Metrics:  Metrics{Prefix: "penstock_"},
		Log:      Log{Level: slog.LevelInfo, Format: "json", Decisions: "denied"},
	}
}
