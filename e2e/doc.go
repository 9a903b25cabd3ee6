// Package e2e drives the programs of penstock as its users do: the official
// SDKs, unmodified, against penstock serve in front of penstock worker. It has
// tests alone.
//
// What every SDK needs is in the files that name none: the processes, the
// metrics and the record of what was sent. Each SDK adds files of its own.
package e2e
