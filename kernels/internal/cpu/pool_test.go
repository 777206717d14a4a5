package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type countTask struct {
	done []int32
	busy []int32 // parts that run on a worker
	t    *testing.T
}

func (c *countTask) Do(worker, part int) {
	if atomic.AddInt32(&c.busy[worker], 1) != 1 {
		c.t.Errorf("two parts at once on worker %d", worker)
	}
	atomic.AddInt32(&c.done[part], 1)
	runtime.Gosched()
	atomic.AddInt32(&c.busy[worker], -1)
}

func TestParallelDoesEveryPartOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 16} {
		pool := NewPool(workers)
		for _, parts := range []int{0, 1, 2, 3, 7, 100} {
			for range 50 {
				c := &countTask{done: make([]int32, parts), busy: make([]int32, workers), t: t}
				pool.Parallel(parts, c)
				for i, n := range c.done {
					require.Equal(t, int32(1), n, "part %d of %d on %d workers", i, parts, workers)
				}
			}
		}
	}
}

type nestedTask struct {
	pool *Pool
	sum  *atomic.Int64
}

func (n nestedTask) Do(_, part int) { n.pool.Parallel(10, addTask{n.sum, part}) }

type addTask struct {
	sum  *atomic.Int64
	base int
}

func (a addTask) Do(worker, part int) { a.sum.Add(int64(100*a.base + part)) }

func TestParallelInsideATaskAndFromManyGoroutines(t *testing.T) {
	pool := NewPool(4)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				var sum atomic.Int64
				pool.Parallel(10, nestedTask{pool, &sum})
				if sum.Load() != 10*(100*45)+10*45 {
					t.Errorf("sum %d", sum.Load())
				}
			}
		})
	}
	wg.Wait()
}

type noTask struct{}

func (*noTask) Do(_, _ int) {}

func TestParallelAllocatesNothing(t *testing.T) {
	pool := NewPool(3)
	task := &noTask{}
	pool.Parallel(8, task)
	require.Zero(t, testing.AllocsPerRun(100, func() { pool.Parallel(8, task) }))
}

func TestWorkersParkAndWake(t *testing.T) {
	pool := NewPool(3)
	task := &noTask{}
	pool.Parallel(8, task)
	for range 3 {
		for pool.sleepers.Load() < 2 { // they park, be it late
			time.Sleep(time.Millisecond)
		}
		c := &countTask{done: make([]int32, 64), busy: make([]int32, 3), t: t}
		pool.Parallel(64, c)
		for _, n := range c.done {
			require.Equal(t, int32(1), n)
		}
	}
}

func TestNewPoolRefuses(t *testing.T) {
	require.Panics(t, func() { NewPool(-1) })
	require.Panics(t, func() { NewPool(1025) })
}

func BenchmarkParallel(b *testing.B) {
	task := &noTask{}
	for b.Loop() {
		Shared.Parallel(2, task)
	}
}
