package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseServeFlags(t *testing.T) {
	text := func(s string) *string { return &s }
	seconds := func(n time.Duration) *time.Duration { d := n * time.Second; return &d }
	tests := []struct {
		args string
		path string
		want Flags
		err  string
	}{
		{args: ""},
		{args: "--config a.yaml", path: "a.yaml"},
		{args: "--config=a.yaml", path: "a.yaml"},
		{args: "-config a.yaml", path: "a.yaml"},
		{args: "--config a.yaml --config b.yaml", path: "b.yaml"},
		{args: "--listen :1 --admin-listen=:2", want: Flags{Listen: text(":1"), AdminListen: text(":2")}},
		{args: "--listen=", want: Flags{Listen: text("")}},
		{args: "--worker-urls a b --listen :1", want: Flags{WorkerURLs: []string{"a", "b"}, Listen: text(":1")}},
		{args: "--worker-urls a --listen :1 --worker-urls b c", want: Flags{WorkerURLs: []string{"a", "b", "c"}, Listen: text(":1")}},
		{args: "--worker-urls=a --worker-urls=b", want: Flags{WorkerURLs: []string{"a", "b"}}},
		{args: "--request-timeout-secs 1800 --shutdown-grace-secs=5", want: Flags{RequestTimeout: seconds(1800), ShutdownGrace: seconds(5)}},
		{args: "--", want: Flags{}},
		{args: "--config", err: "--config: needs a value"},
		{args: "--config --listen :1", err: "--config: needs a value"},
		{args: "--worker-urls", err: "--worker-urls: needs a value"},
		{args: "--worker-urls --listen :1", err: "--worker-urls: needs a value"},
		{args: "--request-timeout-secs -1", err: `--request-timeout-secs: expected a whole number of seconds from 1 to 31622400, got "-1"`},
		{args: "--request-timeout-secs=0", err: `--request-timeout-secs: expected a whole number of seconds from 1 to 31622400, got "0"`},
		{args: "--shutdown-grace-secs 5s", err: `--shutdown-grace-secs: expected a whole number of seconds from 1 to 31622400, got "5s"`},
		{args: "--shutdown-grace-secs 31622401", err: `--shutdown-grace-secs: expected a whole number of seconds from 1 to 31622400, got "31622401"`},
		{args: "--lisen :1", err: "unknown flag --lisen; did you mean --listen?"},
		{args: "--worker-url a", err: "unknown flag --worker-url; did you mean --worker-urls?"},
		{args: "--whatever=secret", err: "unknown flag --whatever; see --help"},
		{args: "---listen :1", err: "unknown flag ---listen; did you mean --listen?"},
		{args: "-x", err: "unknown flag --x; see --help"},
		{args: "-=x", err: "unknown flag --; see --help"},
		{args: "--max-concurrent-requests -1 --rate-limit-tokens-per-second=-0.5 --queue-size -1", want: Flags{MaxConcurrent: text("-1"), Refill: text("-0.5"), QueueSize: text("-1")}},
		{args: "--queue-timeout-secs 0 --worker-startup-timeout-secs 5", want: Flags{QueueTimeout: seconds(0), StartupTimeout: seconds(5)}},
		{args: "--queue-timeout-secs 31622401", err: `--queue-timeout-secs: expected a whole number of seconds from 0 to 31622400, got "31622401"`},
		{args: "--queue-timeout-secs 2147483648", err: `--queue-timeout-secs: expected a whole number of seconds from 0 to 31622400, got "2147483648"`},
		{args: "--worker-startup-timeout-secs 0", err: `--worker-startup-timeout-secs: expected a whole number of seconds from 1 to 31622400, got "0"`},
		{args: "penstock.yaml", err: `unexpected word "penstock.yaml": serve takes flags alone, see --help`},
		{args: "--worker-urls a -- b", err: `unexpected word "b": serve takes flags alone, see --help`},
		{args: "--listen :1 :2", err: `unexpected word ":2": serve takes flags alone, see --help`},
		{args: "-", err: `unexpected word "-": serve takes flags alone, see --help`},
	}
	for _, tt := range tests {
		path, got, err := ParseServeFlags(strings.Fields(tt.args), io.Discard)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if message != tt.err {
			t.Errorf("%s: got error %q, want %q", tt.args, message, tt.err)
		}
		if err != nil {
			continue
		}
		if diff := cmp.Diff(tt.want, got); path != tt.path || diff != "" {
			t.Errorf("%s: got path %q, want %q; (-want +got):\n%s", tt.args, path, tt.path, diff)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"--help"}, {"--listen", ":1", "-help", "--nonsense"}} {
		var b strings.Builder
		if _, _, err := ParseServeFlags(args, &b); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%v: got error %v", args, err)
		}
		golden(t, "testdata/serve-help.txt", b.String())
	}
	var b strings.Builder
	if _, _, err := ParseServeFlags([]string{"--listen", "-h"}, &b); err == nil || b.Len() > 0 {
		t.Errorf("a flag without its value: got %v, and wrote %q", err, b.String())
	}
}

