package identity_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/clientaddr"
	"github.com/penstock-dev/penstock/internal/identity"
	"github.com/penstock-dev/penstock/internal/traffic"
)

var (
	nameKey = [32]byte{1, 2, 3}
	proxies = clientaddr.Trusted{netip.MustParsePrefix("10.0.0.0/8")}
)

func sum(key string) [32]byte { return sha256.Sum256([]byte(key)) }

// keyed says the same as identity of a key without a name, in plain words.
func keyed(key string) traffic.Caller {
	digest := sum(key)
	name := sha256.Sum256(slices.Concat(nameKey[:], digest[:]))
	return traffic.Caller{
		ID:       "key-sha256:" + hex.EncodeToString(digest[:]),
		Name:     "key-" + hex.EncodeToString(name[:])[:8],
		Verified: true,
		Role:     "user",
	}
}

func newIdentifier(t interface{ Fatal(...any) }, unknown identity.UnknownKeys, learned *identity.Learned) *identity.Identifier {
	i, err := identity.New(identity.Options{
		Keys: []identity.Key{
			{ID: "alice", Digest: sum("alice-key")},
			{Digest: sum("nameless-key")},
			{ID: "root", Digest: sum("root-key"), Bypass: true, Role: "admin", Tenant: "acme"},
			{ID: "alice", Digest: sum("alice-new-key")},
			{ID: "long", Digest: sum(strings.Repeat("x", 4096))},
			{ID: "too long", Digest: sum(strings.Repeat("x", 4097))},
		},
		UnknownKeys: unknown,
		Trusted:     proxies,
		NameKey:     nameKey,
		Learned:     learned,
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func request(remote string, header http.Header) *http.Request {
	return &http.Request{RemoteAddr: remote, Header: header}
}

func TestIdentify(t *testing.T) {
	const remote = "192.0.2.1:1234"
	byAddress := traffic.Caller{ID: "addr:192.0.2.1", Name: "192.0.2.1", Role: "anonymous"}
	alice := traffic.Caller{ID: "key:alice", Name: "alice", Verified: true, Listed: true, Role: "user"}
	nameless := keyed("nameless-key")
	nameless.Listed = true
	root := traffic.Caller{ID: "key:root", Name: "root", Verified: true, Listed: true, Bypass: true, Role: "admin", Tenant: "acme"}
	long, tooLong := strings.Repeat("x", 4096), strings.Repeat("x", 4097)

	var learned identity.Learned
	learned.Learn(sum("learned-key"), time.Now())

	for _, c := range []struct {
		name    string
		unknown identity.UnknownKeys
		remote  string
		header  http.Header
		want    traffic.Caller
		source  string
		key     string
	}{
		{"no key", identity.ByAddress, remote, nil, byAddress, "", ""},
		{"no key, trust", identity.Trust, remote, nil, byAddress, "", ""},
		{"no key, learn", identity.Learn, remote, nil, byAddress, "", ""},
		{"named", identity.ByAddress, remote, bearer("alice-key"), alice, "Authorization", "alice-key"},
		{"named, its new key", identity.ByAddress, remote, bearer("alice-new-key"), alice, "Authorization", "alice-new-key"},
		{"named, trust", identity.Trust, remote, bearer("alice-key"), alice, "Authorization", "alice-key"},
		{"nameless", identity.ByAddress, remote, bearer("nameless-key"), nameless, "Authorization", "nameless-key"},
		{"bypass", identity.ByAddress, remote, http.Header{"X-Api-Key": {"root-key"}}, root, "X-Api-Key", "root-key"},
		{"unknown", identity.ByAddress, remote, bearer("who"), byAddress, "Authorization", "who"},
		{"unknown, trust", identity.Trust, remote, bearer("who"), keyed("who"), "Authorization", "who"},
		{"unknown, not learned", identity.Learn, remote, bearer("who"), byAddress, "Authorization", "who"},
		{"unknown, learned", identity.Learn, remote, bearer("learned-key"), keyed("learned-key"), "Authorization", "learned-key"},
		{
			"4096 bytes", identity.ByAddress, remote, bearer(long),
			traffic.Caller{ID: "key:long", Name: "long", Verified: true, Listed: true, Role: "user"},
			"Authorization", long,
		},
		{"4097 bytes", identity.ByAddress, remote, bearer(tooLong), byAddress, "Authorization", tooLong},
		{"4097 bytes, trust", identity.Trust, remote, bearer(tooLong), keyed(tooLong), "Authorization", tooLong},
		{
			"IPv6", identity.ByAddress, "[2001:db8:1:2::3]:1", nil,
			traffic.Caller{ID: "addr:2001:db8:1:2::/64", Name: "2001:db8:1:2::/64", Role: "anonymous"},
			"", "",
		},
		{"unix socket", identity.ByAddress, "@", nil, traffic.Caller{ID: "addr:unknown", Name: "unknown", Role: "anonymous"}, "", ""},
		{"behind a proxy", identity.ByAddress, "10.0.0.1:1", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, byAddress, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(c.remote, c.header)
			c.want.Addr, c.want.AddrCertain = proxies.Client(r)
			var want identity.Credential
			if c.key != "" {
				want = identity.Credential{Header: c.source, Digest: sum(c.key)}
			}
			caller, cred := newIdentifier(t, c.unknown, &learned).Identify(r)
			if d := cmp.Diff(c.want, caller, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("caller (-want +got):\n%s", d)
			}
			if cred != want {
				t.Errorf("credential = %v, want %v", cred, want)
			}
		})
	}
}

// A learned key stops being a caller ten minutes after it was last learned.
func TestLearnedKeyExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var learned identity.Learned
		i := newIdentifier(t, identity.Learn, &learned)
		verified := func() bool {
			c, _ := i.Identify(request("192.0.2.1:1", bearer("who")))
			return c.Verified
		}
		learned.Learn(sum("who"), time.Now())
		time.Sleep(10*time.Minute - 1)
		if !verified() {
			t.Error("not verified just before ten minutes")
		}
		time.Sleep(time.Nanosecond)
		if verified() {
			t.Error("verified at ten minutes")
		}
	})
}

