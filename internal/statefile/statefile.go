// Package statefile keeps named sections of bytes in one file such that after
// any crash there is a whole file: the one before, or the one after a write.
//
// The file is text enough to be known, then sections, then their end:
//
//	"penstock state 1\n"
//	sections   the length of the name (one byte, not 0), the name, then
//	           chunks: their length (4 bytes, not 0), their bytes; then 4 zeros
//	end        a zero, and the CRC-32C of all bytes before it (4 bytes)
//
// Lengths and checksum are little-endian.
package statefile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const magic = "penstock state 1\n"

// maxChunk is the largest chunk that is written; a file with a larger one is
// damaged.
const maxChunk = 64 << 10

// File is a state file that this process alone has. Its methods are called by
// one goroutine at a time.
type File struct {
	path string
	lock *os.File // nil where the system has none
}

// Open takes the file for this process, until Close or its end. It need not
// exist yet; its folder must, and be writable. Beside it lies an empty file with
// .lock at the end of its name, which stays. The error is ErrInUse when another
// process has the file.
func Open(path string) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// A link stays one: what it points to is the file.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	} else if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s is a link to nothing: remove it, or name the file that it is to point to", path)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: name one, or a path where there is nothing yet", path)
	}
	lock, err := lock(path + ".lock")
	if err != nil {
		return nil, err
	}
	return &File{path: path, lock: lock}, nil
}

// relock takes the lock again where its file is another, or gone: with that, or with
// the folder, somebody has removed it, and the next process would find it free.
func (f *File) relock() error {
	if f.lock == nil {
		return nil
	}
	held, err := f.lock.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(f.path + ".lock"); err == nil && os.SameFile(held, there) {
		return nil
	}
	again, err := lock(f.path + ".lock")
	if err != nil {
		return err
	}
	_ = f.lock.Close()
	f.lock = again
	return nil
}

// ErrInUse is what Open and Write say of a file that another process has.
var ErrInUse = errors.New("another process has this state file: give each gateway a file of its own")

// Close gives the file up.
func (f *File) Close() error {
	if f.lock == nil {
		return nil
	}
	return f.lock.Close()
}

// Section is a part of a file, for Write.
type Section struct {
	// Name is 1 to 255 bytes long, and that of no other section.
	Name string
	// Write writes the section's bytes to w. It need not buffer.
	Write func(w io.Writer) error
}

// Write replaces the file by one with these sections. When it returns nil that
// one is on the disk. After an error, and after a crash at any moment, a whole
// one is: that, or the one from before. The error is that of the system or of a
// section's Write.
func (f *File) Write(sections ...Section) (err error) {
	if err := f.relock(); err != nil {
		return err
	}
	next := f.path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) { // a crash has left it
		return err
	}
	// Only the owner may read it: whoever can may learn of the keys in it.
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(next)
		}
	}()
	if err := errors.Join(write(file, sections), file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, f.path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(f.path))
}

func write(w io.Writer, sections []Section) error {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	all := bufio.NewWriterSize(io.MultiWriter(w, sum), maxChunk)
	_, _ = all.WriteString(magic) // errors are kept for Flush
	for i, s := range sections {
		if len(s.Name) < 1 || len(s.Name) > 255 || slices.ContainsFunc(sections[:i], func(o Section) bool { return o.Name == s.Name }) {
			return fmt.Errorf("a section is named %q: give each a name of its own, of 1 to 255 bytes", s.Name)
		}
		_ = all.WriteByte(byte(len(s.Name)))
		_, _ = all.WriteString(s.Name)
		cut := bufio.NewWriterSize(chunks{all}, maxChunk)
		if err := errors.Join(s.Write(cut), cut.Flush()); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		_, _ = all.Write(make([]byte, 4))
	}
	_ = all.WriteByte(0)
	if err := all.Flush(); err != nil {
		return err
	}
	_, err := w.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	return err
}

// chunks writes what it is given as chunks.
type chunks struct{ w *bufio.Writer }

func (c chunks) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxChunk)
		_, _ = c.w.Write(binary.LittleEndian.AppendUint32(nil, uint32(n)))
		if _, err := c.w.Write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// Read reads the file: it checks all of it, then hands each section that take
