package queue

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// TestTurnsByTokens has two callers wait whose requests differ in size: they
// get the same tokens, not the same number of requests.
func TestTurnsByTokens(t *testing.T) {
	d := newDrive(t, Options{Slots: 1})
	d.enter(Ask{Caller: "x", Cost: 1})
	d.enterMany(20, Ask{Caller: "a", Cost: 300})
	d.enterMany(20, Ask{Caller: "b", Cost: 100})
	d.check("abbbabbbabbb")
}

func TestWeights(t *testing.T) {
	d := newDrive(t, Options{Slots: 1})
	d.enter(Ask{Caller: "x", Cost: 1})
	d.enterMany(100, Ask{Caller: "a", Cost: 100, Weight: 1})
	d.enterMany(100, Ask{Caller: "b", Cost: 100, Weight: 3})
	got := d.turns(100)
	if a, b := strings.Count(got, "a"), strings.Count(got, "b"); a != 25 || b != 75 {
		t.Errorf("%d turns of weight 1 and %d of weight 3, want 25 and 75", a, b)
	}
	if !strings.HasPrefix(got, "abbbabbbabbb") {
		t.Errorf("the turns were %s", got[:12])
	}
}

func TestWithinACallerFirstComeFirstServed(t *testing.T) {
	d := newDrive(t, Options{Slots: 1})
	d.enter(Ask{})
	for i := range 50 {
		d.enter(Ask{Caller: "ab"[i%2 : i%2+1], Cost: int64(1000 - i)})
	}
	last := map[string]int64{"a": 1001, "b": 1001}
	for range 50 {
		a := d.next()
		if a.Cost >= last[a.Caller] {
			t.Fatalf("%s's request of cost %d came after that of %d", a.Caller, a.Cost, last[a.Caller])
		}
		last[a.Caller] = a.Cost
	}
}

// TestNobodySavesUpTurns: whoever has been away starts from where those who
// stayed are.
func TestNobodySavesUpTurns(t *testing.T) {
	d := newDrive(t, Options{Slots: 1})
	d.enter(Ask{Caller: "b", Cost: 1})
	d.enterMany(100, Ask{Caller: "a", Cost: 100})
	d.check(strings.Repeat("a", 50)) // b is 5000 behind, and away
	d.enterMany(10, Ask{Caller: "b", Cost: 100})
	d.enterMany(10, Ask{Caller: "c", Cost: 100}) // a fresh name gets no more
	d.check("bcabcabca")                         // a's last one is in flight: nothing is sure of that
}

// TestServedCorrects: what a stay is really served moves its caller's next
// turn, in both directions and while others wait.
func TestServedCorrects(t *testing.T) {
	d := newDrive(t, Options{Slots: 1})
	d.enter(Ask{Caller: "x"})
	d.enterMany(20, Ask{Caller: "a", Cost: 100})
	d.enterMany(20, Ask{Caller: "b", Cost: 100})
	d.check("a")
	d.slots[0].Served(300)
	d.check("bbba") // equal at 300, and a came first
	d.slots[0].Served(500)
	d.slots[0].Served(10) // a has 310
	d.slots[0].Served(10)
	d.check("bab") // at 300, 310, 400
	d.slots[0].Served(-5)
	// b has 401, a 410: what was served at least counts 1.
	d.check("bab")
}

// TestForgivenIsNotGivenBack: a large charge that was forgiven by a lift is not
// given back as well when it turns out to have been too large.
func TestForgivenIsNotGivenBack(t *testing.T) {
	d := newDrive(t, Options{Slots: 2})
	d.enter(Ask{Caller: "x", Cost: 1})
	d.enter(Ask{Caller: "b", Cost: 1000})
	large := d.slots[1]
	d.slots = d.slots[:1] // it goes on for long
	d.enterMany(100, Ask{Caller: "a", Cost: 100})
	d.check(strings.Repeat("a", 50)) // a is at 5000 more than where it began
	d.enterMany(10, Ask{Caller: "b", Cost: 100})
	large.Served(1)
	d.check("baba")    // b is at 4900 and a at 5000, of which 100 are not sure
	large.Served(1101) // but what it is served beyond that counts
	d.check("aba")
	large.Release()
}

