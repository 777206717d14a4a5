package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Task is work that is done in parts. Parts may run in any order and at the same time, so a part
// must neither read what another part writes nor depend on the worker that runs it, except for
// scratch memory of that worker.
type Task interface {
	// Do does one part. worker is in [0, the pool's Workers()), and no two parts run on one worker
	// at the same time.
	Do(worker, part int)
}

const (
	// spinFor is how long an idle worker polls for the next dispatch before it parks. Waking a
	// parked worker takes about 100 µs, finding work while polling 1 to 3 µs.
	spinFor = 150 * time.Microsecond
	// stallAfter is how long one short round of polling may take. One that takes longer was
	// suspended by the operating system: somebody else needs the core.
	stallAfter = 40 * time.Microsecond
	// calmFor is how long workers park at once after such a stall.
	calmFor = 20 * time.Millisecond
	// polls is the number of loads in one round of polling, a fraction of a microsecond.
	polls = 64
)

// Of pool.state: open says that helpers may join the dispatch, the low bits count those that have
// joined, the bits above number the dispatches, so that no helper joins one twice.
const (
	joinedMask = 1<<16 - 1
	openBit    = 1 << 16
	dispatch1  = 1 << 17
)

// A Pool hands parts to persistent workers. Whoever calls Parallel works too; helpers join the
// dispatch while it is open, and the caller waits only for those that have joined, never for one
// that the system has suspended. A nil Pool is Shared.
type Pool struct {
	workers int

	mu      sync.Mutex // held during a dispatch
	started int

	task  Task
	parts int64
	next  atomic.Int64

	state      atomic.Uint64
	sleepers   atomic.Int32
	wake       chan struct{}
	calmBefore atomic.Int64 // nanoseconds since epoch: no polling until then
}

var epoch = time.Now()

// Shared is the pool of who names no other, of GOMAXPROCS workers.
var Shared = NewPool(0)

// serial is the pool of products inside a task.
var serial = NewPool(1)

// NewPool returns a pool of 1 to 1024 workers, callers of Parallel included; 0 means GOMAXPROCS,
// as it is now. The number changes no result, only how fast it comes. It panics on other numbers.
func NewPool(workers int) *Pool {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if workers < 1 || workers > 1024 {
		panic("cpu: NewPool: the number of workers must be in 1 to 1024")
	}
	return &Pool{workers: workers, wake: make(chan struct{}, 1024)}
}

func (pool *Pool) orShared() *Pool {
	if pool == nil {
		return Shared
	}
	return pool
}

// Workers returns how many workers share a task at most, the caller included. Scratch memory that
// each worker needs its own of is sized by it.
func (pool *Pool) Workers() int { return pool.orShared().workers }

// Parallel does every part in [0, parts) of t once and returns when all are done. It does not
// allocate. The parts of a call made inside a Task, or while another goroutine's call is running,
// are done by the caller alone.
func (pool *Pool) Parallel(parts int, t Task) {
	pool = pool.orShared()
	if parts <= 1 || pool.workers == 1 || !pool.mu.TryLock() {
		for i := range parts {
			t.Do(0, i)
		}
		return
	}
	helpers := min(pool.workers, parts) - 1
	for pool.started < helpers {
		pool.started++
		go pool.help(pool.started)
	}
	pool.task, pool.parts = t, int64(parts)
	pool.next.Store(0)
	pool.state.Store(pool.state.Load()&^(openBit|joinedMask) + dispatch1 | openBit)
	for range min(int(pool.sleepers.Load()), helpers) {
		select {
		case pool.wake <- struct{}{}:
		default:
		}
	}
	pool.takeParts(0)
	pool.finish()
	pool.task = nil
	pool.mu.Unlock()
}

func (pool *Pool) takeParts(worker int) {
	for {
		i := pool.next.Add(1) - 1
		if i >= pool.parts {
			return
		}
		pool.task.Do(worker, int(i))
	}
}

// finish lets nobody join any more and waits for those who have.
func (pool *Pool) finish() {
	for {
		s := pool.state.Load()
		if pool.state.CompareAndSwap(s, s&^openBit) {
			break
		}
	}
	start := time.Since(epoch)
	for pool.state.Load()&joinedMask != 0 {
		for range polls {
			if pool.state.Load()&joinedMask == 0 {
				return
			}
		}
		runtime.Gosched()
		if time.Since(epoch)-start > 2*spinFor && pool.crowded() {
			time.Sleep(20 * time.Microsecond) // the helper may be waiting for this very core
		}
	}
}

// help is the life of one helper.
func (pool *Pool) help(worker int) {
	var last uint64 // the dispatch this helper joined or saw last
	for {
		s := pool.state.Load()
		if s&openBit == 0 || s/dispatch1 == last {
			pool.idle(last)
			continue
		}
		if !pool.state.CompareAndSwap(s, s+1) {
			continue
		}
		last = s / dispatch1
		pool.takeParts(worker)
		pool.state.Add(^uint64(0))
	}
}

// idle polls for an open dispatch other than last; if none comes in time it parks until woken.
func (pool *Pool) idle(last uint64) {
	now := time.Since(epoch)
	for deadline := now + spinFor; now < deadline && !pool.crowded(); {
		for range polls {
			if pool.joinable(last) {
				return
			}
		}
		runtime.Gosched()
		was := now
		if now = time.Since(epoch); now-was > stallAfter {
			pool.calmBefore.Store(int64(now + calmFor))
		}
	}
	pool.sleepers.Add(1)
	if !pool.joinable(last) {
		<-pool.wake
	}
	pool.sleepers.Add(-1)
}

func (pool *Pool) joinable(last uint64) bool {
	s := pool.state.Load()
	return s&openBit != 0 && s/dispatch1 != last
}

// crowded reports whether other programs lately took a core away from a polling worker.
func (pool *Pool) crowded() bool { return int64(time.Since(epoch)) < pool.calmBefore.Load() }