// names to the function there; others are passed over. A function need not read
// to the end.
//
// A file that is torn, foreign, of a newer version, or of which a function says
// that it cannot be read, is set aside: renamed, with .bad and the time in UTC
// behind its name, and never deleted. The error is then a *SetAside, and the
// caller, some of whose functions may have been called, begins with nothing. Any
// other error is one of the system. Where there is no file nothing is called,
// and the error is nil.
func (f *File) Read(take map[string]func(io.Reader) error) error {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	reason := read(file, take)
	if reason == nil {
		return nil
	}
	to, err := f.setAside()
	if err != nil {
		return fmt.Errorf("%s cannot be used (%w), nor be renamed: %w", f.path, reason, err)
	}
	return &SetAside{Path: f.path, To: to, Reason: reason}
}

// SetAside says that a file could not be used, and where it is now.
type SetAside struct {
	Path, To string
	Reason   error
}

// Error implements error.
func (e *SetAside) Error() string {
	return fmt.Sprintf("%s cannot be used and was renamed to %s: %v; everything is counted from nothing", e.Path, filepath.Base(e.To), e.Reason)
}

// Unwrap returns the reason.
func (e *SetAside) Unwrap() error { return e.Reason }

// setAside renames the file to a name that nothing has.
func (f *File) setAside() (string, error) {
	to := f.path + ".bad-" + time.Now().UTC().Format("20060102T150405Z")
	for i, name := 2, to; ; i++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, os.Rename(f.path, name)
		} else if err != nil {
			return "", err
		}
		name = to + "-" + strconv.Itoa(i)
	}
}

// The reasons for which a file is set aside, beside those of sections.
var (
	errForeign = errors.New("it is no state file of penstock")
	errNewer   = errors.New("a newer version of penstock has written it")
	errTorn    = errors.New("it is torn or damaged")
)

// read checks the file, and then reads its sections.
func read(file io.ReadSeeker, take map[string]func(io.Reader) error) error {
	if err := walk(file, func(string, io.Reader) error { return nil }); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return walk(file, func(name string, section io.Reader) error {
		if take[name] == nil {
			return nil
		}
		if err := take[name](section); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// walk calls section for each of the file's sections, and reads what that has
// left of it.
func walk(file io.Reader, section func(name string, section io.Reader) error) error {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	r := &summed{r: bufio.NewReaderSize(file, maxChunk), sum: sum}
	head := make([]byte, len(magic))
	n, err := io.ReadFull(r, head)
	if err := torn(err); err != nil && err != errTorn {
		return err
	}
	if string(head[:n]) != magic {
		return foreign(head[:n])
	}
	seen := map[string]bool{}
	for {
		size, err := r.bytes(1)
		if err != nil {
			return err
		}
		if size[0] == 0 {
			break
		}
		name, err := r.bytes(int(size[0]))
		if err != nil {
			return err
		}
		if seen[string(name)] {
			return errTorn
		}
		seen[string(name)] = true
		s := &sectionReader{from: r}
		if err := section(string(name), s); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, s); err != nil {
			return err
		}
	}
	want := sum.Sum32()
	got, err := r.bytes(4)
	if err != nil {
		return err
	}
	if _, err := r.r.ReadByte(); binary.LittleEndian.Uint32(got) != want || err != io.EOF {
		return errTorn
	}
	return nil
}

// foreign says what a file is that does not begin as one of ours.
func foreign(head []byte) error {
	const name = "penstock state "
	switch {
	case len(head) < len(magic) && string(head) == magic[:len(head)]:
		return errTorn
	case len(head) == len(magic) && string(head[:len(name)]) == name && head[len(name)] > '1' && head[len(name)] <= '9':
		return errNewer
	}
	return errForeign
}

// torn makes the early end of a file one that says what is wrong with it.
func torn(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errTorn
	}
	return err
}

// summed adds up what is read of a file.
type summed struct {
	r   *bufio.Reader
	sum hash.Hash32
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	_, _ = s.sum.Write(p[:n])
	return n, err
}

func (s *summed) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(s, b)
	return b, torn(err)
}

// sectionReader reads the bytes in a section's chunks.
type sectionReader struct {
	from *summed
	left int // of the chunk
	err  error
}

func (s *sectionReader) Read(p []byte) (int, error) {
	if s.left == 0 && s.err == nil {
		size, err := s.from.bytes(4)
		if s.err = err; err == nil {
			switch n := binary.LittleEndian.Uint32(size); {
			case n == 0:
				s.err = io.EOF
			case n > maxChunk:
				s.err = errTorn
			default:
				s.left = int(n)
			}
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.from.Read(p[:min(len(p), s.left)])
	s.left -= n
	s.err = torn(err)
	return n, nil
}
