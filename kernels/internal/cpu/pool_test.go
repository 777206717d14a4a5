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

func newCountTask(t *testing.T, parts, workers int) *countTask {
	return &countTask{done: make([]int32, parts), busy: make([]int32, workers), t: t}
}

func (c *countTask) Do(worker, part int) {
	if atomic.AddInt32(&c.busy[worker], 1) != 1 {
		c.t.Errorf("two parts at once on worker %d", worker)
	}
	atomic.AddInt32(&c.done[part], 1)
	runtime.Gosched()
	atomic.AddInt32(&c.busy[worker], -1)
}

// requireOnce fails unless every part has been done once. It may be called by any goroutine.
func (c *countTask) requireOnce(what ...any) {
	for i, n := range c.done {
		if n != 1 {
			c.t.Errorf("part %d of %d was done %d times: %v", i, len(c.done), n, what)
		}
	}
}

func TestParallelDoesEveryPartOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 16} {
		pool := NewPool(workers)
		for _, parts := range []int{0, 1, 2, 3, 7, 100} {
			for range 50 {
				c := newCountTask(t, parts, workers)
				pool.Parallel(parts, c)
				c.requireOnce(workers)
			}
		}
	}
}

// TestParallelFromManyGoroutines has more goroutines than workers, and more than slots.
func TestParallelFromManyGoroutines(t *testing.T) {
	for _, goroutines := range []int{2, 3, 8, 100} {
		for _, workers := range []int{2, 3, 16} {
			pool := NewPool(workers)
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					if g%2 == 0 {
						pool.Enter()
						defer pool.Leave()
					}
					for i := range 400/goroutines + 1 {
						c := newCountTask(t, 1+(g+i)%9*3, workers)
						pool.Parallel(len(c.done), c)
						c.requireOnce(goroutines, workers)
					}
				})
			}
			wg.Wait()
			require.Zero(t, pool.crew.busy.Load(), "a slot stays occupied")
			require.Zero(t, pool.crew.entered.Load())
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

// A funcTask is a Task without memory of its own.
type funcTask func(worker, part int)

func (f funcTask) Do(worker, part int) { f(worker, part) }

// busiest counts how many parts run at once, and helpers' highest number.
type busiest struct{ running, most, highest atomic.Int32 }

func raise(to *atomic.Int32, n int32) {
	for m := to.Load(); n > m && !to.CompareAndSwap(m, n); m = to.Load() {
	}
}

func (b *busiest) Do(worker, _ int) {
	raise(&b.most, b.running.Add(1))
	raise(&b.highest, int32(worker))
	runtime.Gosched()
	b.running.Add(-1)
}

// TestCallersTakeWorkersFromHelpers: of 4 workers n callers leave the helpers 1 to 4-n.
func TestCallersTakeWorkersFromHelpers(t *testing.T) {
	pool := NewPool(4)
	for callers := 1; callers <= 5; callers++ {
		var all, entered, done sync.WaitGroup
		var b busiest
		entered.Add(callers)
		done.Add(callers)
		for range callers {
			all.Go(func() {
				pool.Enter()
				defer pool.Leave()
				entered.Done()
				entered.Wait()
				for range 100 {
					pool.Parallel(20, &b)
				}
				done.Done()
				done.Wait()
			})
		}
		all.Wait()
		helpers := max(4-callers, 0)
		require.LessOrEqual(t, int(b.highest.Load()), helpers, "helpers beside %d callers", callers)
		require.LessOrEqual(t, int(b.most.Load()), max(4, callers), "%d callers", callers)
	}
}

func TestMayHelpByHand(t *testing.T) {
	pool := NewPool(4)
	c := pool.crew
	require.Equal(t, 4, c.mayHelp())
	first, ok := c.occupy() // a dispatch of who has not entered
	require.True(t, ok)
	require.Equal(t, 3, c.mayHelp())
	pool.Enter() // he may have, or not
	require.Equal(t, 3, c.mayHelp())
	pool.Enter() // of these two at least one does not dispatch
	require.Equal(t, 2, c.mayHelp())
	for slot := 1; slot < 64; slot++ {
		got, ok := c.occupy()
		require.True(t, ok)
		require.Equal(t, slot, got)
	}
	_, ok = c.occupy()
	require.False(t, ok)
	require.Equal(t, 4-64, c.mayHelp())
	c.finish(first)
	got, ok := c.occupy()
	require.True(t, ok)
	require.Equal(t, first, got)
}

// TestOpenByHand: a helper goes where fewest are, among dispatches that are open.
func TestOpenByHand(t *testing.T) {
	c := NewPool(8).crew
	d, _ := c.open(1)
	require.Nil(t, d, "nothing is occupied")
	for slot, state := range []uint32{openBit + 2, openBit + 1, 0, openBit + 3} {
		got, ok := c.occupy()
		require.True(t, ok)
		require.Equal(t, slot, got)
		c.slots[slot].state.Store(state)
	}
	d, state := c.open(1)
	require.Same(t, &c.slots[1], d)
	require.Equal(t, uint32(openBit+1), state)
	require.Same(t, d, c.join(4))
	require.Equal(t, uint32(openBit+2), d.state.Load())
	d, _ = c.open(5) // 8 workers, 4 callers
	require.Nil(t, d)
	require.Nil(t, c.join(5))
}