// TestRefundOfWhatWasNotForgiven: of a charge from before the caller came back,
// what was not forgiven then is given back.
func TestRefundOfWhatWasNotForgiven(t *testing.T) {
	d := newDrive(t, Options{Slots: 2})
	d.enter(Ask{Caller: "b", Cost: 10})
	d.enter(Ask{Caller: "x", Cost: 10})
	d.enterMany(9, Ask{Caller: "a", Cost: 10})
	d.enter(Ask{Caller: "b", Cost: 100}) // at 10
	d.check("aab")                       // at 20 and 110
	large := d.slots[1]
	d.slots = d.slots[:1]
	d.enterMany(9, Ask{Caller: "b", Cost: 10}) // comes back, 100 above the floor
	large.Served(50)                           // 60
	d.check("aaaaab")                          // at 70 and 60, of equals a first
	large.Release()
}

// TestEstimatesDoNotStarve: a caller whose requests are served a hundredth of
// what they were charged does not keep out one that comes back meanwhile, whether
// others wait by then or not.
func TestEstimatesDoNotStarve(t *testing.T) {
	d := newDrive(t, Options{Slots: 4})
	turns := func(n int) string {
		var got strings.Builder
		for range n {
			d.slots[0].Served(10)
			got.WriteString(d.next().Caller)
		}
		return got.String()
	}
	d.enterMany(4, Ask{Caller: "hog", Cost: 1000})
	d.enterMany(2, Ask{Caller: "m", Cost: 1000}) // there was no line
	d.enterMany(100, Ask{Caller: "h", Cost: 1000})
	if got, want := turns(8), "mhmhhhhh"; got != want {
		t.Errorf("the turns were %s, want %s", got, want)
	}
	d.enter(Ask{Caller: "m", Cost: 1000})
	if got, want := turns(4), "mhhh"; got != want {
		t.Errorf("when it came back the turns were %s, want %s", got, want)
	}
}

// TestFreePathCounts: what is served while nobody waits counts, too.
func TestFreePathCounts(t *testing.T) {
	d := newDrive(t, Options{Slots: 2})
	d.enter(Ask{Caller: "a", Cost: 10})
	d.enter(Ask{Caller: "b", Cost: 10})
	d.slots[0].Served(100) // a is at 100, b at 10
	d.enter(Ask{Caller: "b", Cost: 10})
	d.enterMany(9, Ask{Caller: "b", Cost: 10})
	d.enterMany(9, Ask{Caller: "a", Cost: 10})
	d.check("bbbbbbbbbba")
}

// TestLoneCaller: a caller gets everything while nobody else asks.
func TestLoneCaller(t *testing.T) {
	d := newDrive(t, Options{Slots: 4})
	d.enterMany(1000, Ask{Caller: "a", Cost: 1000})
	for range 996 {
		if n := d.q.Stats().InFlight; n != 4 {
			t.Fatalf("%d in flight", n)
		}
		d.check("a")
	}
}

func TestClasses(t *testing.T) {
	d := newDrive(t, Options{Slots: 1})
	d.enter(Ask{Caller: "x"})
	d.enterMany(3, Ask{Caller: "b", Class: traffic.ClassBulk})
	d.enterMany(3, Ask{Caller: "d"})
	d.enterMany(3, Ask{Caller: "i", Class: traffic.ClassInteractive, Cost: 1e6})
	if got, want := d.q.Stats().Classes, [3]ClassStats{
		traffic.ClassDefault:     {InFlight: 1, Waiting: 3},
		traffic.ClassInteractive: {Waiting: 3},
		traffic.ClassBulk:        {Waiting: 3},
	}; got != want {
		t.Errorf("classes %+v, want %+v", got, want)
	}
	d.check("iiidddbbb")
}

// TestStarvation counts the turns of classes that wait below others, where all
// requests are alike: each has at least one of any Turns.
func TestStarvation(t *testing.T) {
	for _, tt := range []struct {
		name string
		asks []Ask
		want string // the first turns
		each map[string]int
	}{
		{
			"bulk below interactive",
			[]Ask{{Caller: "i", Class: traffic.ClassInteractive}, {Caller: "b", Class: traffic.ClassBulk}},
			strings.Repeat("iiiiiiiiiiiiiib", 3),
			map[string]int{"i": 1400, "b": 100},
		},
		{
			"default below interactive",
			[]Ask{{Caller: "i", Class: traffic.ClassInteractive}, {Caller: "d"}},
			strings.Repeat("iiiiiiiiiiiiiiid", 3),
			map[string]int{"i": 1407, "d": 93},
		},
		{
			"three classes",
			[]Ask{{Caller: "i", Class: traffic.ClassInteractive}, {Caller: "d"}, {Caller: "b", Class: traffic.ClassBulk}},
			"iiiiiiiiiiiiiib" + "diiiiiiiiiiiiib" + "idiiiiiiiiiiiib",
			map[string]int{"i": 1313, "d": 93, "b": 94},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDrive(t, Options{Slots: 1})
			d.enter(Ask{})
			for _, a := range tt.asks {
				d.enterMany(1500, a)
			}
			got := d.turns(1500)
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("the first turns were %s, want %s", got[:len(tt.want)], tt.want)
			}
			for caller, n := range tt.each {
				if c := strings.Count(got, caller); c != n {
					t.Errorf("%d turns of %s, want %d", c, caller, n)
				}
				for i := range len(got) - Turns {
					if !strings.Contains(got[i:i+Turns], caller) {
						t.Fatalf("%s has none of turns %d to %d: %s", caller, i, i+Turns-1, got[i:i+Turns])
					}
				}
			}
		})
	}
}

