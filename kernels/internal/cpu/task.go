package cpu

import (
	"fmt"
	"sync"
	"unsafe"
)

// A freeList keeps tasks for the next call, so that a steady run allocates nothing.
type freeList[T any] struct {
	mu   sync.Mutex
	free []*T
}

func (l *freeList[T]) get() *T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		t := l.free[n-1]
		l.free = l.free[:n-1]
		return t
	}
	return new(T)
}

// put keeps t for the next call. It clears t first, so that t keeps no memory alive.
func (l *freeList[T]) put(t *T) {
	var zero T
	*t = zero
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, t)
}

// ceilDiv returns ⌈a/b⌉.
func ceilDiv(a, b int) int { return (a + b - 1) / b }

// roundUp returns the least multiple of b that is not below a.
func roundUp(a, b int) int { return ceilDiv(a, b) * b }

// span returns where block number part begins and ends among n values.
func span(part, block, n int) (lo, hi int) {
	return part * block, min((part+1)*block, n)
}

// doubles returns n float64 values in a workspace. Each takes the memory of two float32.
func doubles(ws []float32, n int) []float64 {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*float64)(unsafe.Pointer(&ws[:2*n][0])), n)
}

// mustMatch panics unless every slice has n values.
func mustMatch[T float32 | uint16](kernel string, n int, slices ...[]T) {
	for i, s := range slices {
		if len(s) != n {
			panic(fmt.Sprintf("cpu: %s: argument %d has %d values, not %d", kernel, i, len(s), n))
		}
	}
}

// mustHold panics if a workspace has fewer than n values.
func mustHold(kernel string, ws []float32, n int) {
	if len(ws) < n {
		panic(fmt.Sprintf("cpu: %s: the workspace has %d values, not %d", kernel, len(ws), n))
	}
}
