package provider

import (
	"math"
	"testing"
)

func TestSaturation(t *testing.T) {
	const most = math.MaxInt64
	for _, tt := range []struct{ a, b, product, sum int64 }{
		{0, 0, 0, 0},
		{3, 4, 12, 7},
		{most, 1, most, most},
		{most, 0, 0, most},
		{most, most, most, most},
		{1 << 32, 1 << 32, most, 1 << 33},
		{1 << 32, 1 << 30, 1 << 62, 1<<32 + 1<<30},
		{1 << 32, 1 << 31, most, 1<<32 + 1<<31},
		{most - 1, 1, most - 1, most},
		{most - 1, 2, most, most},
	} {
		if times(tt.a, tt.b) != tt.product || times(tt.b, tt.a) != tt.product {
			t.Errorf("%d times %d is %d, want %d", tt.a, tt.b, times(tt.a, tt.b), tt.product)
		}
		if plus(tt.a, tt.b) != tt.sum || plus(tt.b, tt.a) != tt.sum {
			t.Errorf("%d plus %d is %d, want %d", tt.a, tt.b, plus(tt.a, tt.b), tt.sum)
		}
	}
}
