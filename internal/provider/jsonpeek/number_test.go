package jsonpeek

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWhole(t *testing.T) {
	const most, least = math.MaxInt64, math.MinInt64
	for _, tt := range []struct {
		raw  string
		want int64
		ok   bool
	}{
		{"0", 0, true},
		{"-0", 0, true},
		{"0.000", 0, true},
		{"0e999999999999999999999", 0, true},
		{"100", 100, true},
		{"100.0", 100, true},
		{"1e2", 100, true},
		{"1E+2", 100, true},
		{"1.5e1", 15, true},
		{"1000e-1", 100, true},
		{"10e-1", 1, true},
		{"-7", -7, true},
		{"120.50e1", 1205, true},
		{"1002003.000", 1002003, true},
		{"0.5", 0, false},
		{"1.5", 0, false},
		{"1e-1", 0, false},
		{"100.01", 0, false},
		{"1e-99999999999999999999", 0, false},
		{"9223372036854775807", most, true},
		{"9223372036854775807.0", most, true},
		{"922337203685477580700e-2", most, true},
		{"9223372036854775808", most, false},
		{"-9223372036854775808", least, false},
		{"1e19", most, false},
		{"-1e19", least, false},
		{"1e999999999999999999999", most, false},
		{"99999999999999999999999.5", 0, false},
		{"9999999999999999999999900e-3", 0, false},
		{"9999999999999999999990000e-3", most, false},
		{"0.00001e5", 1, true},
		{strings.Repeat("1", 1000), most, false},
		{"1" + strings.Repeat("0", 1000) + "e-1000", 1, true},
	} {
		if got, ok := Whole([]byte(tt.raw)); got != tt.want || ok != tt.ok {
			t.Errorf("%s is %d, %v; want %d, %v", tt.raw, got, ok, tt.want, tt.ok)
		}
	}
}

// TestWholeModel compares with exact rational numbers.
func TestWholeModel(t *testing.T) {
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		raw := number.Draw(t, "number")
		exact, _ := new(big.Rat).SetString(raw)
		want, ok := int64(0), exact.IsInt()
		if limit := new(big.Rat).SetInt64(math.MaxInt64); ok && exact.Cmp(limit) > 0 {
			want, ok = math.MaxInt64, false
		} else if ok && exact.Cmp(limit.Neg(limit)) < 0 {
			want, ok = math.MinInt64, false
		} else if ok {
			want = exact.Num().Int64()
		}
		if got, gotOK := Whole([]byte(raw)); got != want || gotOK != ok {
			t.Fatalf("%s is %d, %v; want %d, %v", raw, got, gotOK, want, ok)
		}
	})
}
