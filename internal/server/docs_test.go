package server_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/server"
)

// root goes to the root of the module for the rest of the test. These tests are
// not there themselves, since what the library's tests import its importers fetch.
func root(t *testing.T) {
	t.Helper()
	t.Chdir("../..")
}

// pages are the README and all documents.
func pages(t *testing.T) map[string]string {
	t.Helper()
	root(t)
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "DEPENDENCIES.md", "e2e/README.md", "benchmarks/README.md")
	pages := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		pages[f] = string(text)
	}
	return pages
}

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// TestSnippets loads every snippet of every document: configurations are
// parsed and draw no warnings, programs are built.
func TestSnippets(t *testing.T) {
	for page, text := range pages(t) {
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			switch language, snippet := m[1], m[2]; language {
			case "yaml":
				getenv := func(name string) (string, bool) { return "value-of-" + name, true }
				c, warnings, err := config.Parse(page, []byte(snippet), config.Flags{}, getenv)
				if err != nil {
					t.Errorf("%s: a configuration is wrong: %v\n%s", page, err, snippet)
					continue
				}
				p, err := policy.New(c, nil)
				if err != nil {
					t.Errorf("%s: a configuration cannot be counted: %v\n%s", page, err, snippet)
					continue
				}
				for _, w := range server.Warnings(warnings, c, p) {
					// A snippet may be a part of a file.
					if !strings.HasPrefix(w.Message, "there is no limit") {
						t.Errorf("%s: a configuration is warned of: %v\n%s", page, w, snippet)
					}
				}
			case "go":
				file := filepath.Join(t.TempDir(), "main.go")
				if err := os.WriteFile(file, []byte(snippet), 0o600); err != nil {
					t.Fatal(err)
				}
				if out, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
					t.Errorf("%s: a program does not build: %v\n%s\n%s", page, err, out, snippet)
				}
			case "sh":
				if strings.Contains(snippet, "go get ") || strings.Contains(snippet, "go install ") {
					t.Errorf("%s: the module is not published:\n%s", page, snippet)
				}
			case "text": // what a program printed
			default:
				t.Errorf("%s: a snippet of %s: say how it is tested", page, language)
			}
		}
	}
}

// TestCommands: every penstock command that a document shows has the flags that
// it is shown with.
func TestCommands(t *testing.T) {
	pages := pages(t)
	program := filepath.Join(t.TempDir(), "penstock")
	if out, err := exec.Command("go", "build", "-o", program, "./cmd/penstock").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	help := map[string]string{}
	command := regexp.MustCompile("(?m)(?:^|`|    )(?:bin/)?penstock (serve|check|demo|worker|size|version)\\b([^\n`]*)")
	flag := regexp.MustCompile(`(?:^| )--([a-z-]+)`)
	for page, text := range pages {
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			if help[m[1]] == "" {
				out, err := exec.Command(program, m[1], "--help").CombinedOutput()
				if err != nil {
					t.Fatalf("penstock %s --help: %v", m[1], err)
				}
				help[m[1]] = string(out) + " "
			}
			for _, f := range flag.FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(help[m[1]], "--"+f[1]) {
					t.Errorf("%s: penstock %s has no flag --%s", page, m[1], f[1])
				}
			}
		}
	}
}

// TestLinks: what a document points to is there.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	for page, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s points to %s: %v", page, m[1], err)
			}
		}
	}
}

// TestNothingOfThisMachine: the project names no path of a machine and no host
// of a registry.
func TestNothingOfThisMachine(t *testing.T) {
	root(t)
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Skip("not a git checkout: there is no list of files to look at")
	}
	forbidden := regexp.MustCompile(`/ro` + `ot/|/wo` + `rk/|proxy\.gol` + `ang\.org|registry\.npm` + `js`)
	for f := range bytes.SplitSeq(out, []byte{0}) {
		if len(f) == 0 {
			continue
		}
		text, err := os.ReadFile(string(f))
		if err != nil {
			continue // removed, not yet committed
		}
		if m := forbidden.Find(text); m != nil {
			t.Errorf("%s says %s", f, m)
		}
	}
}
