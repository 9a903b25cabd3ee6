// Package storetest proves that a store keeps what [penstock.Store] promises.
// A store's own test is one call:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) penstock.Store { return mystore.New(…) })
//	}
//
// It plays the scenario files of this package, which need no Go to be read,
// random traffic beside a [Model] that keeps every event, and many goroutines at
// a time. Every time is handed to the store, so nothing in it waits. What two of
// them do to each other shows more often under the race detector.
package storetest

import (
	"embed"
	"io/fs"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock"
)

//go:embed testdata/scenario/*.txt
var scenarios embed.FS

// Run runs every test against new stores that open returns. A store that needs
// closing registers that with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) penstock.Store) {
	t.Run("scenario", func(t *testing.T) {
		files, err := fs.Glob(scenarios, "testdata/scenario/*.txt")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := scenarios.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(file[strings.LastIndexByte(file, '/')+1:], ".txt")
			t.Run(name, func(t *testing.T) { Play(t, open(t), file, string(text)) })
		}
	})
	t.Run("model", func(t *testing.T) { againstModel(t, open) })
	t.Run("promises", func(t *testing.T) { promises(t, open) })
	t.Run("refuses", func(t *testing.T) { refuses(t, open(t)) })
	t.Run("nothing", func(t *testing.T) { nothing(t, open(t)) })
	t.Run("keys", func(t *testing.T) { keepsApart(t, open(t)) })
	t.Run("together", func(t *testing.T) { together(t, open(t)) })
	t.Run("in some order", func(t *testing.T) { inSomeOrder(t, open(t)) })
}
