// Command penstock meters requests, tokens, money and concurrency into AI inference
// servers. See penstock help.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(exitCode(os.Stderr, Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)))
}
