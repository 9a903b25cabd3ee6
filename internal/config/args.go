package config

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// List is a flag.Value of several words: --name a b c, as often as one likes.
// The words of all of them add up.
type List []string

// String returns the words, separated by spaces.
func (l *List) String() string { return strings.Join(*l, " ") }

// Set adds one word.
func (l *List) Set(word string) error {
	*l = append(*l, word)
	return nil
}

// unknownFlagError says that a flag is none of the command's.
type unknownFlagError struct {
	Name string // without its dashes
	Near string // the flag that was probably meant; empty when none is near
}

// Error names the flag and the one that was probably meant.
func (e unknownFlagError) Error() string {
	message := "unknown flag --" + shown(e.Name)
	if e.Near != "" {
		return message + "; did you mean --" + e.Near + "?"
	}
	return message + "; see --help"
}

// ParseArgs reads args into the flags of fs and returns the words that belong
// to none, in their order. A flag is --name value or --name=value, with one
// dash or two; a bool needs no value, and a List takes every word up to the
// next flag. A word that begins with a dash is a flag, unless it is a
// negative number such as -1 or a dash alone; after -- there are no flags.
// The error is flag.ErrHelp for -h and --help, or names the flag: it is
// unknown, lacks its value, or has one that its Set refuses.
func ParseArgs(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if word == "--" {
			return append(rest, args...), nil
		}
		if !isFlag(word) {
			rest = append(rest, word)
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
		f := fs.Lookup(name)
		if f == nil {
			if name == "h" || name == "help" {
				return nil, flag.ErrHelp
			}
			return nil, unknownFlag(fs, name)
		}
		words := []string{value}
		if !given {
			words, args = valuesOf(f, args)
		}
		if len(words) == 0 {
			return nil, fmt.Errorf("--%s: needs a value", name)
		}
		for _, w := range words {
			if err := fs.Set(name, w); err != nil {
				return nil, fmt.Errorf("--%s: %w", name, refused(f, w, err))
			}
		}
	}
	return rest, nil
}

// refused says what a flag of the standard library's kinds expects, whose own
// errors do not.
func refused(f *flag.Flag, word string, err error) error {
	getter, ok := f.Value.(flag.Getter)
	if !ok {
		return err
	}
	expected := ""
	switch getter.Get().(type) {
	case bool:
		expected = "true or false"
	case int:
		expected = "a whole number"
	case uint64:
		expected = "a whole number, 0 or more"
	case float64:
		expected = "a number such as 0.5"
	case time.Duration:
		expected = "a duration such as 30s, 150ms or 1h30m"
	default:
		return err
	}
	return fmt.Errorf("expected %s, got %s", expected, shown(word))
}

// valuesOf takes the words that are the value of f from the front of args.
func valuesOf(f *flag.Flag, args []string) (values, rest []string) {
	if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		return []string{"true"}, args
	}
	most := 1
	if _, ok := f.Value.(*List); ok {
		most = len(args)
	}
	n := 0
	for n < min(most, len(args)) && !isFlag(args[n]) {
		n++
	}
	return args[:n], args[n:]
}

// isFlag reports whether a word is a flag and not a value.
func isFlag(word string) bool {
	return len(word) > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9') && word[1] != '.'
}

func unknownFlag(fs *flag.FlagSet, name string) error {
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return unknownFlagError{Name: name, Near: nearest(name, names)}
}

// PrintFlags writes the flags of fs, one a line, in the order of their names.
func PrintFlags(w io.Writer, fs *flag.FlagSet) {
	width := 32
	var rows [][2]string
	fs.VisitAll(func(f *flag.Flag) {
		placeholder, usage := flag.UnquoteUsage(f)
		name := strings.TrimRight(f.Name+" "+placeholder, " ")
		width = max(width, len(name))
		rows = append(rows, [2]string{name, usage})
	})
	for _, row := range rows {
		fmt.Fprintf(w, "  --%-*s %s\n", width, row[0], row[1])
	}
}