// TestFlagsBeatTheFile loads flags over a file.
func TestFlagsBeatTheFile(t *testing.T) {
	const file = `
listen: 127.0.0.1:1
admin_listen: 127.0.0.1:2
request_timeout: 1s
shutdown_grace: 2s
worker_policy: {startup_timeout: 3s}
admission: {max_concurrent_requests: 1, refill_per_second: 2, queue_size: 3, queue_timeout: 4s, progress: true}
workers: [http://file]
rate_limiting: {default: {requests_per_minute: 1}}
`
	_, f, err := ParseServeFlags(strings.Fields(
		"--listen 0.0.0.0:3 --admin-listen localhost:4 --request-timeout-secs 5 --shutdown-grace-secs 6 --worker-urls http://a https://b/c "+
			"--worker-startup-timeout-secs 7 --max-concurrent-requests 8 --rate-limit-tokens-per-second 9.5 --queue-size 10 --queue-timeout-secs 11"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{file, "{}"} {
		c, _, err := Parse("p.yaml", []byte(data), f, noEnv)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(c.Listen, " ", c.AdminListen, " ", c.RequestTimeout, " ", c.ShutdownGrace, " ", c.Workers[0].URL, " ", c.Workers[1].URL,
			" ", len(c.Workers), " ", c.TrustedProxies,
			" ", c.WorkerPolicy.StartupTimeout, " ", gateText(c.Gate()))
		if want := "0.0.0.0:3 localhost:4 5s 6s http://a https://b/c 2 [] 7s 8 slots, bucket 8 + 19 per 2s, queue 10 for 11s"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	c, _, err := Load("", f, noEnv)
	if err != nil || c.Listen != "0.0.0.0:3" || len(c.Workers) != 2 {
		t.Errorf("flags alone: got %+v, %v", c, err)
	}
}

func TestBadFlags(t *testing.T) {
	text := func(s string) *string { return &s }
	long := 367 * day
	tests := []struct {
		file  string
		flags Flags
		want  []string
	}{
		{"", Flags{Listen: text("here")}, []string{`--listen: expected an address such as 127.0.0.1:3000, [::1]:3000 or :3000, got "here"`}},
		{"", Flags{AdminListen: text(":1")}, []string{"--admin-listen: not a loopback address, so admin.token must say who may use it"}},
		{"", Flags{AdminListen: text("127.0.0.1:3000")}, []string{"--admin-listen: listen and admin_listen are the same address: give the admin port another one"}},
		{"", Flags{Listen: text("127.0.0.1:3001")}, []string{"--listen: listen and admin_listen are the same address: give the admin port another one"}},
		{"admin_listen: 127.0.0.1:5", Flags{Listen: text(":5")}, []string{"p.yaml:1:15: admin_listen: listen and admin_listen are the same address: give the admin port another one"}},
		{"", Flags{RequestTimeout: new(time.Duration), ShutdownGrace: &long}, []string{
			"--request-timeout-secs: a whole number of seconds from 1 to 31622400",
			"--shutdown-grace-secs: a whole number of seconds from 1 to 31622400",
		}},
		{"", Flags{QueueTimeout: &long, StartupTimeout: new(time.Duration)}, []string{
			"--worker-startup-timeout-secs: a whole number of seconds from 1 to 31622400",
			"--queue-timeout-secs: a whole number of seconds from 0 to 31622400",
		}},
		{"", Flags{WorkerURLs: []string{"http://a", "a:8000", "http://u:hunter2@b", "http://A:80/", "http://a,http://b"}}, []string{
			"--worker-urls: word 2: expected a URL such as http://10.0.0.7:8000",
			"--worker-urls: word 3: a URL with a name or password in it: remove them, they would end up in logs",
			"--worker-urls: word 4: this worker is listed already: remove one",
			"--worker-urls: word 5: one URL at a time, without commas",
		}},
		// The file is still held to its rules, and broken flags are told with a broken file.
		{"listen: there", Flags{Listen: text("here")}, []string{
			`--listen: expected an address such as 127.0.0.1:3000, [::1]:3000 or :3000, got "here"`,
			"p.yaml:1:9: listen: expected an address such as 127.0.0.1:3000, [::1]:3000 or :3000, got there",
		}},
		{"listen: [", Flags{Listen: text("here")}, []string{
			`--listen: expected an address such as 127.0.0.1:3000, [::1]:3000 or :3000, got "here"`,
			"p.yaml:2:1: not valid YAML: did not find expected node content",
		}},
	}
	for _, tt := range tests {
		var err error
		if tt.file == "" {
			_, _, err = Load("", tt.flags, noEnv)
		} else {
			_, _, err = Parse("p.yaml", []byte(tt.file), tt.flags, noEnv)
		}
		if diff := cmp.Diff(strings.Join(tt.want, "\n"), fmt.Sprint(err)); diff != "" {
			t.Errorf("%q, %+v (-want +got):\n%s", tt.file, tt.flags, diff)
		}
	}
}

// newTestFlags is a flag set with one flag of each kind.
func newTestFlags() (fs *flag.FlagSet, list *List, n *int, b *bool) {
	fs = flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	list = new(List)
	fs.Var(list, "list", "words")
	fs.Uint64("u", 0, "a number from 0 on")
	fs.Float64("f", 0, "a fraction")
	fs.Duration("d", 0, "a duration")
	fs.Func("own", "says itself what it expects", func(string) error { return errors.New("expected something else") })
	return fs, list, fs.Int("n", 0, "a number"), fs.Bool("b", false, "a bool")
}

func TestParseArgs(t *testing.T) {
	tests := []struct{ args, want string }{
		{"--n 5 x y", "[] 5 false [x y]"},
		{"--n -1 x", "[] -1 false [x]"},
		{"--n=-1", "[] -1 false []"},
		{"-n -1", "[] -1 false []"},
		{"--b x", "[] 0 true [x]"},
		{"--b=false x", "[] 0 false [x]"},
		{"x --list a b -1 -.5 - --b c", "[a b -1 -.5 -] 0 true [x c]"},
		{"--list=a b", "[a] 0 false [b]"},
		{"-- --n -5", "[] 0 false [--n -5]"},
		{"-5 x", "[] 0 false [-5 x]"},
		{"--n x", `--n: expected a whole number, got x`},
		{"--n 99999999999999999999", `--n: expected a whole number, got 99999999999999999999`},
		{"--b=maybe", `--b: expected true or false, got maybe`},
		{"--u -1", `--u: expected a whole number, 0 or more, got -1`},
		{"--f half", `--f: expected a number such as 0.5, got half`},
		{"--d 5", `--d: expected a duration such as 30s, 150ms or 1h30m, got 5`},
		{"--d=\x00", `--d: expected a duration such as 30s, 150ms or 1h30m, got "\x00"`},
		{"--own x", `--own: expected something else`},
		{"--n", "--n: needs a value"},
		{"--n -x", "--n: needs a value"},
	}
	for _, tt := range tests {
		fs, list, n, b := newTestFlags()
		rest, err := ParseArgs(fs, strings.Fields(tt.args))
		got := fmt.Sprint(*list, *n, *b, rest)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.args, got, tt.want)
		}
	}
	fs, list, _, _ := newTestFlags()
	if _, err := ParseArgs(fs, []string{"--list", "a", "b"}); err != nil || list.String() != "a b" {
		t.Errorf("String: %q, %v", list.String(), err)
	}
	fs = flag.NewFlagSet("test", flag.ContinueOnError)
	help := fs.Bool("help", false, "")
	if _, err := ParseArgs(fs, []string{"--help"}); err != nil || !*help {
		t.Errorf("a command's own --help: %v, %v", *help, err)
	}
}

// TestParseArgsWrites writes flags in each of their forms and reads them back.
func TestParseArgsWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var args, wantList, wantRest []string
		wantN, wantB := 0, false
		word := rapid.StringMatching(`[a-z=.:/,]{1,5}|-[0-9]{1,3}|-`)
		for range rapid.IntRange(0, 6).Draw(t, "parts") {
			dash := rapid.SampledFrom([]string{"-", "--"}).Draw(t, "dash")
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				words := rapid.SliceOfN(word, 1, 4).Draw(t, "words")
				args = append(append(args, dash+"list"), words...)
				wantList = append(wantList, words...)
			case 1:
				w := word.Draw(t, "word")
				args = append(args, dash+"list="+w)
				wantList = append(wantList, w)
			case 2:
				wantN = rapid.IntRange(-99, 99).Draw(t, "n")
				if rapid.Bool().Draw(t, "equals") {
					args = append(args, fmt.Sprintf("%sn=%d", dash, wantN))
				} else {
					args = append(args, dash+"n", fmt.Sprint(wantN))
				}
			case 3:
				wantB = rapid.Bool().Draw(t, "b")
				args = append(args, fmt.Sprintf("%sb=%v", dash, wantB))
			default: // words are only a list's when they follow it
				if len(args) == 0 || args[len(args)-1] == dash+"b" {
					wantRest = append(wantRest, "word")
					args = append(args, "word")
				}
			}
		}
		fs, list, n, b := newTestFlags()
		rest, err := ParseArgs(fs, args)
		if err != nil || !slices.Equal(*list, wantList) || *n != wantN || *b != wantB || !slices.Equal(rest, wantRest) {
			t.Fatalf("%q: got %v %v %v %v %v; want %v %v %v %v", args, *list, *n, *b, rest, err, wantList, wantN, wantB, wantRest)
		}
	})
}

