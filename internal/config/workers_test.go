package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseWorker(t *testing.T) {
	for _, tt := range []struct {
		url    string
		weight int64
		models []string
		want   string
	}{
		{"http://a.test:8000/base", 1, nil, "http://a.test:8000/base 1 []"},
		{"https://a.test", 1000, []string{"m", "n*"}, "https://a.test 1000 [m n*]"},
		{"", 1, nil, "url: expected a URL such as http://10.0.0.7:8000"},
		{"ftp://a.test", 1, nil, "url: expected a URL such as http://10.0.0.7:8000"},
		{"http://user:secret@%zz", 1, nil, "url: expected a URL such as http://10.0.0.7:8000"},
		{"http://user:secret@a.test", 1, nil, "url: a URL with a name or password in it: remove them, they would end up in logs"},
		{"http://a.test?x", 1, nil, "url: a URL ends with its path: remove the ? or # and what follows"},
		{"http://a.test,http://b.test", 1, nil, "url: one URL at a time, without commas"},
		{"http://a.test:99999", 1, nil, "url: a host is an address or a name, and a port a number from 1 to 65535"},
		{"http://a.test:0", 1, nil, "url: a host is an address or a name, and a port a number from 1 to 65535"},
		{"http://a.test", 0, nil, "weight: expected a whole number from 1 to 1000, got 0"},
		{"http://a.test", -1, nil, "weight: expected a whole number from 1 to 1000, got -1"},
		{"http://a.test", 1001, nil, "weight: expected a whole number from 1 to 1000, got 1001"},
		{"http://a.test", 1, []string{"m", ""}, "models: a model without a name: write * for every model"},
		{"http://a.test", 1, []string{strings.Repeat("m", 129)}, "models: a model's name has at most 128 bytes"},
	} {
		w, err := ParseWorker(tt.url, tt.weight, tt.models)
		got := fmt.Sprint(w.URL, " ", w.Weight, " ", w.Models)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.url, got, tt.want)
		}
	}
}
