package penstock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// That a store keeps its promises across restarts is proven in
// memory_restart_test.go. Here is what a snapshot is: what is in it, what is
// refused, and that traffic goes on while it is written.

func snapshotOf(t testing.TB, s *MemoryStore, now time.Time) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Snapshot(&b, now); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restoreOf(t testing.TB, snapshot []byte, now time.Time) *MemoryStore {
	t.Helper()
	s := NewMemoryStore(MemoryOptions{})
	if left, err := s.Restore(bytes.NewReader(snapshot), now); left != 0 || err != nil {
		t.Fatalf("%d keys were left, %v", left, err)
	}
	return s
}

// standing is how a key stands, by limit.
func standing(t testing.TB, s *MemoryStore, now time.Time, limits *Limits, key string) (standing []Status) {
	t.Helper()
	var amounts Amounts
	for u := range amounts {
		amounts[u] = 1
	}
	charges := limits.Charges(key, amounts)
	if _, err := s.Look(ctx, now, charges); err != nil {
		t.Fatal(err)
	}
	for i := range charges {
		standing = append(standing, charges[i].Status)
	}
	return standing
}

var everyKind = MustLimits(
	PerMinute(Tokens, 1000),
	PerMonth(Tokens, 5000),
	Limit{Unit: Tokens, Amount: 100, Window: time.Minute, Algorithm: TokenBucket, Capacity: 700, Name: "bucket"},
	Limit{Unit: Requests, Amount: 1, Window: time.Minute, Algorithm: FixedWindow, Overdraw: true},
	InFlight(4),
)

func TestSnapshotHoldsWhatCounts(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	l := New(s)
	reserve := func(now time.Time, key string, tokens int64) *Reservation {
		r, err := l.ReserveAt(ctx, now, everyKind.Charges(key, Amounts{Requests: 1, Tokens: tokens, Concurrent: 1})...)
		if err != nil || !r.Allowed {
			t.Fatalf("%+v %v", r, err)
		}
		return r
	}
	if err := reserve(noon, "in debt", 10).SettleAt(ctx, noon, Amounts{Tokens: 20_000}); err != nil {
		t.Fatal(err)
	}
	reserve(noon, "open", 300)
	reserve(noon.Add(-time.Hour), "old", 10)
	take(t, s, noon.Add(-time.Hour), MustLimits(PerMinute(Tokens, 10)).Charges("idle", Amounts{Tokens: 1})...)

	snapshot := snapshotOf(t, s, noon)
	later := noon.Add(30 * time.Second)
	r := restoreOf(t, snapshot, later)
	if n := r.Stats().Keys; n != 3 {
		t.Errorf("%d keys, want those on which something counts", n)
	}
	for key, wanted := range map[string][]int64{ // tokens a minute, a month, bucket, requests, in flight
		"in debt": {20_000, 20_000, 19_950, 1, 0},
		"open":    {300, 300, 250, 1, 0}, // it was charged, and ended with the process
		"old":     {0, 10, 0, 0, 0},
		"unknown": {0, 0, 0, 0, 0},
	} {
		lived, restored := standing(t, s, later, everyKind, key), standing(t, r, later, everyKind, key)
		for i, want := range wanted {
			if restored[i].Used != want {
				t.Errorf("%s, limit %d: %d used, want %d", key, i, restored[i].Used, want)
			}
			if i < 4 && restored[i] != lived[i] {
				t.Errorf("%s, limit %d: %+v, of the store that lived on %+v", key, i, restored[i], lived[i])
			}
		}
	}
	// Who has the same limits as before is not laid out anew.
	if n := len(r.layouts.byShape); n != 1 {
		t.Errorf("%d layouts for the same limits", n)
	}
	if text := string(snapshot); strings.Contains(text, "in debt") || strings.Contains(text, "open") {
		t.Error("a key stands in the snapshot")
	}
}

// TestRestoredCountersMeetTheirConfiguration: limits that have changed while
// nobody ran are as after a reload.
func TestRestoredCountersMeetTheirConfiguration(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	before := MustLimits(Limit{Name: "n", Unit: Tokens, Amount: 100, Window: time.Minute}, PerDay(Tokens, 1000))
	take(t, s, noon, before.Charges("key", Amounts{Tokens: 80})...)
	r := restoreOf(t, snapshotOf(t, s, noon), noon.Add(time.Second))
	after := MustLimits(Limit{Name: "n", Unit: Tokens, Amount: 50, Window: time.Hour, Algorithm: FixedWindow})
	if got := standing(t, r, noon.Add(time.Second), after, "key")[0]; got.Used != 80 || got.Reset != 2*time.Hour-time.Second {
		t.Errorf("%+v", got)
	}
	// The limit that it has no more still counts, across another restart too.
	r = restoreOf(t, snapshotOf(t, r, noon.Add(2*time.Second)), noon.Add(3*time.Second))
	if got := standing(t, r, noon.Add(3*time.Second), before, "key"); got[0].Used != 80 || got[1].Used != 80 {
		t.Errorf("%+v", got)
	}
}