func TestNew(t *testing.T) {
	key := func(id string, bypass bool) identity.Key {
		return identity.Key{ID: id, Digest: sum("the-key"), Bypass: bypass}
	}
	for _, c := range []struct {
		name string
		o    identity.Options
		want string
	}{
		{"no name key", identity.Options{}, "identity: NameKey is zero: fill it with random bytes"},
		{
			"no such policy",
			identity.Options{NameKey: nameKey, UnknownKeys: 3},
			"identity: UnknownKeys is 3: give ByAddress, Trust or Learn",
		},
		{
			"nothing to learn with",
			identity.Options{NameKey: nameKey, UnknownKeys: identity.Learn},
			"identity: UnknownKeys is Learn without Learned: give one",
		},
		{
			"no digest",
			identity.Options{NameKey: nameKey, Keys: []identity.Key{key("a", false), {ID: "b"}}},
			`identity: key 2 ("b") has no digest: give the SHA-256 of its text`,
		},
		{
			"two names",
			identity.Options{NameKey: nameKey, Keys: []identity.Key{key("a", false), key("", true), key("b", false)}},
			`identity: "a" and "b" are the same key: give it one id`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := identity.New(c.o); err == nil || err.Error() != c.want {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}

	// The same key, listed in several places, adds up in any order.
	for _, keys := range [][]identity.Key{
		{key("a", false), key("", true)},
		{key("", true), key("a", false)},
		{key("a", true), key("a", false), key("", false)},
	} {
		i, err := identity.New(identity.Options{NameKey: nameKey, Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		c, _ := i.Identify(request("192.0.2.1:1", bearer("the-key")))
		if c.ID != "key:a" || !c.Bypass || !c.Listed {
			t.Errorf("%v: %+v", keys, c)
		}
	}
}

// drawHeader draws a header with keys from pool in it, in every place and in
// all kinds of spelling.
func drawHeader(t *rapid.T, pool *rapid.Generator[string]) http.Header {
	h := http.Header{}
	schemes := rapid.SampledFrom([]string{"Bearer ", "bearer ", "BEARER  ", "Bearer", "Basic ", "", "Bearer x "})
	for _, name := range keyNames {
		for range rapid.IntRange(0, 2).Draw(t, name+" lines") {
			line := pool.Draw(t, name)
			if name == "Authorization" {
				line = schemes.Draw(t, "scheme") + line
			}
			h[name] = append(h[name], line)
		}
	}
	return h
}

// Whatever unlisted key a client shows, it stays the caller of its address.
func TestUnlistedKeyChangesNothing(t *testing.T) {
	i := newIdentifier(t, identity.ByAddress, nil)
	rapid.Check(t, func(t *rapid.T) {
		remote := rapid.SampledFrom([]string{"192.0.2.1:1", "[2001:db8::1]:1", "10.0.0.1:1", "@"}).Draw(t, "remote")
		got, _ := i.Identify(request(remote, drawHeader(t, rapid.StringMatching(`[A-Z ]{0,20}`))))
		want, _ := i.Identify(request(remote, nil))
		if got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// The text of a key is in no field of what Identify returns.
func TestKeyTextStaysOut(t *testing.T) {
	secret := rapid.StringMatching(`[G-Z]{6,40}`) // no hex digit, no letter of a name
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(secret, 1, 3).Draw(t, "keys")
		now := time.Now()
		var learned identity.Learned
		learned.Learn(sum(keys[0]), now)
		o := identity.Options{
			UnknownKeys: identity.UnknownKeys(rapid.IntRange(0, 2).Draw(t, "unknown")),
			NameKey:     nameKey,
			Learned:     &learned,
		}
		if rapid.Bool().Draw(t, "listed") {
			o.Keys = []identity.Key{{Digest: sum(keys[0])}}
		}
		i, err := identity.New(o)
		if err != nil {
			t.Fatal(err)
		}
		caller, cred := i.Identify(request("192.0.2.1:1", drawHeader(t, rapid.SampledFrom(keys))))
		for _, key := range keys {
			if all := fmt.Sprintf("%+v %+v", caller, cred); strings.Contains(all, key) {
				t.Fatalf("%s holds %s", all, key)
			}
		}
	})
}

// cases are the paths of which the cost matters.
func cases(t interface{ Fatal(...any) }) map[string]func() (traffic.Caller, identity.Credential) {
	listed := request("192.0.2.1:1", bearer("alice-key"))
	var learned identity.Learned
	learned.Learn(sum("who-goes-there-in-the-dark-of-the-night-on-the-hill"), time.Now())
	unknown := request("192.0.2.1:1", bearer("who-goes-there-in-the-dark-of-the-night-on-the-hill"))
	nobody := request("[2001:db8::1]:1", nil)
	by, trust, learn := newIdentifier(t, identity.ByAddress, nil), newIdentifier(t, identity.Trust, nil), newIdentifier(t, identity.Learn, &learned)
	return map[string]func() (traffic.Caller, identity.Credential){
		"listed":          func() (traffic.Caller, identity.Credential) { return by.Identify(listed) },
		"address":         func() (traffic.Caller, identity.Credential) { return by.Identify(nobody) },
		"unknown":         func() (traffic.Caller, identity.Credential) { return by.Identify(unknown) },
		"unknown trusted": func() (traffic.Caller, identity.Credential) { return trust.Identify(unknown) },
		"unknown learned": func() (traffic.Caller, identity.Credential) { return learn.Identify(unknown) },
	}
}

func TestAllocations(t *testing.T) {
	most := map[string]float64{"listed": 0, "address": 1, "unknown": 1}
	for name, identify := range cases(t) {
		if want, ok := most[name]; ok {
			if n := testing.AllocsPerRun(100, func() { identify() }); n > want {
				t.Errorf("%s: %v allocations, want at most %v", name, n, want)
			}
		}
	}
}

func BenchmarkIdentify(b *testing.B) {
	for name, identify := range cases(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				identify()
			}
		})
	}
}

func TestListed(t *testing.T) {
	i, err := identity.New(identity.Options{NameKey: [32]byte{1}, Keys: []identity.Key{
		{ID: "bob", Digest: [32]byte{1}},
		{ID: "alice", Digest: [32]byte{2}},
		{ID: "alice", Digest: [32]byte{3}}, // a second key of hers
		{Digest: [32]byte{4}},
		{Digest: [32]byte{1}, Bypass: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range i.Listed() {
		names = append(names, c.ID)
	}
	want := []string{"key-sha256:04" + strings.Repeat("00", 31), "key:alice", "key:bob"}
	if !slices.Equal(names, want) {
		t.Errorf("listed %q, want %q", names, want)
	}
}
