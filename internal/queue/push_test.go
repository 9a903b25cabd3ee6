package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// TestPushOut fills the line with a hog's requests: others take their places,
// the newest first, until it has no more than they.
func TestPushOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 5, Timeout: time.Hour})
		pushed := outcome{Error: "pushed_out", Retry: time.Second}
		r.start("a")
		r.want(map[string]outcome{"a": {}})
		r.ask(Ask{Caller: "hog"}, "bcdef")
		r.ask(Ask{Caller: "hog"}, "g")
		r.want(map[string]outcome{"g": {Error: "full", Retry: time.Second}})
		r.ask(Ask{Caller: "mouse"}, "h")
		r.want(map[string]outcome{"f": pushed})
		r.ask(Ask{Caller: "mouse"}, "i")
		r.want(map[string]outcome{"e": pushed})
		// The hog has three and the mouse two: to trade one for one would be
		// no fairer.
		r.ask(Ask{Caller: "mouse"}, "j")
		r.want(map[string]outcome{"j": {Error: "full", Retry: time.Second}})
		r.ask(Ask{Caller: "other"}, "k")
		r.want(map[string]outcome{"d": pushed})
		// Two, two and one: a fresh name throws nobody out who has waited.
		r.ask(Ask{Caller: "fresh"}, "l")
		r.want(map[string]outcome{"c": pushed})
		r.ask(Ask{Caller: "fresher"}, "m")
		r.want(map[string]outcome{"i": pushed})
		r.ask(Ask{Caller: "freshest"}, "n")
		r.want(map[string]outcome{"n": {Error: "full", Retry: time.Second}})
		r.stats(Stats{Slots: 1, InFlight: 1, Waiting: 5, Size: 5, Granted: 1, Waited: 10, Full: 3, PushedOut: 5})
	})
}

func TestPushOutByClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 3, Timeout: time.Hour})
		pushed, full := outcome{Error: "pushed_out", Retry: time.Second}, outcome{Error: "full", Retry: time.Second}
		interactive := Ask{Caller: "x", Class: traffic.ClassInteractive}
		r.start("a")
		r.ask(Ask{Caller: "x", Class: traffic.ClassBulk}, "b")
		r.ask(Ask{Caller: "x"}, "cd")
		r.want(map[string]outcome{"a": {}})
		// The lowest class first, be it of the same caller.
		r.ask(interactive, "e")
		r.want(map[string]outcome{"b": pushed})
		r.ask(interactive, "f")
		r.want(map[string]outcome{"d": pushed})
		// Never out of a higher class.
		r.ask(Ask{Caller: "y", Class: traffic.ClassBulk}, "g")
		r.want(map[string]outcome{"g": full})
		r.ask(Ask{Caller: "y"}, "h")
		r.want(map[string]outcome{"h": full})
		r.ask(interactive, "i")
		r.want(map[string]outcome{"c": pushed})
		// Within the class: y has none, x has three.
		r.ask(Ask{Caller: "y", Class: traffic.ClassInteractive}, "j")
		r.want(map[string]outcome{"i": pushed})
		r.ask(Ask{Caller: "z", Class: 77}, "k") // no class of traffic's: the default one
		r.want(map[string]outcome{"k": full})
	})
}