// FuzzParseArgs holds the flags to what the standard library reads, once each
// list is written out one flag a word and every value behind an equals sign.
func FuzzParseArgs(f *testing.F) {
	for _, args := range []string{
		"", "--n 5", "--n -1 x", "--list a b --b c", "--list", "--n --b", "-h", "--help=1", "--", "-- -x", "-", "--=", "---n 1",
		"--b=maybe", "--list=a=b -1 -.5", "x --unknown=secret y", "-n=0x10 --b", "--n 99999999999999999999",
	} {
		f.Add(strings.ReplaceAll(args, " ", "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Split(text, "\n")
		fs, list, n, b := newTestFlags()
		rest, err := ParseArgs(fs, slices.Clone(args))

		std, stdList, stdN, stdB := newTestFlags()
		var stdRest []string
		var stdErr error
		for len(args) > 0 && stdErr == nil {
			word := args[0]
			args = args[1:]
			if word == "--" {
				stdRest = append(stdRest, args...)
				break
			}
			if !isFlag(word) {
				stdRest = append(stdRest, word)
				continue
			}
			name, _, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
			words := []string{word}
			if name != "b" && !given {
				words = nil
				for len(args) > 0 && !isFlag(args[0]) && (name == "list" || len(words) == 0) {
					words = append(words, word+"="+args[0])
					args = args[1:]
				}
				if len(words) == 0 && std.Lookup(name) != nil {
					stdErr = errors.New("no value")
				}
				if std.Lookup(name) == nil {
					words = []string{word}
				}
			}
			for _, w := range words {
				if err := std.Parse([]string{w}); err != nil && stdErr == nil {
					stdErr = err
				}
			}
		}
		if (err != nil) != (stdErr != nil) || errors.Is(err, flag.ErrHelp) != errors.Is(stdErr, flag.ErrHelp) {
			t.Fatalf("%q: got %v, the standard library %v", text, err, stdErr)
		}
		if err == nil && (!slices.Equal(*list, *stdList) || *n != *stdN || *b != *stdB || !slices.Equal(rest, stdRest)) {
			t.Fatalf("%q: got %v %v %v %v; the standard library %v %v %v %v", text, *list, *n, *b, rest, *stdList, *stdN, *stdB, stdRest)
		}
	})
}