// TestStarvationOfWork: a class whose requests are larger than those above has as
// many turns fewer, up to a bound; one whose requests are smaller has no more turns.
func TestStarvationOfWork(t *testing.T) {
	for cost, want := range map[int64]int{1: 1500 / 15, 10: 1500 / 15, 11: 1500 / 17, 100: 1500 / 141, 1000: 1500 / 255, 100_000: 1500 / 255} {
		d := newDrive(t, Options{Slots: 1})
		d.enter(Ask{})
		d.enterMany(1500, Ask{Caller: "i", Class: traffic.ClassInteractive, Cost: 10})
		d.enterMany(200, Ask{Caller: "b", Class: traffic.ClassBulk, Cost: cost})
		if n := strings.Count(d.turns(1500), "b"); n != want {
			t.Errorf("of 1500 turns %d go to requests %.1f times as large, want %d", n, float64(cost)/10, want)
		}
	}
}

// TestStarvationOfSurprises: a class whose requests turn out larger than they said
// has as many turns fewer.
func TestStarvationOfSurprises(t *testing.T) {
	d := newDrive(t, Options{Slots: 1})
	d.enter(Ask{})
	d.enterMany(1500, Ask{Caller: "i", Class: traffic.ClassInteractive, Cost: 10})
	d.enterMany(200, Ask{Caller: "b", Class: traffic.ClassBulk, Cost: 10})
	turns := 0
	for range 1500 {
		if d.next().Caller == "b" {
			turns++
			d.slots[len(d.slots)-1].Served(70)
		}
	}
	// 14 come before the first, and before each other 14 for each ten of what it asks
	// for and of what the one before it was more.
	if want := 1 + (1500-15)/(14*7+1); turns != want {
		t.Errorf("%d turns, want %d", turns, want)
	}
}

// TestStarvationOfGuesses: a class whose requests turn out smaller than they said has
// the turns of such as they are; what it had to wait too long for is made up for
// by its next turns, of which there are no more than one in so many.
func TestStarvationOfGuesses(t *testing.T) {
	d := newDrive(t, Options{Slots: 9})
	d.enterMany(9, Ask{})
	d.enterMany(3000, Ask{Caller: "i", Class: traffic.ClassInteractive, Cost: 100})
	d.enterMany(200, Ask{Caller: "b", Class: traffic.ClassBulk, Cost: 100})
	var open []Slot // of bulk, of which nothing is known but what they said
	bulk := func(turns int) (n int) {
		for range turns {
			caller := d.next().Caller
			last := len(d.slots) - 1
			if caller == "i" {
				d.slots[last].Served(10)
				continue
			}
			n++
			open, d.slots = append(open, d.slots[last]), d.slots[:last]
		}
		return n
	}
	known := func() {
		for _, s := range open {
			s.Served(10)
		}
		d.slots, open = append(d.slots, open...), nil
	}
	if n := bulk(8 * 141); n != 8 {
		t.Errorf("by what they said, bulk had %d turns, want 8", n)
	}
	known()
	if n := bulk(7 * 15); n != 7 {
		t.Errorf("when 720 of 800 are known to be too much, bulk has %d turns, want 7", n)
	}
	known()
	turns := 0
	for range 100 {
		turns += bulk(15)
		known()
	}
	if turns != 100 {
		t.Errorf("where all are alike, bulk has %d turns of 1500, want 100", turns)
	}
}

// TestStarvationCountsFromWaiting: a class that begins to wait has no turns due
// from before.
func TestStarvationCountsFromWaiting(t *testing.T) {
	d := newDrive(t, Options{Slots: 1})
	d.enter(Ask{})
	d.enterMany(100, Ask{Caller: "i", Class: traffic.ClassInteractive})
	d.enter(Ask{Caller: "b", Class: traffic.ClassBulk})
	d.check("iiiiiiiiiiiiiibi") // b is served, and gone
	d.check(strings.Repeat("i", 20))
	d.enter(Ask{Caller: "b", Class: traffic.ClassBulk})
	d.check("iiiiiiiiiiiiiib")
}

