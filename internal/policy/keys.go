package policy

import (
	"hash/maphash"
	"strconv"
	"sync/atomic"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// The keys of counters. A plan's is the caller's ID alone, which begins as none
// of the others does: two plans are not two budgets.
const (
	globalKey   = "global"
	modelKey    = "model|"
	endpointKey = "endpoint|"
	ruleKey     = "rule|"
)

// keys keeps the text of keys that were made lately, so that who asks often
// costs no allocation. Each has a place that its hash says, and gives way to the
// next one there: a flood of new keys takes no memory.
type keys struct {
	seed maphash.Seed
	kept *[1 << 11]atomic.Pointer[string]
}

func newKeys() keys {
	return keys{maphash.MakeSeed(), new([1 << 11]atomic.Pointer[string])}
}

// text returns a key as a string.
func (k *keys) text(key []byte) string {
	place := &k.kept[maphash.Bytes(k.seed, key)%uint64(len(k.kept))]
	if s := place.Load(); s != nil && *s == string(key) {
		return *s
	}
	s := string(key)
	place.Store(&s)
	return s
}

// caller returns the key of what is counted per caller beside its plan.
func (k *keys) caller(prefix, name string, c *traffic.Caller) string {
	var room [256]byte
	key := append(append(append(room[:0], prefix...), name...), '|')
	return k.text(append(key, c.ID...))
}

// maxText is how much counts of a text that clients choose.
const maxText = 128

// appendValue appends a value to a key such that no two lists of values look the
// same.
func appendValue(key []byte, value string) []byte {
	key = append(strconv.AppendInt(append(key, '|'), int64(len(value)), 10), ':')
	return append(key, value...)
}

// overflow is the keys of the counters that those share who find no room for one
// of their own: who is not verified one, and each tenant one. Those of tenants are
// made as they are asked for: tenants times rules would be more than either says.
type overflow struct{ others, verified string }

func newOverflow(key string) overflow { return overflow{key + "|overflow", key + "|overflow of "} }

func (o *overflow) of(k *keys, c *traffic.Caller) string {
	switch {
	case !c.Verified:
		return o.others
	case c.Tenant == "":
		return o.verified
	}
	var room [256]byte
	return k.text(append(append(room[:0], o.verified...), c.Tenant...))
}
