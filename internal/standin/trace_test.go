package standin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestReadTrace(t *testing.T) {
	tests := []struct {
		name, in string
		want     []Request
	}{
		{
			"azure",
			"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n2023-11-17 00:00:00,0,0\n",
			[]Request{
				{InputTokens: 374, OutputTokens: 44},
				{At: 4314579 * time.Microsecond, InputTokens: 396, OutputTokens: 109},
				{At: 20653*time.Second + 319410*time.Microsecond},
			},
		},
		{
			"azure, with the zone said",
			"TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,374,44\n2024-05-10 00:00:01+00:00,1,2\n",
			[]Request{{InputTokens: 374, OutputTokens: 44}, {At: 990070 * time.Microsecond, InputTokens: 1, OutputTokens: 2}},
		},
		{
			"ours, with remarks and the line ends of Windows",
			"\ufeff# drawn, not recorded\r\n# of 2 clients\r\nt_s,client,input_tokens,output_tokens\r\n0.272,48,269,542\r\n# half time\r\n1.028,0,355,638\r\n1.028,7,1,2147483647",
			[]Request{
				{Caller: 48, InputTokens: 269, OutputTokens: 542},
				{At: 756 * time.Millisecond, InputTokens: 355, OutputTokens: 638},
				{At: 756 * time.Millisecond, Caller: 7, InputTokens: 1, OutputTokens: 2147483647},
			},
		},
		{"no rows", "\ufefft_s,client,input_tokens,output_tokens\n", nil},
	}
	for _, tc := range tests {
		got, err := ReadTrace(iotest.OneByteReader(strings.NewReader(tc.in)))
		if diff := gocmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tc.name, err, diff)
		}
	}
}

func TestReadTraceErrors(t *testing.T) {
	const azure, ours = "TIMESTAMP,ContextTokens,GeneratedTokens\n", "t_s,client,input_tokens,output_tokens\n"
	tests := []struct{ in, want string }{
		{"", "the trace is empty; it needs a line of column names"},
		{"# only this\n", "the trace is empty; it needs a line of column names"},
		{"\"", `trace: parse error on line 1, column 2: extraneous or missing " in quoted-field`},
		{"#\nclient,start\n", `trace: line 2: the columns are "client,start"; they must be TIMESTAMP,ContextTokens,GeneratedTokens or t_s,client,input_tokens,output_tokens`},
		{azure + "2023-11-16 18:15:46.6805900,1\n", "trace: record on line 2: wrong number of fields"},
		{azure + "#\n#\nyesterday,1,2\n", `trace: line 4: "yesterday" is no time such as 2023-11-16 18:15:46.6805900, from 1970 to 2261`},
		{azure + "2024-05-10 00:00:00+02:00,1,2\n", `trace: line 2: "2024-05-10 00:00:00+02:00" is no time such as 2023-11-16 18:15:46.6805900, from 1970 to 2261`},
		{azure + "1969-11-16 18:15:46,1,2\n", `trace: line 2: "1969-11-16 18:15:46" is no time such as 2023-11-16 18:15:46.6805900, from 1970 to 2261`},
		{azure + "2262-11-16 18:15:46,1,2\n", `trace: line 2: "2262-11-16 18:15:46" is no time such as 2023-11-16 18:15:46.6805900, from 1970 to 2261`},
		{azure + "2023-11-16 18:15:46,-1,2\n", `trace: line 2: "-1" is no number of tokens from 0 to 2147483647`},
		{azure + "2023-11-16 18:15:46,1,2147483648\n", `trace: line 2: "2147483648" is no number of tokens from 0 to 2147483647`},
		{azure + "2023-11-16 18:15:46,1,2\n2023-11-16 18:15:45,1,2\n", "trace: line 3: it is earlier than the row before; sort the rows by time"},
		{ours + "1h,1,2,3\n", `trace: line 2: "1h" is no number of seconds such as 12.345`},
		{ours + "-1,1,2,3\n", `trace: line 2: "-1" is no number of seconds such as 12.345`},
		{ours + ",1,2,3\n", `trace: line 2: "" is no number of seconds such as 12.345`},
		{ours + "99999999999,1,2,3\n", `trace: line 2: "99999999999" is no number of seconds such as 12.345`},
		{ours + "1,alice,2,3\n", `trace: line 2: "alice" is no client; a client is a number from 0 to 2147483647`},
	}
	for _, tc := range tests {
		got, err := ReadTrace(strings.NewReader(tc.in))
		if fmt.Sprint(err) != tc.want || got != nil {
			t.Errorf("%q: %v with %d requests, want %s", tc.in, err, len(got), tc.want)
		}
	}
	broken := errors.New("disk on fire")
	if _, err := ReadTrace(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// FuzzReadTrace reads anything: either an error, or requests in order from 0 on.
func FuzzReadTrace(f *testing.F) {
	f.Add("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50,396,109\n")
	f.Add("# x\nt_s,client,input_tokens,output_tokens\n0.272,48,269,542\n1.028,54,355,638\n")
	f.Add("t_s,client,input_tokens,output_tokens\n.5,\"1\",2,3\n7.,1,2,3\n")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ReadTrace(strings.NewReader(in))
		if err != nil {
			if got != nil {
				t.Errorf("%d requests with %v", len(got), err)
			}
			return
		}
		ordered := slices.IsSortedFunc(got, func(a, b Request) int { return int(min(max(a.At-b.At, -1), 1)) })
		if !ordered || len(got) > 0 && got[0].At != 0 {
			t.Errorf("%+v", got)
		}
		for _, r := range got {
			if r.InputTokens < 0 || r.OutputTokens < 0 || r.Caller < 0 {
				t.Errorf("%+v", r)
			}
		}
	})
}
