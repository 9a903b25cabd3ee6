// Package benchmarks measures penstock beside its peers: other limiters in the
// same process here, and by the programs gateway and report the gateway beside
// a bare reverse proxy. It is a module of its own, so that nothing of it comes
// along with penstock.
package benchmarks