// TestPartByHand: even workers go up from the first part, odd ones down from the last.
func TestPartByHand(t *testing.T) {
	var got [][2]int
	d := dispatch{parts: 6, task: funcTask(func(worker, part int) {
		got = append(got, [2]int{worker, part})
	})}
	for _, worker := range []int{0, 1, 3, 2, 1, 0} {
		require.True(t, d.part(worker))
	}
	require.Equal(t, [][2]int{{0, 0}, {1, 5}, {3, 4}, {2, 1}, {1, 3}, {0, 2}}, got)
	for worker := range 4 {
		require.False(t, d.part(worker), worker)
	}
	require.Len(t, got, 6)
}

// TestHelpersLeave has a dispatch on all 4 workers when three callers more come: the helpers end
// the parts that they are at, and no others.
func TestHelpersLeave(t *testing.T) {
	pool := NewPool(4)
	var inside sync.WaitGroup
	inside.Add(4)
	var enter sync.Once
	var first [4]atomic.Bool
	pool.Parallel(200, funcTask(func(worker, part int) {
		if first[worker].CompareAndSwap(false, true) {
			inside.Done()
			inside.Wait()
			enter.Do(func() {
				for range 4 {
					pool.Enter()
				}
			})
			return
		}
		if worker != 0 {
			t.Errorf("worker %d stays for part %d", worker, part)
		}
	}))
	for range 4 {
		pool.Leave()
	}
	var b busiest
	require.Eventually(t, func() bool { // and they come back
		pool.Parallel(100, &b)
		return b.highest.Load() == 3
	}, 10*time.Second, time.Millisecond)
}

// TestHelpersShareThemselves has two callers that go on until helpers have been with both.
func TestHelpersShareThemselves(t *testing.T) {
	pool := NewPool(4)
	var helped [2]atomic.Bool
	var all sync.WaitGroup
	deadline := time.Now().Add(10 * time.Second)
	for i := range helped {
		all.Go(func() {
			for !(helped[0].Load() && helped[1].Load()) && time.Now().Before(deadline) {
				pool.Parallel(30, funcTask(func(worker, _ int) {
					if worker > 0 {
						helped[i].Store(true)
					}
					runtime.Gosched()
				}))
			}
		})
	}
	all.Wait()
	require.True(t, helped[0].Load() && helped[1].Load())
}

// TestPanicOfTheCallersPart: it comes out when the helpers are done, and the pool goes on.
func TestPanicOfTheCallersPart(t *testing.T) {
	pool := NewPool(3)
	for range 20 {
		var panicked atomic.Bool
		var inside atomic.Int32
		require.PanicsWithValue(t, "no", func() {
			pool.Parallel(50, funcTask(func(worker, part int) {
				if worker == 0 {
					panicked.Store(true)
					panic("no")
				}
				inside.Add(1)
				for !panicked.Load() { // else the helpers might do all parts
					runtime.Gosched()
				}
				time.Sleep(time.Millisecond / 10)
				inside.Add(-1)
			}))
		})
		require.Zero(t, inside.Load(), "a helper is at a part still")
		require.Zero(t, pool.crew.busy.Load(), "the slot stays occupied")
		c := newCountTask(t, 64, 3)
		pool.Parallel(64, c)
		c.requireOnce()
	}
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
	pool.Parallel(8, &noTask{})
	for range 3 {
		for pool.crew.sleepers.Load() < 2 { // they park, be it late
			time.Sleep(time.Millisecond)
		}
		// Parts that wait for one another need all workers.
		var inside sync.WaitGroup
		inside.Add(3)
		pool.Parallel(3, funcTask(func(_, _ int) {
			inside.Done()
			inside.Wait()
		}))
	}
}

// TestHelpersEndWithTheirPool counts goroutines.
func TestHelpersEndWithTheirPool(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		NewPool(5).Parallel(50, &noTask{})
	}
	require.Eventually(t, func() bool {
		runtime.GC()
		return runtime.NumGoroutine() <= before
	}, 10*time.Second, time.Millisecond)
}

func TestNilPoolIsShared(t *testing.T) {
	var pool *Pool
	require.Equal(t, Shared.Workers(), pool.Workers())
	c := newCountTask(t, 40, pool.Workers())
	pool.Parallel(40, c)
	c.requireOnce()
}

func TestNewPoolRefuses(t *testing.T) {
	require.Panics(t, func() { NewPool(-1) })
	require.Panics(t, func() { NewPool(1025) })
	require.Equal(t, runtime.GOMAXPROCS(0), NewPool(0).Workers())
}

func BenchmarkParallel(b *testing.B) {
	task := &noTask{}
	for b.Loop() {
		Shared.Parallel(2, task)
	}
}

func TestZeros(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 3 << 20} { // the last one has whole huge pages
		x := Zeros(Shared, n)
		require.Len(t, x, n)
		for _, v := range x {
			if v != 0 {
				t.Fatal("a value is not zero")
			}
		}
	}
}
