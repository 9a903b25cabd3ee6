package queue

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func benchQueue(b *testing.B, o Options) *Queue {
	b.Helper()
	q, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	return q
}

// BenchmarkFreeSlot is Enter and Release, two reads of the clock included.
func BenchmarkFreeSlot(b *testing.B) {
	q := benchQueue(b, Options{Slots: 100})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		s, _ := q.Enter(ctx)
		s.Release()
	}
}

// BenchmarkClock is one read of the clock, for comparison.
func BenchmarkClock(b *testing.B) {
	q := benchQueue(b, Options{})
	var sum time.Duration
	for b.Loop() {
		sum += q.now()
	}
	_ = sum
}

func BenchmarkFreeSlotParallel(b *testing.B) {
	q := benchQueue(b, Options{Slots: 100})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			s, _ := q.Enter(ctx)
			s.Release()
		}
	})
}

func BenchmarkFull(b *testing.B) {
	q := benchQueue(b, Options{Slots: 1})
	ctx := context.Background()
	if _, err := q.Enter(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = q.Enter(ctx)
	}
}

// BenchmarkJoinAndRelease is the queue's own work for one request that waits:
// joining the line, and the release that hands it its slot. The waiter's
// goroutine, timer and wake-up are left out.
func BenchmarkJoinAndRelease(b *testing.B) {
	for _, waiting := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			q := benchQueue(b, Options{Slots: 1, Size: waiting + 1, Timeout: time.Hour})
			held, err := q.Enter(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			q.mu.Lock()
			for range waiting {
				q.join()
			}
			q.mu.Unlock()
			b.ReportAllocs()
			for b.Loop() {
				q.mu.Lock()
				q.join()
				next := q.line.first
				q.mu.Unlock()
				held.Release()
				<-next.answer
				held = Slot{queue: q, place: next, turn: next.turn}
			}
		})
	}
}

// BenchmarkHandover is the whole of it, with 10,000 goroutines that wait.
func BenchmarkHandover(b *testing.B) {
	const waiting = 10_000
	q := benchQueue(b, Options{Slots: 1, Size: waiting, Timeout: time.Hour})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan struct{})
	ended := make(chan struct{})
	for range waiting {
		go func() {
			for {
				s, err := q.Enter(ctx)
				if err != nil {
					ended <- struct{}{}
					return
				}
				served <- struct{}{}
				s.Release()
			}
		}()
	}
	b.ReportAllocs()
	for b.Loop() {
		<-served
	}
	cancel()
	for left := waiting; left > 0; {
		select {
		case <-served:
		case <-ended:
			left--
		}
	}
}