// TestRestoreGoesOnWithTheBucketsOfBefore: a bucket is filled at the same
// microseconds, also when the process began on another day, or has filled it for longer
// than can be counted.
func TestRestoreGoesOnWithTheBucketsOfBefore(t *testing.T) {
	limits := MustLimits(Limit{Unit: Tokens, Amount: 7, Window: 11 * time.Second, Algorithm: TokenBucket, Capacity: 20})
	for _, age := range []int64{86_400_000_003, decade + 1} {
		s := NewMemoryStore(MemoryOptions{})
		s.birth = noon.UnixMicro() - age
		take(t, s, noon, limits.Charges("key", Amounts{Tokens: 19})...)
		r := restoreOf(t, snapshotOf(t, s, noon), noon.Add(time.Second))
		lived, restored := standing(t, s, noon.Add(time.Second), limits, "key")[0], standing(t, r, noon.Add(time.Second), limits, "key")[0]
		if restored != lived {
			t.Errorf("filled for %d: %+v, of the store that lived on %+v", age, restored, lived)
		}
	}
}

// TestRestoreFirstVersion: it had what a bucket lacks in whole units.
func TestRestoreFirstVersion(t *testing.T) {
	limits := MustLimits(Limit{Unit: Tokens, Amount: 60, Window: time.Minute, Algorithm: TokenBucket})
	s := NewMemoryStore(MemoryOptions{})
	take(t, s, noon, limits.Charges("key", Amounts{Tokens: 7})...)
	first := snapshotOf(t, s, noon)
	parts := binary.AppendUvarint(nil, 7*1_000_000)
	at := bytes.LastIndex(first, parts)
	first = append(append([]byte(firstSnapshotHead), first[len(snapshotHead):at]...), append([]byte{7}, first[at+len(parts):]...)...)
	got := standing(t, restoreOf(t, first, noon), noon.Add(1500*time.Millisecond), limits, "key")[0]
	if want := (Status{Used: 6, Reset: 5500 * time.Millisecond}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestRestoreAfterTheClockWasSetBack: nothing is free before its time.
func TestRestoreAfterTheClockWasSetBack(t *testing.T) {
	for name, back := range map[string]time.Duration{"an hour": time.Hour, "a second": time.Second, "not at all": -time.Hour} {
		s := NewMemoryStore(MemoryOptions{})
		limits := MustLimits(PerMinute(Tokens, 10), Limit{Unit: Requests, Amount: 1, Window: 24 * time.Hour, Algorithm: FixedWindow})
		then := time.Now().Add(back)
		take(t, s, then, limits.Charges("key", Amounts{Tokens: 10, Requests: 1})...)
		r := restoreOf(t, snapshotOf(t, s, then), time.Time{})
		c := limits.Charges("key", Amounts{Tokens: 1, Requests: 1})
		at, err := r.Look(ctx, time.Time{}, c)
		if err != nil {
			t.Fatal(err)
		}
		if at.UnixMicro() < then.UnixMicro() {
			t.Errorf("%s: the store's clock went back by %v", name, then.Sub(at))
		}
		if back > 0 && (c[0].Used != 10 || c[0].Reset > 61*time.Second || c[0].Reset < 50*time.Second) {
			t.Errorf("%s: %+v, want what counts for a minute more", name, c[0].Status)
		}
		if back < 0 && c[0].Used != 0 {
			t.Errorf("%s: %+v, want a window that is over", name, c[0].Status)
		}
		if m := r.clock.read(); back > time.Minute && (m.skew > -(back-10*time.Second).Microseconds() || m.skew < -back.Microseconds()) {
			t.Errorf("%s: %d microseconds from UTC", name, m.skew)
		}
	}
}

func TestClockResumes(t *testing.T) {
	for _, step := range []struct {
		wall     time.Duration // since noon, when the new process begins
		at, skew time.Duration // of the old one, at since noon
		now      time.Duration // what the clock then shows
	}{
		{10 * time.Second, 0, 0, 10 * time.Second},
		{0, 10 * time.Second, 0, 10 * time.Second},                                   // set back while nobody ran
		{time.Hour + 10*time.Second, 0, time.Hour, 10 * time.Second},                 // set forward while the old one ran
		{10*time.Second - time.Hour, 0, -time.Hour, 10 * time.Second},                // set back while the old one ran
		{-time.Hour, 0, time.Hour, 0},                                                // both
		{300 * time.Millisecond, 500 * time.Millisecond, 0, 500 * time.Millisecond},  // slewed
		{500 * time.Millisecond, 100 * time.Millisecond, 0, 500 * time.Millisecond},  // slewed
		{24 * time.Hour, 100 * time.Millisecond, -time.Second, 24*time.Hour + 1e9*1}, // a second off
	} {
		c := &clock{anchor: noon.Add(step.wall).UnixMicro()}
		c.resume(noon.Add(step.at).UnixMicro(), step.skew.Microseconds())
		m := c.place(noon.Add(step.wall+time.Second).UnixMicro(), time.Second)
		if want := noon.Add(step.now + time.Second).UnixMicro(); m.now != want {
			t.Errorf("%+v: %d microseconds off", step, m.now-want)
		}
		if utc := m.now + m.skew; utc != noon.Add(step.wall+time.Second).UnixMicro() {
			t.Errorf("%+v: UTC is off", step)
		}
	}
}

// TestRestoreIsBounded: what finds no room is left, and said.
func TestRestoreIsBounded(t *testing.T) {
	const keys = 10_000
	s := NewMemoryStore(MemoryOptions{})
	limits := MustLimits(PerHour(Tokens, 100))
	for i := range keys {
		for step := range 3 {
			take(t, s, noon.Add(time.Duration(step)*time.Minute), limits.Charges(strconv.Itoa(i), Amounts{Tokens: 1})...)
		}
	}
	now := noon.Add(3 * time.Minute)
	snapshot := snapshotOf(t, s, now)
	for _, o := range []MemoryOptions{{MaxKeys: 10}, {MaxBytes: 1 << 19}, {MaxBytes: 1}} {
		r := NewMemoryStore(o)
		least := r.Stats().Bytes
		left, err := r.Restore(bytes.NewReader(snapshot), now)
		st := r.Stats()
		switch {
		case err != nil || st.Keys+int64(left) != keys:
			t.Errorf("%+v: %d keys, %d left, %v", o, st.Keys, left, err)
		case o.MaxKeys > 0 && left != 0:
			t.Errorf("%+v: %d keys were left", o, left)
		case o.MaxBytes > 0 && (st.Bytes > max(o.MaxBytes, least) || left == 0):
			t.Errorf("%+v: %d bytes, %d keys left", o, st.Bytes, left)
		case o.MaxBytes > 1 && st.Keys < 2000:
			t.Errorf("%+v: %d keys only", o, st.Keys)
		}
		for i := range keys { // who has come in has everything
			key := strconv.Itoa(i)
			if r.find(r.index.key.sum(key)) == 0 {
				continue
			}
			if got := standing(t, r, now, limits, key)[0].Used; got != 3 {
				t.Fatalf("%+v: key %s has %d", o, key, got)
			}
		}
	}
}

func TestSnapshotWhileOthersCount(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	twins := []*Limits{ // two limits that are always charged alike
		MustLimits(PerHour(Tokens, MaxAmount), PerDay(Tokens, MaxAmount)),
		MustLimits(PerDay(Tokens, MaxAmount), PerHour(Tokens, MaxAmount), PerMinute(Requests, 5)),
	}
	passing := MustLimits(PerSecond(Tokens, MaxAmount))
	const keys = 200
	now := func(step int64) time.Time { return noon.Add(time.Duration(step) * time.Second) }
	for i := range keys {
		take(t, s, now(0), twins[0].Charges("steady "+strconv.Itoa(i), Amounts{Tokens: 7})...)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 2))
			for step := int64(1); ; step++ {
				select {
				case <-stop:
					return
				default:
				}
				key := strconv.Itoa(rnd.IntN(keys))
				for _, c := range [][]Charge{
					twins[rnd.IntN(2)].Charges("busy "+key, Amounts{Tokens: 1}),
					passing.Charges(fmt.Sprint("once ", g, step), Amounts{Tokens: 1}),
				} {
					if _, err := s.Take(ctx, now(step/100), c); err != nil {
						t.Error(err)
						return
					}
				}
				if step%500 == 0 {
					s.Sweep(now(step / 100))
				}
			}
		})
	}
	for range 30 {
		r := restoreOf(t, snapshotOf(t, s, now(0)), now(0))
		for i := range keys {
			if got := standing(t, r, now(0), twins[0], "steady "+strconv.Itoa(i)); got[0].Used != 7 || got[1].Used != 7 {
				t.Fatalf("steady %d: %+v", i, got)
			}
			if got := standing(t, r, now(0), twins[0], "busy "+strconv.Itoa(i)); got[0].Used != got[1].Used {
				t.Fatalf("busy %d was cut in two: %+v", i, got)
			}
		}
	}
	close(stop)
	wg.Wait()
}

