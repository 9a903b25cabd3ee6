package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write the golden texts in the scripts anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"penstock": main, "http": httpMain})
}

// TestScripts runs the program as its users do. Besides testscript's own
// commands the scripts have:
//
//	exits CODE COMMAND...   runs a command that must end with this code
//	start NAME ARGS...      runs penstock in the background until it serves; then
//	                        $NAME is the URL of what it serves, $NAME_PORT its
//	                        port, $NAME_ADMIN the URL of its admin port, and its
//	                        output is in the files NAME.out and NAME.log
//	signal NAME SIGNAL      sends it a signal
//	ended NAME CODE         waits for its end and the code
//	steady FILE             writes to FILE what was printed, without the figures
//	                        that are measured
//	await FILE TEXT         waits until a file holds the text
//	until URL TEXT          waits until what is there holds the text
//	http [FLAGS] METHOD URL prints status, headers and body of an answer
func TestScripts(t *testing.T) {
	examples, err := filepath.Abs("../../examples/configs")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("EXAMPLES", examples)
			env.Setenv("GORACE", race)
			env.Values["processes"] = processes{}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "start": start, "steady": steady, "signal": signalled, "ended": ended, "await": await, "until": until,
		},
	})
}

// race keeps a program that was built with the race detector from lingering for
// a second before it exits.
const race = "atexit_sleep_ms=0"

// patience is how long a script waits for an event before it fails.
const patience = 30 * time.Second

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("it ended with %d, want %s", code, want)
	}
}

// process is a penstock in the background.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

type processes map[string]*process

var (
	servedBy = regexp.MustCompile(`"msg":"serving","listen":"([^"]+)","admin_listen":"([^"]+)"`)
	workedBy = regexp.MustCompile(`(?:stand-in worker|gateway listens) on http://([^\s,]+)`)
)

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME ARGS...")
	}
	name := args[0]
	dirs := filepath.SplitList(ts.Getenv("PATH"))
	i := slices.IndexFunc(dirs, func(dir string) bool { return executable(filepath.Join(dir, "penstock")) })
	if i < 0 {
		ts.Fatalf("there is no penstock in %v", dirs)
	}
	p := &process{cmd: exec.Command(filepath.Join(dirs[i], "penstock"), args[1:]...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = ts.MkAbs("."), append(os.Environ(), "GORACE="+race)
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	log, err := os.Create(ts.MkAbs(name + ".log"))
	ts.Check(err)
	p.cmd.Stdout, p.cmd.Stderr = out, log
	ts.Check(p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // ProcessState says how it was
		_, _ = out.Close(), log.Close()
		close(p.ended)
	}()
	ts.Value("processes").(processes)[name] = p
	ts.Defer(func() {
		_ = p.cmd.Process.Kill() // if it still runs
		<-p.ended
	})
	serves := func(address string) {
		_, port, _ := strings.Cut(address, ":")
		ts.Setenv(name, "http://"+address)
		ts.Setenv(name+"_PORT", port)
	}
	wait(ts, name+" serves", func() bool {
		select {
		case <-p.ended:
			ts.Fatalf("%s has ended: %s", name, ts.ReadFile(name+".log"))
		default:
		}
		if m := workedBy.FindStringSubmatch(ts.ReadFile(name + ".out")); m != nil {
			serves(m[1])
			return true
		}
		if m := servedBy.FindStringSubmatch(ts.ReadFile(name + ".log")); m != nil {
			serves(m[1])
			ts.Setenv(name+"_ADMIN", "http://"+m[2])
			return true
		}
		return false
	})
}

// wait waits until what is so.
func wait(ts *testscript.TestScript, what string, so func() bool) {
	for begun := time.Now(); !so(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience {
			ts.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

func running(ts *testscript.TestScript, name string) *process {
	p := ts.Value("processes").(processes)[name]
	if p == nil {
		ts.Fatalf("nothing was started as %s", name)
	}
	return p
}

func signalled(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	if neg || len(args) != 2 || signals[args[1]] == 0 {
		ts.Fatalf("usage: signal NAME HUP|TERM|INT")
	}
	ts.Check(running(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

func ended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ended NAME CODE")
	}
	p := running(ts, args[0])
	select {
	case <-p.ended:
	case <-time.After(patience):
		ts.Fatalf("%s does not end", args[0])
	}
	if code := strconv.Itoa(p.cmd.ProcessState.ExitCode()); code != args[1] {
		ts.Fatalf("%s ended with %s, want %s: %s", args[0], code, args[1], ts.ReadFile(args[0]+".log"))
	}
}

var measures = regexp.MustCompile(`about [0-9]+`)

func steady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: steady FILE")
	}
	text := measures.ReplaceAllString(ts.ReadFile("stdout"), "about N")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE TEXT")
	}
	wait(ts, args[0]+" says "+args[1], func() bool {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(ts.ReadFile(args[0]), args[1])
	})
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: until URL TEXT")
	}
	wait(ts, args[0]+" says "+args[1], func() bool {
		var b strings.Builder
		return request(&b, http.MethodGet, args[0], "", nil) == nil && strings.Contains(b.String(), args[1])
	})
}

// httpMain is the command http. It does not print the values of headers that
// are never the same.
func httpMain() {
	var headers []string
	fs := flag.NewFlagSet("http", flag.ExitOnError)
	fs.Func("h", "a `HEADER: VALUE`", func(s string) error {
		headers = append(headers, s)
		return nil
	})
	body := fs.String("d", "", "the body")
	times := fs.Int("times", 1, "ask so many times, one after the other, and print the last answer")
	_ = fs.Parse(os.Args[1:]) // exits
	if fs.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: http [FLAGS] METHOD URL")
		os.Exit(2)
	}
	for i := range *times {
		print := io.Writer(os.Stdout)
		if i < *times-1 {
			print = io.Discard
		}
		if err := request(print, fs.Arg(0), fs.Arg(1), *body, headers); err != nil {
			fmt.Fprintln(os.Stderr, "http:", err)
			os.Exit(1)
		}
	}
}

func request(out io.Writer, method, url, body string, headers []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Fprintln(out, resp.Status)
	var lines []string
	for name, values := range resp.Header {
		switch name {
		case "Date", "X-Request-Id", "X-Ratelimit-Reset", "X-Ratelimit-Reset-After", "X-Ratelimit-Reset-Requests", "X-Ratelimit-Reset-Tokens":
			values = []string{"..."}
		}
		lines = append(lines, name+": "+strings.Join(values, ", "))
	}
	slices.Sort(lines)
	fmt.Fprintf(out, "%s\n\n", strings.Join(lines, "\n"))
	_, err = io.Copy(out, resp.Body)
	fmt.Fprintln(out)
	return err
}

func TestExitCode(t *testing.T) {
	var b strings.Builder
	if code := exitCode(&b, nil); code != 0 || b.Len() != 0 {
		t.Errorf("%d, %q", code, b.String())
	}
	if code := exitCode(&b, fmt.Errorf("listen: %w", io.ErrUnexpectedEOF)); code != 1 || b.String() != "penstock: listen: unexpected EOF\n" {
		t.Errorf("%d, %q", code, b.String())
	}
	b.Reset()
	if code := exitCode(&b, usageError{errors.New("say a command")}); code != 2 || b.String() != "penstock: say a command\n" {
		t.Errorf("%d, %q", code, b.String())
	}
}
