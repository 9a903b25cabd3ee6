package demo

import "github.com/penstock-dev/penstock/internal/standin"

// callers are who asks in the demo. Together they send 5.5 requests a second
// with prompts of 1,155 tokens and answers of 211 in the mean, which is the
// published shape of the Azure LLM inference trace of 2023, conversations; how
// it divides among callers is ours.
var callers = []standin.Caller{
	{Name: "alice", Key: "demo-key-alice", Rate: 2, CV: 1, StreamShare: 1, Model: "demo-large"},
	{Name: "bob", Key: "demo-key-bob", Rate: 1.5, CV: 2, StreamShare: 0.5, Model: "demo-small"},
	{Name: "nightly", Key: "demo-key-nightly", Rate: 1.5, CV: 4, StreamShare: 0, Model: "demo-large"},
	{Name: "no key", Rate: 0.5, CV: 1, StreamShare: 1, Model: "demo-small"},
}

// traceCaller is who asks when a trace is played, which names nobody.
var traceCaller = standin.Caller{Name: "trace", Key: "demo-key-trace", Model: "demo-large"}

// tracePolicy holds a trace to one limit: the first figure is its amount a
// minute, the second the window that it is measured over.
const tracePolicy = `# A trace is held to one limit of tokens. It plays faster than it was recorded, so
# the window is as much shorter: it is a minute of the trace's own time.
auth:
  keys:
    - {id: trace, key: demo-key-trace}
log: {level: error}
rate_limiting:
  window: {size: %[2]s}
  per_key:
    keys:
      trace: {tokens_per_minute: %[1]d}
`
