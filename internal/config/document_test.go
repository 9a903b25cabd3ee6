package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// errorText returns what is wrong with a file of the given text.
func errorText(data string) string {
	_, _, err := Parse("p.yaml", []byte(data), Flags{}, testEnv)
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestDocument(t *testing.T) {
	const (
		empty   = "p.yaml:1:1: the file is empty: leave --config out to run on flags alone"
		noText  = "neither text nor UTF-8: save the file as UTF-8, without control characters"
		tooDeep = "not valid YAML: nested deeper than 32 levels"
	)
	tests := []struct{ name, data, want string }{
		{"empty", "", empty},
		{"a comment alone", "# nothing\n", empty},
		{"a marker alone", "---\n", empty},
		{"null", "~\n", empty},
		{"a list", "- a\n- b\n", "p.yaml:1:1: expected keys and values, got a list"},
		{"a text", "just text\n", "p.yaml:1:1: expected keys and values, got a string"},
		{"a number", "5", "p.yaml:1:1: expected keys and values, got a number"},
		{"no key at all", "{}", ""},
		{"a byte order mark", "\ufefflog: {level: info}\n", ""},
		{"Windows line ends", "log:\r\n  level: info\r\n", ""},
		{"a marker in front", "---\nlog: {level: info}\n...\n", ""},
		{"two documents", "log: {}\n---\nlog: {}\n", "p.yaml:2:1: a second document begins here: one file holds one configuration"},
		{"a broken second document", "log: {}\n---\nlog: [\n", "p.yaml:4:1: not valid YAML: did not find expected node content"},
		{"a tab", "log:\n\tlevel: info\n", "p.yaml:2:1: a tab: YAML is indented with spaces"},
		{"a tab after spaces", "log:\n  \tlevel: info\n", "p.yaml:2:3: a tab: YAML is indented with spaces"},
		{"a tab in JSON", "{\n\t\"log\": {\n\t\t\"level\": \"info\"}}", ""},
		{"an open list", "workers: [a,\n  b\n", "p.yaml:3:1: not valid YAML: did not find expected ',' or ']' (while parsing a flow sequence that begins on line 1)"},
		{"an open quote", "log:\n  level: 'info\n", "p.yaml:3:1: not valid YAML: found unexpected end of stream (while scanning a quoted scalar that begins on line 2)"},
		{"two colons", "log: level: info", "p.yaml:1:11: not valid YAML: mapping values are not allowed in this context"},
		{"dedented too little", "log:\n    level: info\n  format: json\n", "p.yaml:3:3: not valid YAML: did not find expected key (while parsing a block mapping that begins on line 1)"},
		{"a variable in braces", "log: {level: ${LEVEL}}", "p.yaml:1:15: not valid YAML: did not find expected ',' or '}'; inside {} and [] write \"${VAR}\" with its quotes"},
		{"an alias of nothing", "admin: {token: *sk-0123456789}", "p.yaml:1:16: " + noAliases},
		{"a directive", "%YAML 3.0\n---\nlog: {}\n", "p.yaml:1:1: not valid YAML: found incompatible YAML document"},
		{"an escape that is none", `metrics: {prefix: "\q"}`, "p.yaml:1:20: not valid YAML: found unknown escape character"},
		{"Latin-1", "log:\n  level: \xe9\n", "p.yaml:2:10: " + noText},
		{"UTF-16", "\xff\xfel\x00", "p.yaml:1:1: " + noText},
		{"a zero byte", "log:\n# é\x00\n", "p.yaml:2:4: " + noText},
		{"an escape character", "log: \x1b[0m", "p.yaml:1:6: " + noText},
		{"deep lists", "workers: " + strings.Repeat("[", 33), "p.yaml:1:42: " + tooDeep},
		{"just not too deep", "workers: " + strings.Repeat("[", 32) + strings.Repeat("]", 32), "p.yaml:1:11: workers[0]: expected keys and values, got a list"},
		{"deep mappings", strings.Repeat("{a: ", 40), "p.yaml:1:129: " + tooDeep},
		{"large", "log: {}\n#" + strings.Repeat("x", maxFileBytes), "p.yaml:1:1: the file is larger than 4 MiB: no configuration needs that"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, errorText(tt.data)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnplacedSyntax reports an error of the parser that has no place.
func TestUnplacedSyntax(t *testing.T) {
	r := &reader{source: source{file: true, name: "p.yaml"}}
	r.syntax(errors.New("something that quotes the file"))
	if got := Errors(r.errors.list).Error(); got != "p.yaml:1:1: not valid YAML: it cannot be parsed" {
		t.Errorf("got %s", got)
	}
}

// TestAliasBomb holds what would be a billion texts if anything expanded it.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10))
	}
	b.WriteString("workers: *a8\n")
	got := errorText(b.String())
	if !strings.HasSuffix(got, "p.yaml:10:10: workers: "+noAliases) {
		t.Errorf("got %s", got)
	}
}

func TestManyErrors(t *testing.T) {
	var b strings.Builder
	b.WriteString("rate_limiting:\n  default:\n")
	const many = 1500
	for i := range many {
		fmt.Fprintf(&b, "    \"limit %d\": 1\n", i)
	}
	_, _, err := Parse("p.yaml", []byte(b.String()), Flags{}, noEnv)
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != maxFindings+1 {
		t.Fatalf("got %d errors, want %d and one that counts the others", len(errs), maxFindings)
	}
	if got, want := errs[maxFindings].Error(), "p.yaml:1002:5: and 500 more like these: mend the first ones and look again"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("token", "a-token-from-a-file\r\n")
	absolute := write("absolute", "another-token-from-a-file")

	c, warnings, err := Load(write("good.yaml", "admin: {token: \"file:token\"}\nrate_limiting: {default: {requests_per_minute: 1}}"), Flags{}, noEnv)
	if err != nil || len(warnings) > 0 || c.Admin.Token.Reveal() != "a-token-from-a-file" {
		t.Errorf("got %+v, %v, %v", c, warnings, err)
	}
	c, _, err = Load(write("absolute.yaml", "admin: {token: \"file:"+absolute+"\"}"), Flags{}, noEnv)
	if err != nil || c.Admin.Token.Reveal() != "another-token-from-a-file" {
		t.Errorf("got %+v, %v", c, err)
	}

	if _, _, err := Load(filepath.Join(dir, "none.yaml"), Flags{}, noEnv); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: got %v", err)
	}
	if _, _, err := Load(dir, Flags{}, noEnv); err == nil || !strings.HasPrefix(err.Error(), "config: read ") {
		t.Errorf("a folder: got %v", err)
	}
	path := write("large.yaml", strings.Repeat("#", maxFileBytes+100))
	if _, _, err := Load(path, Flags{}, noEnv); err == nil || !strings.Contains(err.Error(), "larger than 4 MiB") {
		t.Errorf("a large file: got %v", err)
	}
	write("long", strings.Repeat("x", maxSecretBytes+1))
	path = write("long.yaml", "admin: {token: \"file:long\"}")
	if _, _, err := Load(path, Flags{}, noEnv); err == nil || err.Error() != path+":1:16: admin.token: file:long: larger than 64 KiB" {
		t.Errorf("a long secret: got %v", err)
	}
	path = write("bad.yaml", "a: b")
	if _, _, err := Load(path, Flags{}, noEnv); err == nil || err.Error() != path+":1:1: a: unknown key" {
		t.Errorf("a bad file: got %v", err)
	}
}

// TestDefaults pins what an absent key means, whether in a file or without.
func TestDefaults(t *testing.T) {
	golden(t, "testdata/default.txt", strings.Join(dump(Default()), "\n")+"\n")

	c, warnings, err := Load("", Flags{}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dump(Default()), dump(*c)); diff != "" {
		t.Errorf("without a file (-want +got):\n%s", diff)
	}
	if got := fmt.Sprint(warnings); got != "[rate_limiting: there is no limit, so everything passes]" {
		t.Errorf("got warnings %s", got)
	}
	c, _, err = Parse("p.yaml", []byte("rate_limiting: {}"), Flags{}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"RateLimiting.Enabled = true"}, says(*c)); diff != "" {
		t.Errorf("an empty section (-want +got):\n%s", diff)
	}
}

