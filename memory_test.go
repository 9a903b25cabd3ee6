package penstock_test

import (
	"testing"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) penstock.Store { return penstock.NewMemoryStore(penstock.MemoryOptions{}) })
}

func TestModel(t *testing.T) {
	storetest.Run(t, func(*testing.T) penstock.Store { return storetest.NewModel() })
}
