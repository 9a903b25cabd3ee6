//go:build race

package soak

// strict says whether the count at the workers is held to the slots. With the race
// detector a worker may need longer than the 100 ms that the gateway waits for it to
// notice that a client has left: then it is only told.
const strict = false