func TestTrustedProxies(t *testing.T) {
	tests := []struct{ data, want string }{
		{"listen: 127.0.0.1:1", "[127.0.0.0/8 ::1/128]"},
		{"listen: \"[::1]:1\"", "[127.0.0.0/8 ::1/128]"},
		{"listen: \"[::ffff:127.0.0.1]:1\"", "[127.0.0.0/8 ::1/128]"},
		{"listen: localhost:1", "[127.0.0.0/8 ::1/128]"},
		{"listen: :1", "[]"},
		{"listen: 0.0.0.0:1", "[]"},
		{"listen: 192.0.2.1:1", "[]"},
		{"listen: localhost.example:1", "[]"},
		{"listen: :1\ntrusted_proxies: [loopback]", "[127.0.0.0/8 ::1/128]"},
		{"trusted_proxies: []", "[]"},
		{"trusted_proxies: [192.0.2.7, \"::ffff:192.0.2.8\"]", "[192.0.2.7/32 192.0.2.8/32]"},
	}
	for _, tt := range tests {
		c, _, err := Parse("p.yaml", []byte(tt.data), Flags{}, noEnv)
		if err != nil {
			t.Errorf("%s: %v", tt.data, err)
		} else if got := fmt.Sprint(c.TrustedProxies); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.data, got, tt.want)
		}
	}
}

