package penstock_test

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/penstock-dev/penstock"

// The rooms that each room may import of this module. traffic is for all; what
// is not here imports none of the others.
var mayImport = map[string][]string{
	"":                          {"internal/algorithm", "internal/reply", "internal/clientaddr"},
	"storetest":                 {""},
	"client":                    {},
	"internal/reply":            {},
	"internal/config":           {"internal/pricing/usd"},
	"internal/provider":         {"internal/provider/jsonpeek", "internal/provider/sse"},
	"internal/identity":         {"internal/clientaddr"},
	"internal/policy":           {"", "internal/config", "internal/modelname", "internal/pricing", "internal/pricing/usd"},
	"internal/pricing":          {"", "internal/modelname", "internal/pricing/usd"},
	"internal/workers":          {"internal/modelname", "internal/peer"},
	"internal/gateway":          {"", "internal/clientaddr", "internal/identity", "internal/jobs", "internal/policy", "internal/provider", "internal/queue", "internal/reply", "internal/telemetry", "internal/workers"},
	"internal/server":           {"", "internal/adaptive", "internal/admin", "internal/config", "internal/gateway", "internal/identity", "internal/jobs", "internal/peer", "internal/policy", "internal/provider", "internal/queue", "internal/reply", "internal/statefile", "internal/telemetry", "internal/workers"},
	"internal/demo":             {"", "internal/config", "internal/server", "internal/standin"},
	"cmd/penstock":              {"", "internal/config", "internal/demo", "internal/policy", "internal/pricing", "internal/pricing/usd", "internal/server", "internal/sizing", "internal/standin", "internal/telemetry"},
	"internal/pricing/snapshot": {"internal/modelname", "internal/pricing/usd"},
	"internal/sizing":           {},
	"internal/algorithm":        {},
	"internal/clientaddr":       {},
	"internal/queue":            {"internal/algorithm"},
}

// The one room that may see each heavy dependency.
var seenBy = map[string]string{
	"github.com/prometheus/client_golang/": "internal/telemetry",
	"github.com/prometheus/client_model/":  "internal/telemetry",
	"github.com/prometheus/common/":        "internal/adaptive",
	"go.yaml.in/yaml/v4":                   "internal/config",
	"github.com/KimMachineGun/":            "cmd/penstock",
	"pgregory.net/rapid":                   "storetest",
}

type listed struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
}

func list(t *testing.T) (packages []listed) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	return packages
}

// room is the path of a package of this module within it; false for others.
func room(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, module)
	return strings.TrimPrefix(rest, "/"), ok && (rest == "" || rest[0] == '/')
}

func TestArrowsRunOneWay(t *testing.T) {
	for _, p := range list(t) {
		from, _ := room(p.ImportPath)
		for _, path := range p.Imports {
			to, ours := room(path)
			switch {
			case ours && to != "internal/traffic" && !slices.Contains(mayImport[from], to):
				t.Errorf("%q imports %q: if that is meant, say so in house_test.go and docs/ARCHITECTURE.md", from, to)
			case ours:
			case strings.Contains(strings.Split(path, "/")[0], "."):
				found := false
				for prefix, by := range seenBy {
					if strings.HasPrefix(path, prefix) {
						found = true
						if from != by {
							t.Errorf("%q imports %s, which only %q may see", from, path, by)
						}
					}
				}
				if !found {
					t.Errorf("%q imports %s, which no room is said to see", from, path)
				}
			}
		}
	}
}

// TestLibraryLinksTheStandardLibraryAlone: whoever imports the root or the
// client gets nothing else with it.
func TestLibraryLinksTheStandardLibraryAlone(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".", "./client").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if _, ours := room(path); !ours && strings.Contains(strings.Split(path, "/")[0], ".") {
			t.Errorf("the library links %s", path)
		}
	}
}

// TestImportersFetchLittle: go mod tidy fetches what the tests of the packages
// that a program imports need, too, and writes it into the program's go.sum.
func TestImportersFetchLittle(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-test", ".", "./client", "./storetest").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		path, _, _ := strings.Cut(strings.TrimSpace(line), " ") // what comes then is whose test it is compiled for
		_, ours := room(strings.TrimSuffix(path, ".test"))
		light := strings.HasPrefix(path, "pgregory.net/rapid") || strings.HasPrefix(path, "github.com/google/go-cmp/")
		if strings.Contains(strings.Split(path, "/")[0], ".") && !ours && !light && path != module+"_test" {
			t.Errorf("whoever imports the library fetches %s: test what needs it in another room", path)
		}
	}
}

func TestOnePackageCommentEach(t *testing.T) {
	for _, p := range list(t) {
		comments := 0
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				comments++
			}
		}
		if comments != 1 {
			t.Errorf("%s has %d package comments", p.ImportPath, comments)
		}
	}
}

func TestMainIsShort(t *testing.T) {
	text, err := os.ReadFile("cmd/penstock/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n >= 60 {
		t.Errorf("main.go has %d lines", n)
	}
}

var requirement = regexp.MustCompile(`(?m)^\t(\S+) (v\S+)( // indirect)?$`)

// TestDependenciesAreExplained: every direct dependency of every module has its
// line, and no other has.
func TestDependenciesAreExplained(t *testing.T) {
	explained, err := os.ReadFile("DEPENDENCIES.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := map[string]bool{}
	for _, file := range []string{"go.mod", "e2e/go.mod", "benchmarks/go.mod"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if file == "go.mod" && strings.Contains(string(text), "\nreplace") {
			t.Error("go.mod replaces a module: whoever requires ours would not get that")
		}
		for _, m := range requirement.FindAllStringSubmatch(string(text), -1) {
			if m[3] == "" && m[1] != module {
				direct[m[1]] = true
				if !strings.Contains(string(explained), "| "+m[1]+" |") {
					t.Errorf("%s requires %s, which has no line in DEPENDENCIES.md", file, m[1])
				}
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z0-9.-]+\.[a-z]+/\S+) \|`).FindAllStringSubmatch(string(explained), -1) {
		if !direct[m[1]] {
			t.Errorf("DEPENDENCIES.md explains %s, which no module requires directly", m[1])
		}
	}
}
