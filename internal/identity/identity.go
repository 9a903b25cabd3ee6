// Package identity finds who is asking: request -> caller, by the API key that
// the request shows and else by its address.
package identity

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/clientaddr"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// UnknownKeys says who a request is that shows a key which is not listed.
type UnknownKeys uint8

// What to make of an unknown key.
const (
	// ByAddress makes it the caller of its address, whatever key it shows:
	// fresh random keys must not buy fresh limits.
	ByAddress UnknownKeys = iota
	// Trust makes every key a caller, for use behind a proxy that has already
	// checked it.
	Trust
	// Learn makes a key a caller while Options.Learned knows it.
	Learn
)

// Key is one listed key.
type Key struct {
	// ID names the caller, never by the key's own text; empty where it has no
	// name. Keys with the same ID are the same caller, as when one replaces
	// the other.
	ID string
	// Digest is the SHA-256 of the key's text.
	Digest [sha256.Size]byte
	// Bypass says that the key skips every limit.
	Bypass bool
	// Role and Tenant are its holder's. Empty is [traffic.RoleUser], and no tenant.
	Role, Tenant string
}

// Options is what New needs.
type Options struct {
	// Keys are the listed keys. One that is listed twice has the ID of either
	// and bypasses if either does, with the role and tenant of the first that
	// has one.
	Keys []Key
	// UnknownKeys says what the other keys are.
	UnknownKeys UnknownKeys
	// Trusted is the proxies that are believed about the client's address.
	Trusted clientaddr.Trusted
	// NameKey keys the short hashes that stand for keys in logs and metrics.
	// It must not be zero.
	NameKey [32]byte
	// Learned is needed by Learn and not used otherwise.
	Learned *Learned
}

// Identifier tells callers apart. It is safe for concurrent use.
type Identifier struct {
	listed  map[[sha256.Size]byte]traffic.Caller
	unknown UnknownKeys
	trusted clientaddr.Trusted
	nameKey [32]byte
	learned *Learned
}

// New returns an Identifier, or an error that names what is missing or
// contradicts itself.
func New(o Options) (*Identifier, error) {
	switch {
	case o.NameKey == [32]byte{}:
		return nil, errors.New("identity: NameKey is zero: fill it with random bytes")
	case o.UnknownKeys > Learn:
		return nil, fmt.Errorf("identity: UnknownKeys is %d: give ByAddress, Trust or Learn", o.UnknownKeys)
	case o.UnknownKeys == Learn && o.Learned == nil:
		return nil, errors.New("identity: UnknownKeys is Learn without Learned: give one")
	}
	i := &Identifier{
		listed:  make(map[[sha256.Size]byte]traffic.Caller, len(o.Keys)),
		unknown: o.UnknownKeys,
		trusted: o.Trusted,
		nameKey: o.NameKey,
		learned: o.Learned,
	}
	known := make(map[[sha256.Size]byte]Key, len(o.Keys))
	for n, k := range o.Keys {
		if k.Digest == [sha256.Size]byte{} {
			return nil, fmt.Errorf("identity: key %d (%q) has no digest: give the SHA-256 of its text", n+1, k.ID)
		}
		was := known[k.Digest]
		if was.ID != "" && k.ID != "" && was.ID != k.ID {
			return nil, fmt.Errorf("identity: %q and %q are the same key: give it one id", was.ID, k.ID)
		}
		k.ID, k.Bypass = cmp.Or(was.ID, k.ID), was.Bypass || k.Bypass
		k.Role, k.Tenant = cmp.Or(was.Role, k.Role), cmp.Or(was.Tenant, k.Tenant)
		known[k.Digest] = k
		c := i.byDigest(k.Digest)
		if k.ID != "" {
			c.ID, c.Name = "key:"+k.ID, k.ID
		}
		c.Listed, c.Bypass = true, k.Bypass
		c.Role, c.Tenant = cmp.Or(k.Role, traffic.RoleUser), k.Tenant
		i.listed[k.Digest] = c
	}
	return i, nil
}

// Listed returns the callers that the configuration names, each once, in the
// order of their IDs. They have no address.
func (i *Identifier) Listed() []traffic.Caller {
	callers := make([]traffic.Caller, 0, len(i.listed))
	for _, c := range i.listed {
		callers = append(callers, c)
	}
	slices.SortFunc(callers, func(a, b traffic.Caller) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(callers, func(a, b traffic.Caller) bool { return a.ID == b.ID })
}

// Identify returns the caller of r and the key that it showed, also where that
// key verifies nothing and the caller is that of its address. It never fails.
func (i *Identifier) Identify(r *http.Request) (traffic.Caller, Credential) {
	addr, certain := i.trusted.Client(r)
	cred, long := credentialOf(r.Header)
	caller, ok := i.byKey(cred, long)
	if !ok {
		caller = byAddress(addr)
	}
	caller.Addr, caller.AddrCertain = addr, certain
	return caller, cred
}

// byKey returns the caller that cred verifies, if it does. A map of digests is
// no oracle for guessing keys: who can steer a digest's bytes has its key.
func (i *Identifier) byKey(cred Credential, long bool) (traffic.Caller, bool) {
	if cred.Header == "" {
		return traffic.Caller{}, false
	}
	if !long {
		if c, ok := i.listed[cred.Digest]; ok {
			return c, true
		}
	}
	if i.unknown == Trust || i.unknown == Learn && i.learned.Known(cred.Digest, time.Now()) {
		return i.byDigest(cred.Digest), true
	}
	return traffic.Caller{}, false
}

const (
	digestID = "key-sha256:" // and the digest in hex: the ID of a key without a name
	hashName = "key-"        // and 8 digits of a keyed hash of the digest: its Name
	addrID   = "addr:"       // and the network in text: the ID of a caller without a key
)

// byDigest returns the caller of a verified key without a name. ID and Name
// are cut from one string.
func (i *Identifier) byDigest(digest [sha256.Size]byte) traffic.Caller {
	// Key and message each have one length, so that there is nothing to extend: it
	// takes no HMAC.
	var keyed [2 * sha256.Size]byte
	copy(keyed[:], i.nameKey[:])
	copy(keyed[sha256.Size:], digest[:])
	sum := sha256.Sum256(keyed[:])

	const cut = len(digestID) + 2*sha256.Size
	var room [cut + len(hashName) + 8]byte
	b := hex.AppendEncode(append(room[:0], digestID...), digest[:])
	b = hex.AppendEncode(append(b, hashName...), sum[:4])
	text := string(b)
	return traffic.Caller{ID: text[:cut], Name: text[cut:], Verified: true, Role: traffic.RoleUser}
}

// byAddress returns the caller of an address.
func byAddress(addr netip.Addr) traffic.Caller {
	var room [64]byte
	id := string(clientaddr.AppendCallerKey(append(room[:0], addrID...), addr))
	return traffic.Caller{ID: id, Name: id[len(addrID):], Role: traffic.RoleAnonymous}
}
