package penstock

import "time"

// BornAt makes an empty store as old as if it had been made at t.
func (s *MemoryStore) BornAt(t time.Time) { s.birth = t.UnixMicro() }
