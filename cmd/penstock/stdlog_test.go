package main

import (
	"log"
	"strings"
	"testing"
)

func TestQuietStandardLog(t *testing.T) {
	before, flags := log.Writer(), log.Flags()
	defer func() {
		log.SetOutput(before)
		log.SetFlags(flags)
	}()
	var b strings.Builder
	quietStandardLog(&b)
	log.Printf("Unsolicited response received on idle HTTP channel starting with %q; err=%v", "HTTP/1.1 200 OK\r\n\r\na secret", nil)
	if want := "penstock: Unsolicited response received on idle HTTP channel starting with\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