// TestBound is the paper's bound for two backlogged clients: of two callers who
// wait all the while, what is served to each over its weight differs by at most
// 2U. There U is max(w_p L_input, w_q M), the most that one turn of the engine can
// add to a counter. Here the most that a grant adds is the largest charge; and a
// counter can be off by what is corrected of the stays in flight: U is their sum.
func TestBound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		slots := rapid.IntRange(1, 8).Draw(rt, "slots")
		largest := rapid.Int64Range(1, 10_000).Draw(rt, "largest cost")
		correction := rapid.Int64Range(0, largest).Draw(rt, "largest correction")
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		d := newDrive(t, Options{Slots: slots})
		weights := map[string]int64{}
		served := map[string]*[2]int64{} // costs so far, at the start and now
		ask := func(name string) Ask {
			return Ask{Caller: name, Weight: weights[name], Cost: 1 + chance.Int64N(largest)}
		}
		for i := range slots {
			d.enter(Ask{Caller: "x", Cost: int64(i)})
		}
		for _, name := range []string{"a", "b", "c"} {
			weights[name] = 1 + chance.Int64N(4)
			served[name] = new([2]int64)
			d.enterMany(2, ask(name))
		}
		for round := range 400 {
			if round == 30 {
				for _, s := range served {
					s[0] = s[1]
				}
			}
			got := d.next()
			s := d.slots[len(d.slots)-1]
			served[got.Caller][1] += got.Cost
			cost := max(1, got.Cost+chance.Int64N(2*correction+1)-correction)
			if chance.IntN(2) == 0 {
				s.Served(cost)
				served[got.Caller][1] += cost - got.Cost
			}
			d.enter(ask(got.Caller)) // it goes on waiting
			if round < 30 {
				continue
			}
			for f, wf := range weights {
				for g, wg := range weights {
					// Compared times both weights, to stay whole; a charge is rounded up.
					diff := (served[f][1]-served[f][0])*wg - (served[g][1]-served[g][0])*wf
					u := (largest + 1 + int64(slots)*correction) * wf * wg
					if diff > 2*u {
						rt.Fatalf("after %d rounds %s (weight %d) is ahead of %s (weight %d) by %d of %d",
							round, f, wf, g, wg, diff, 2*u)
					}
				}
			}
		}
	})
}

// TestHogAndMouse is the picture of it: a hog keeps 200 requests of 1000 tokens
// waiting before 4 slots, each held for 10 s; a mouse asks for 100 tokens now and
// then. First come first served it would wait 500 s each time. Here it waits for
// the next slot, of which one comes free every 2.5 s: when it comes back it is lifted to
// where the hog surely is, which has more in flight.
func TestHogAndMouse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := New(Options{Slots: 4, Size: 201, Timeout: 20 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		end := time.Now().Add(20 * time.Minute)
		stay := func(a Ask) (time.Duration, bool) {
			s, err := q.Enter(t.Context(), a)
			if err != nil {
				t.Errorf("%s: %v", a.Caller, err)
				return 0, false
			}
			time.Sleep(10 * time.Second)
			s.Served(a.Cost)
			s.Release()
			return s.Waited(), true
		}
		served := map[string]int{}
		done := make(chan string)
		for i := range 204 {
			go func() {
				time.Sleep(time.Duration(min(i, 4)) * 2500 * time.Millisecond) // the slots come free one by one
				for time.Now().Before(end) {
					if _, ok := stay(Ask{Caller: "hog", Cost: 1000}); ok && time.Now().Before(end) {
						done <- "hog"
					}
				}
				done <- ""
			}()
		}
		var worst time.Duration
		go func() {
			time.Sleep(11 * time.Second)
			for time.Now().Before(end) {
				waited, _ := stay(Ask{Caller: "mouse", Cost: 100})
				worst = max(worst, waited)
				done <- "mouse"
				time.Sleep(3 * time.Second)
			}
			done <- ""
		}()
		for left := 205; left > 0; {
			who := <-done
			if who == "" {
				left--
				continue
			}
			served[who]++
		}
		t.Logf("in 20 minutes %v; the mouse waited %v at most", served, worst)
		if got, want := fmt.Sprint(served, worst), "map[hog:397 mouse:80] 2s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
