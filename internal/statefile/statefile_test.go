package statefile

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func open(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func text(name, text string) Section {
	return Section{name, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}}
}

// contents reads the sections called a and b.
func contents(f *File) (map[string]string, error) {
	got := map[string]string{}
	take := func(name string) func(io.Reader) error {
		return func(r io.Reader) error {
			b, err := io.ReadAll(r)
			got[name] = string(b)
			return err
		}
	}
	err := f.Read(map[string]func(io.Reader) error{"a": take("a"), "b": take("b")})
	return got, err
}

func want(t *testing.T, what string, f *File, want map[string]string) {
	t.Helper()
	if got, err := contents(f); err != nil || !maps.Equal(got, want) {
		t.Errorf("%s: %d sections, %v; want %d", what, len(got), err, len(want))
	}
}

func write1(t testing.TB, f *File, sections ...Section) {
	t.Helper()
	if err := f.Write(sections...); err != nil {
		t.Fatal(err)
	}
}

// names are the files in a folder.
func names(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	f := open(t, path)
	want(t, "where there is no file", f, map[string]string{})
	for _, n := range []int{0, 1, maxChunk - 1, maxChunk, maxChunk + 1, 3*maxChunk + 5} {
		long := strings.Repeat("x", n)
		write1(t, f, text("a", long), text("unknown", "passed over"), text("b", "short"))
		want(t, "what was written", f, map[string]string{"a": long, "b": "short"})
	}
	write1(t, f)
	want(t, "without a section", f, map[string]string{})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"state", "state.lock"}) {
		t.Errorf("there are %v", got)
	}
}

func TestFileGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	write1(t, open(t, path), text("a", "what"), text("bc", ""))
	got, err := os.ReadFile(path)
	if want := "penstock state 1\n\x01a\x04\x00\x00\x00what\x00\x00\x00\x00\x02bc\x00\x00\x00\x00\x00\xb2\x0e\x9bN"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestSectionsMayBeReadInPart(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "state"))
	write1(t, f, text("a", strings.Repeat("x", 2*maxChunk)), text("b", "whole"))
	one := make([]byte, 1)
	err := f.Read(map[string]func(io.Reader) error{
		"a": func(r io.Reader) error { _, err := r.Read(one); return err },
		"b": func(r io.Reader) error {
			if b, err := io.ReadAll(r); string(b) != "whole" || err != nil {
				t.Errorf("%q %v", b, err)
			}
			return nil
		},
	})
	if err != nil {
		t.Error(err)
	}
}

// TestDamageIsSetAside: whatever is cut off a file, added to it or changed in
// it, nothing of it is used, and all of it is kept.
func TestDamageIsSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	f := open(t, path)
	write1(t, f, text("a", "some bytes"), text("b", "more"))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string]error{ // what is read, and why it is set aside
		string(good) + "x":                       errTorn,
		"penstock state 2\n" + string(good[17:]): errNewer,
		"listen: 127.0.0.1:3000\n":               errForeign,
		"{}":                                     errForeign,
	}
	for n := range good {
		damaged[string(good[:n])] = errTorn
		for _, bit := range []byte{1, 0x80} {
			b := slices.Clone(good)
			b[n] ^= bit
			damaged[string(b)] = nil // any
		}
	}
	for b, reason := range damaged {
		if err := os.WriteFile(path, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := contents(f)
		var aside *SetAside
		if !errors.As(err, &aside) || len(got) != 0 {
			t.Fatalf("%q: %v, %v", b, got, err)
		}
		if reason != nil && !errors.Is(err, reason) || !errors.Is(err, errTorn) && !errors.Is(err, errForeign) && !errors.Is(err, errNewer) {
			t.Errorf("%q: %v, want %v", b, err, reason)
		}
		if kept, err := os.ReadFile(aside.To); err != nil || string(kept) != b {
			t.Errorf("%q became %q, %v", b, kept, err)
		}
		want(t, "afterwards", f, map[string]string{})
	}
	if got := len(names(t, dir)); got != len(damaged)+1 {
		t.Errorf("%d files were kept of %d", got-1, len(damaged))
	}
}

func TestSetAsideSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	f := open(t, path)
	write1(t, f, text("a", "bytes"))
	unreadable := errors.New("these are no bytes that I know")
	err := f.Read(map[string]func(io.Reader) error{"a": func(io.Reader) error { return unreadable }})
	var aside *SetAside
	if !errors.As(err, &aside) || !errors.Is(err, unreadable) {
		t.Fatal(err)
	}
	if want := path + " cannot be used and was renamed to " + filepath.Base(aside.To) + ": a: these are no bytes that I know; everything is counted from nothing"; err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if rest, ok := strings.CutPrefix(aside.To, path+".bad-20"); !ok || len(rest) != len("260102T150405Z") {
		t.Errorf("renamed to %s", aside.To)
	}

	long := open(t, filepath.Join(dir, strings.Repeat("n", 245)))
	if err := os.WriteFile(long.path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := long.Read(nil); err == nil || errors.As(err, &aside) || !strings.Contains(err.Error(), "nor be renamed") {
		t.Errorf("where the new name is too long: %v", err)
	}
}