func TestSnapshotReportsTheWriter(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	for i := range 4000 {
		take(t, s, noon, everyKind.Charges(strconv.Itoa(i), Amounts{Tokens: 1})...)
	}
	whole := snapshotOf(t, s, noon)
	for _, room := range []int{0, len(whole) / 2, len(whole) - 1} {
		w := &narrow{room: room}
		if err := s.Snapshot(w, noon); !errors.Is(err, errNarrow) {
			t.Errorf("room for %d bytes: %v", room, err)
		}
	}
}

var errNarrow = errors.New("no space left on device")

type narrow struct{ room int }

func (w *narrow) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, errNarrow
	}
	return len(p), nil
}

func TestRestoreRefuses(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	limits := MustLimits(PerMinute(Tokens, 100))
	take(t, s, noon, limits.Charges("key", Amounts{Tokens: 3})...)
	take(t, s, noon.Add(time.Second), limits.Charges("key", Amounts{Tokens: 3})...)
	good := snapshotOf(t, s, noon.Add(time.Second))
	restoreOf(t, good, noon)

	if _, err := s.Restore(bytes.NewReader(good), noon); err == nil || err.Error() != "penstock: restore into a store that has been used: give a new one" {
		t.Errorf("into a store that has been used: %v", err)
	}
	if _, err := NewMemoryStore(MemoryOptions{}).Restore(io.MultiReader(bytes.NewReader(good[:30]), broken{}), noon); !errors.Is(err, errNarrow) {
		t.Errorf("from a reader that fails: %v", err)
	}
	for n := range good {
		_, err := NewMemoryStore(MemoryOptions{}).Restore(bytes.NewReader(good[:n]), noon)
		if want := "penstock: restore: the snapshot is damaged: it ends early"; err == nil || n > len(snapshotHead) && err.Error() != want {
			t.Errorf("cut at %d: %v", n, err)
		}
	}

	// What follows the limits of the only key: 16 bytes of hash, and two steps.
	at := bytes.Index(good, []byte("tokens_per_minute")) - 2 // number of the limits, how many they are, length of the name
	of := func(from, to int, instead ...uint64) []byte {
		b := slices.Clone(good[:from])
		for _, n := range instead {
			b = binary.AppendUvarint(b, n)
		}
		return append(b, good[to:]...)
	}
	begin := at - 1
	def := at + 2 + len("tokens_per_minute")
	hash := len(good) - 1 - 5 - 16
	for name, test := range map[string]struct {
		snapshot []byte
		want     string
	}{
		"another version":     {append([]byte("penstock counters 3\n"), good[len(snapshotHead):]...), "this is no snapshot, or one of another version of penstock"},
		"something behind":    {append(slices.Clone(good), 0), "the snapshot is damaged: something follows its end"},
		"a number too long":   {of(begin, len(good), 1<<63, 1<<63, 1<<63), "the snapshot is damaged: a number is out of bounds"},
		"a varint too long":   {append(slices.Clone(good[:begin]), bytes.Repeat([]byte{0xff}, 20)...), "the snapshot is damaged: a number is out of bounds"},
		"limits to come":      {of(begin, begin+1, 2), "the snapshot is damaged: a number is out of bounds"},
		"too many limits":     {of(at, at+1, 97), "the snapshot is damaged: a number is out of bounds"},
		"a limit twice":       {slices.Concat(of(at, at+1, 2)[:hash], good[at+1:]), "the snapshot is damaged: a limit stands there twice"},
		"no such unit":        {of(def, def+1, 77), "the snapshot is damaged: unit 77: there are 16"},
		"a time far away":     {of(len(snapshotHead), len(snapshotHead)+8, math.MaxUint64), "the snapshot is damaged: a number is out of bounds"},
		"a step far away":     {of(len(snapshotHead), len(snapshotHead)+8, 2*farTime-1), "the snapshot is damaged: a step of a window is out of bounds"},
		"the key twice":       {slices.Concat(good[:len(good)-1], []byte{1}, good[hash:]), "the snapshot is damaged: a key stands there twice"},
		"too many steps":      {of(hash+16, hash+17, 62), "the snapshot is damaged: a number is out of bounds"},
		"a step of no length": {of(hash+19, hash+20, 0), "the snapshot is damaged: the steps of a window are out of order"},
		"steps too far apart": {of(hash+19, hash+20, 61), "the snapshot is damaged: the steps of a window are out of order"},
	} {
		_, err := NewMemoryStore(MemoryOptions{}).Restore(bytes.NewReader(test.snapshot), noon)
		if err == nil || err.Error() != "penstock: restore: "+test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	// More limits than a record has words for.
	many := slices.Clone(good[:begin])
	many = binary.AppendUvarint(many, 1)
	many = binary.AppendUvarint(many, 96)
	for i := range 96 {
		name := fmt.Sprint("limit", i)
		many = append(append(binary.AppendUvarint(many, uint64(len(name))), name...), good[def:hash]...)
	}
	if _, err := NewMemoryStore(MemoryOptions{}).Restore(bytes.NewReader(many), noon); err == nil || !strings.Contains(err.Error(), "a key has too many limits") {
		t.Errorf("too many words: %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errNarrow }

// FuzzRestore: whatever is read, it is refused, or a store comes of it that is
// within its bounds, counts, and survives being written and read again.
func FuzzRestore(f *testing.F) {
	s := NewMemoryStore(MemoryOptions{})
	s.index.key = hashKey{1, 2, 3, 4, 5, 6}
	f.Add(snapshotOf(f, s, noon))
	for i := range 5 {
		key := strconv.Itoa(i)
		take(f, s, noon, everyKind.Charges(key, Amounts{Tokens: 5, Requests: 1, Concurrent: 1})...)
		take(f, s, noon.Add(time.Duration(i)*time.Second), everyKind.Charges(key, Amounts{Tokens: 5})...)
	}
	take(f, s, noon, MustLimits(PerDay(Cost, 1e9)).Charges("cost", Amounts{Cost: 1e8})...)
	f.Add(snapshotOf(f, s, noon))
	f.Add(snapshotOf(f, s, noon.Add(time.Minute)))
	f.Add([]byte(snapshotHead))
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 1 << 20
		o := MemoryOptions{MaxBytes: most}
		r := NewMemoryStore(o)
		now := noon.Add(30 * time.Second)
		if _, err := r.Restore(bytes.NewReader(b), now); err != nil {
			return
		}
		if n := r.Stats().Bytes; n > most {
			t.Fatalf("%d bytes", n)
		}
		keys := r.Stats().Keys
		again := NewMemoryStore(o)
		if left, err := again.Restore(bytes.NewReader(snapshotOf(t, r, now)), now); left != 0 || err != nil || again.Stats().Keys != keys {
			t.Fatalf("read again: %d keys of %d, %d left, %v", again.Stats().Keys, keys, left, err)
		}
		for i := range 5 {
			charges := everyKind.Charges(strconv.Itoa(i), Amounts{Tokens: 1, Requests: 1})
			if _, err := r.Take(ctx, now, charges); err != nil {
				t.Fatal(err)
			}
			for _, c := range charges {
				if c.Used < 0 || c.Reset < 0 || c.RetryAfter < 0 {
					t.Fatalf("%+v", c)
				}
			}
		}
		r.Sweep(now.Add(time.Hour))
	})
}

// million is a store of a million keys, each with a window and a bucket.
func million(b *testing.B) *MemoryStore {
	s := NewMemoryStore(MemoryOptions{MaxBytes: 1 << 30})
	limits := MustLimits(PerDay(Tokens, 1e6), Limit{Unit: Requests, Amount: 100, Window: time.Hour, Algorithm: TokenBucket})
	for i := range 1_000_000 {
		take(b, s, noon, limits.Charges(strconv.Itoa(i), Amounts{Tokens: 1000, Requests: 1})...)
	}
	return s
}

func BenchmarkSnapshot(b *testing.B) {
	s := million(b)
	size := 0
	for b.Loop() {
		size = len(snapshotOf(b, s, noon))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/key")
	b.ReportMetric(float64(size)/1e6, "bytes/key")
}

func BenchmarkRestore(b *testing.B) {
	snapshot := snapshotOf(b, million(b), noon)
	for b.Loop() {
		s := NewMemoryStore(MemoryOptions{MaxBytes: 1 << 30})
		if left, err := s.Restore(bytes.NewReader(snapshot), noon); left != 0 || err != nil {
			b.Fatal(left, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/key")
}
