package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden texts anew")

// testEnv is the environment of the files under testdata. What is in secrets
// must not appear in any message, whatever else is wrong.
func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"TEST_PORT": "3456", "TEST_YES": "true", "TEST_RPM": "120", "TEST_EMPTY": "",
		"TEST_YAML": "a: {b: [c]} # d", "TEST_WORDS": "two words", "TEST_ALICE": "alice",
		"TEST_TOKEN": "hunter2-token", "TEST_KEY": "hunter2-key", "TEST_OTHER_KEY": "hunter2-other",
		"TEST_THIRD_KEY": "hunter2-third",
	}[name]
	return v, ok
}

// secrets returns what no message of a golden text may hold.
func secrets() []string { return []string{"hunter2", "sk-0123", "sk-from-a-file", "abcdef"} }

func parseFile(t *testing.T, path string) (*Config, []Warning, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The base name stands in messages; secrets lie in testdata.
	dir := filepath.Dir(path)
	readFile := func(p string, most int64) ([]byte, error) { return readRegularFile(filepath.Join(dir, p), most) }
	return parse(source{file: true, name: filepath.Base(path), data: data, getenv: testEnv, readFile: readFile}, Flags{})
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func glob(t testing.TB, pattern string, least int) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) < least {
		t.Fatalf("%s: %d files, %v; want at least %d", pattern, len(files), err, least)
	}
	return files
}

func TestGood(t *testing.T) {
	for _, path := range glob(t, "testdata/*.good.yaml", 7) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, warnings, err := parseFile(t, path)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, w := range warnings {
				fmt.Fprintln(&b, w)
			}
			fmt.Fprintln(&b, "--")
			for _, line := range without(dump(*c), dump(Default())) {
				fmt.Fprintln(&b, line)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", b.String())

			asJSON, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			printed := b.String() + string(asJSON)
			for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
				printed += fmt.Sprintf(format, *c)
			}
			for _, secret := range secrets() {
				if strings.Contains(printed, secret) {
					t.Errorf("printing it shows %q", secret)
				}
			}
		})
	}
}

func TestBad(t *testing.T) {
	for _, path := range glob(t, "testdata/*.bad.yaml", 18) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, warnings, err := parseFile(t, path)
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 || c != nil {
				t.Fatalf("got %v, %v; want Errors alone", c, err)
			}
			var b strings.Builder
			fmt.Fprintln(&b, err)
			for _, w := range warnings {
				fmt.Fprintln(&b, "warning:", w)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", b.String())

			if !slices.IsSortedFunc(errs, func(a, b Error) int { return a.Line - b.Line }) {
				t.Error("the errors are not in the order of their lines")
			}
			for _, e := range errs {
				if e.Line < 1 || e.Column < 1 || e.File != filepath.Base(path) {
					t.Errorf("no place: %+v", e)
				}
			}
			for _, secret := range secrets() {
				if strings.Contains(b.String(), secret) {
					t.Errorf("the messages show %q", secret)
				}
			}
		})
	}
}
