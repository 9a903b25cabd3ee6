package usd

import (
	"errors"
	"math"
	"math/big"
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want int64
		err  error
	}{
		{"0", 0, nil},
		{"0.0", 0, nil},
		{"30", 30e9, nil},
		{"30.00", 30e9, nil},
		{"0.0375", 37_500_000, nil},
		{"75.00", 75e9, nil},
		{"0.000000001", 1, nil},
		{"1.100000000", 1_100_000_000, nil},
		{"9007199.254740992", Max, nil},
		{"9007199", 9007199e9, nil},

		{"9007199.254740993", 0, errLarge},
		{"9007200", 0, errLarge},
		{"9999999.999999999", 0, errLarge},
		{"10000000", 0, errLarge},
		{"99999999999999999999999999", 0, errLarge},

		{"0.0000000001", 0, errDecimals},
		{"1.0000000000", 0, errDecimals},
		{"99999999.0000000000", 0, errDecimals},

		{"", 0, errForm},
		{".", 0, errForm},
		{".5", 0, errForm},
		{"5.", 0, errForm},
		{"1e1", 0, errForm},
		{"1.5e1", 0, errForm},
		{"-1", 0, errForm},
		{"+1", 0, errForm},
		{"1.-5", 0, errForm},
		{"1.2.3", 0, errForm},
		{"1,000", 0, errForm},
		{"1_000", 0, errForm},
		{"$1", 0, errForm},
		{"1 ", 0, errForm},
		{" 1", 0, errForm},
		{"1\n", 0, errForm},
		{"007", 0, errForm},
		{"00.5", 0, errForm},
		{"0x10", 0, errForm},
		{".inf", 0, errForm},
		{"NaN", 0, errForm},
		{"٣", 0, errForm},
		{"1.٣", 0, errForm},
	}
	for _, tt := range tests {
		if got, err := Parse(tt.text); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%q: got %d, %v; want %d, %v", tt.text, got, err, tt.want, tt.err)
		}
	}
}

func TestFormat(t *testing.T) {
	for nano, want := range map[int64]string{
		0:             "0.00",
		1:             "0.000000001",
		30e9:          "30.00",
		37_500_000:    "0.0375",
		500_000_000:   "0.50",
		1_234_567_890: "1.23456789",
		-500_000_000:  "-0.50",
		-1:            "-0.000000001",
		Max:           "9007199.254740992",
		math.MaxInt64: "9223372036.854775807",
		math.MinInt64: "-9223372036.854775808",
	} {
		if got := Format(nano); got != want {
			t.Errorf("%d: got %s, want %s", nano, got, want)
		}
	}
}

func TestParseReadsWhatFormatWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Int64Range(0, Max).Draw(t, "nano")
		if got, err := Parse(Format(want)); got != want || err != nil {
			t.Fatalf("%s: got %d, %v; want %d", Format(want), got, err, want)
		}
	})
}

// FuzzParse holds Parse against a regular expression and math/big.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"30.00", "0.0375", "1e1", "-0", "9007199.254740992", "9007199.254740993", "00", "1.0000000000", "1/3"} {
		f.Add(s)
	}
	form := regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]{1,9})?$`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		if !form.MatchString(text) {
			if err == nil || got != 0 {
				t.Fatalf("%q: got %d, %v; want an error", text, got, err)
			}
			return
		}
		want, _ := new(big.Rat).SetString(text)
		want.Mul(want, big.NewRat(Dollar, 1))
		switch fits := want.Cmp(big.NewRat(Max, 1)) <= 0; {
		case fits && (err != nil || big.NewRat(got, 1).Cmp(want) != 0):
			t.Fatalf("%q: got %d, %v; want %s", text, got, err, want)
		case !fits && !errors.Is(err, errLarge):
			t.Fatalf("%q: got %d, %v; want %v", text, got, err, errLarge)
		}
	})
}