// TestWorkerIsSelf: penstock is not its own worker, however its address is
// written; another machine's worker may have the same port.
func TestWorkerIsSelf(t *testing.T) {
	tests := []struct{ listen, worker, want string }{
		{"127.0.0.1:5000", "http://127.0.0.1:5000", "listen"},
		{"127.0.0.1:5000", "http://localhost:5000/v1", "listen"},
		{":5000", "http://127.0.0.1:5000", "listen"},
		{"[::]:5000", "http://[::1]:5000", "listen"},
		{"0.0.0.0:80", "http://localhost", "listen"},
		{"localhost:443", "https://localhost", "listen"},
		{"10.0.0.7:5000", "http://10.0.0.7:5000", "listen"},
		{"gw:5000", "http://gw:5000", "listen"},
		{":5000", "http://localhost:3001", "admin_listen"},
		{"127.0.0.1:5000", "http://127.0.0.1:5001", ""},
		{"127.0.0.1:5000", "http://127.0.0.2:5000", ""},
		{":5000", "http://10.0.0.7:5000", ""},
		{":5000", "http://w1:5000", ""},
		{"127.0.0.1:0", "http://127.0.0.1:5000", ""},
	}
	for _, tt := range tests {
		file, err := "p.yaml:2:11: workers[0]: ", error(nil)
		for _, parse := range []func() error{
			func() error {
				_, _, err := Parse("p.yaml", []byte("listen: \""+tt.listen+"\"\nworkers: [\""+tt.worker+"\"]\n"), Flags{}, noEnv)
				return err
			},
			func() error {
				file = "--worker-urls: "
				_, _, err := Parse("p.yaml", []byte("listen: \""+tt.listen+"\"\nworkers: [http://w9]\n"), Flags{WorkerURLs: []string{tt.worker}}, noEnv)
				return err
			},
		} {
			if err = parse(); tt.want == "" {
				if err != nil {
					t.Errorf("%s, worker %s: %v", tt.listen, tt.worker, err)
				}
			} else if err == nil || !strings.HasPrefix(err.Error(), file+"penstock itself listens on ") || !strings.Contains(err.Error(), "("+tt.want+")") {
				t.Errorf("%s, worker %s: %v, want %s that it is %s", tt.listen, tt.worker, err, file, tt.want)
			}
		}
	}
}

func TestListenBoth(t *testing.T) {
	const same = "listen and admin_listen are the same address: give the admin port another one"
	tests := []struct {
		listen, admin string
		same          bool
	}{
		{"127.0.0.1:5000", "127.0.0.1:5000", true},
		{"127.0.0.1:5000", "127.0.0.1:5001", false},
		{"127.0.0.1:5000", "127.0.0.2:5000", false},
		{":5000", "127.0.0.1:5000", true},
		{"0.0.0.0:5000", "localhost:5000", true},
		{"[::]:5000", "[::1]:5000", true},
		{"127.0.0.1:5000", "localhost:5000", true},
		{"localhost:5000", "[::1]:5000", true},
		{"gateway.example:5000", "localhost:5000", false},
		{"127.0.0.1:0", "127.0.0.1:0", false},
	}
	for _, tt := range tests {
		got := errorText(fmt.Sprintf("listen: %q\nadmin_listen: %q\n", tt.listen, tt.admin))
		if want := "p.yaml:2:15: admin_listen: " + same; tt.same && got != want || !tt.same && got != "" {
			t.Errorf("%s and %s: got %q", tt.listen, tt.admin, got)
		}
	}
	if got, want := errorText("listen: 127.0.0.1:3001"), "p.yaml:1:9: listen: "+same; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
