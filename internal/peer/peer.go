// Package peer tells whether the machine at the other end of a connection is
// still there.
package peer

import "time"

const (
	// Silence is how long a peer may acknowledge nothing, though it was asked for that
	// several times. The system itself would wait for a quarter of an hour where
	// something was sent.
	Silence = time.Minute
	// LookEvery is how often connections are best looked at.
	LookEvery = 30 * time.Second
)