// TestCrashBeforeTheRename: what a crash leaves beside the file is of no
// consequence, wherever the write got.
func TestCrashBeforeTheRename(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	f := open(t, path)
	write1(t, f, text("a", "new"))
	next, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write1(t, f, text("a", "old"))
	for n := range len(next) + 1 {
		if err := os.WriteFile(path+".new", next[:n], 0o444); err != nil {
			t.Fatal(err)
		}
		want(t, "after the crash", f, map[string]string{"a": "old"})
		write1(t, f, text("a", "old"))
		if got := names(t, dir); !slices.Equal(got, []string{"state", "state.lock"}) {
			t.Fatalf("there are %v", got)
		}
	}
}

func TestWriteThatFailsLeavesTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	f := open(t, path)
	write1(t, f, text("a", "old"))
	broken := errors.New("no bytes today")
	for name, sections := range map[string][]Section{
		"a section's error": {{"a", func(io.Writer) error { return broken }}},
		"an error after its text": {{"a", func(w io.Writer) error {
			return errors.Join(text("", strings.Repeat("x", 5*maxChunk)).Write(w), broken)
		}}},
		"no name":         {text("", "x")},
		"a name twice":    {text("a", "x"), text("a", "y")},
		"a name too long": {text(strings.Repeat("n", 256), "x")},
	} {
		if err := f.Write(sections...); err == nil || strings.HasPrefix(name, "a section") && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		want(t, name, f, map[string]string{"a": "old"})
		if got := names(t, dir); !slices.Equal(got, []string{"state", "state.lock"}) {
			t.Errorf("%s: there are %v", name, got)
		}
	}

	// What is in the way is not overwritten.
	if err := os.MkdirAll(filepath.Join(path+".new", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(text("a", "new")); err == nil {
		t.Error("a folder in place of the next file, and no error")
	}
	want(t, "a folder in place of the next file", f, map[string]string{"a": "old"})
	if err := errors.Join(os.RemoveAll(path+".new"), os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(text("a", "new")); err == nil {
		t.Error("a folder in place of the file, and no error")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(text("a", "new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its folder: %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	first := open(t, path)
	_, err := Open(path)
	if !errors.Is(err, ErrInUse) || err.Error() != path+".lock is locked: another process has this state file: give each gateway a file of its own" {
		t.Errorf("the second on one file: %v", err)
	}
	open(t, filepath.Join(dir, "another"))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if _, err := Open(filepath.Join(dir, "missing", "state")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its folder: %v", err)
	}
	if _, err := Open(dir); err == nil || err.Error() != dir+" is not a regular file: name one, or a path where there is nothing yet" {
		t.Errorf("a folder: %v", err)
	}
}

func TestOpenIsOfTheFolderItWasOpenedIn(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	f := open(t, "state")
	t.Chdir(t.TempDir())
	write1(t, f, text("a", "x"))
	if _, err := os.Stat(filepath.Join(dir, "state")); err != nil {
		t.Error(err)
	}
}

// FuzzRead: whatever is in the file, it is set aside with nothing of it used, or
// it is what Write writes of what was read.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	for _, sections := range [][]Section{nil, {text("a", "x")}, {text("a", ""), text("b", strings.Repeat("x", 100))}} {
		b.Reset()
		if err := write(&b, sections); err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.Clone(b.Bytes()))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		used := 0
		err := read(bytes.NewReader(in), map[string]func(io.Reader) error{"a": func(r io.Reader) error {
			used++
			_, err := io.Copy(io.Discard, r)
			return err
		}})
		if err != nil && used > 0 {
			t.Fatalf("a damaged file was used: %v", err)
		}
		var sections []Section
		if again := walk(bytes.NewReader(in), func(name string, r io.Reader) error {
			b, err := io.ReadAll(r)
			sections = append(sections, text(name, string(b)))
			return err
		}); (again == nil) != (err == nil) {
			t.Fatalf("%v, and then %v", err, again)
		}
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := write(&out, sections); err != nil || out.Len() > len(in) {
			t.Fatalf("%d bytes of %d, %v", out.Len(), len(in), err)
		}
	})
}

// TestLink: a link stays one, and what it points to is the file. One to nothing is
// refused in words that help: an empty file that is made for it is no state file.
func TestLink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	if f, err := Open(link); err == nil || err.Error() != link+" is a link to nothing: remove it, or name the file that it is to point to" {
		t.Fatalf("%v %v", f, err)
	}
	f := open(t, real) // as it says
	want(t, "what is named instead", f, map[string]string{})
	write1(t, f, text("a", "first"))
	if _, err := Open(link); !errors.Is(err, ErrInUse) {
		t.Errorf("the same file, by its link: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = open(t, link)
	write1(t, f, text("a", "second"))
	if to, err := os.Readlink(link); err != nil || to != "real" {
		t.Errorf("after a write the link points to %q, %v", to, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, "what was written by the link", open(t, real), map[string]string{"a": "second"})
}

// TestLockIsRemoved: whoever removes the lock, or all of the folder, does not make
// two processes write one file.
func TestLockIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state")
	f := open(t, path)
	if f.lock == nil {
		t.Skip("there are no locks here")
	}
	for _, gone := range []string{path + ".lock", dir} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := f.Write(text("a", "one")); err != nil {
			t.Errorf("without %s: %v", gone, err)
		}
		if _, err := Open(path); !errors.Is(err, ErrInUse) {
			t.Errorf("without %s another opens the file: %v", gone, err)
		}
	}
	if err := os.Remove(path + ".lock"); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if err := f.Write(text("a", "two")); !errors.Is(err, ErrInUse) {
		t.Errorf("another has taken it meanwhile, and a write says %v", err)
	}
}
