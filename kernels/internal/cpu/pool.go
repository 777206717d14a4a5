package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Task is work that is done in parts. Parts may run in any order and at the same time, so a part must neither
// read what another part writes nor depend on the worker that runs it, except for scratch memory of that worker.
type Task interface {
	// Do does one part. worker is in [0, Workers()), and no two parts run on one worker at the same time.
	Do(worker, part int)
}

const (
	// spinFor is how long an idle worker polls for the next dispatch before it parks. Waking a parked worker
	// takes about 100 µs, finding work while polling 1 to 3 µs.
	spinFor = 150 * time.Microsecond
	// stallAfter is how long one short round of polling may take. One that takes longer was suspended by the
	// operating system: somebody else needs the core.
	stallAfter = 40 * time.Microsecond
	// calmFor is how long workers park at once after such a stall.
	calmFor = 20 * time.Millisecond
	// polls is the number of loads in one round of polling, a fraction of a microsecond.
	polls = 64
)

// Of pool.state: open says that helpers may join the dispatch, the low bits count those that have joined, the
// bits above number the dispatches, so that no helper joins one twice.
const (
	joinedMask = 1<<16 - 1
	openBit    = 1 << 16
	dispatch1  = 1 << 17
)

// pool hands parts to persistent workers. Whoever calls Parallel works too; helpers join the dispatch while it is
// open, and the caller waits only for those that have joined, never for one that the system has suspended.
var pool struct {
	mu      sync.Mutex // held during a dispatch
	workers atomic.Int32
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

func init() {
	pool.wake = make(chan struct{}, 1024)
	pool.workers.Store(int32(runtime.GOMAXPROCS(0)))
}

// Workers returns how many workers share a task, the caller included: GOMAXPROCS at start, unless SetWorkers
// changed it. Scratch memory that each worker needs its own of is sized by it.
func Workers() int { return int(pool.workers.Load()) }

// SetWorkers changes the number of workers (1 to 1024); 0 means GOMAXPROCS. It changes no result, only how
// fast it comes, and must not be called while memory sized by Workers is in use. It panics on other numbers.
func SetWorkers(n int) {
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if n < 1 || n > 1024 {
		panic("cpu: SetWorkers: the number of workers must be in 1 to 1024")
	}
	pool.mu.Lock()
	defer pool.mu.Unlock()
	pool.workers.Store(int32(n))
}

// Parallel does every part in [0, parts) of t once and returns when all are done. It does not allocate. The parts
// of a call made inside a Task, or while another goroutine's call is running, are done by the caller alone.
func Parallel(parts int, t Task) {
	if parts <= 1 || Workers() == 1 || !pool.mu.TryLock() {
		for i := range parts {
			t.Do(0, i)
		}
		return
	}
	helpers := min(Workers(), parts) - 1
	for pool.started < helpers {
		pool.started++
		go help(pool.started)
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
	takeParts(0)
	finish()
	pool.task = nil
	pool.mu.Unlock()
}

func takeParts(worker int) {
	for {
		i := pool.next.Add(1) - 1
		if i >= pool.parts {
			return
		}
		pool.task.Do(worker, int(i))
	}
}

// finish lets nobody join any more and waits for those who have.
func finish() {
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
		if time.Since(epoch)-start > 2*spinFor && crowded() {
			time.Sleep(20 * time.Microsecond) // the helper may be waiting for this very core
		}
	}
}

// help is the life of one helper.
func help(worker int) {
	var last uint64 // the dispatch this helper joined or saw last
	for {
		s := pool.state.Load()
		if s&openBit == 0 || s/dispatch1 == last || worker >= Workers() {
			idle(last, worker)
			continue
		}
		if !pool.state.CompareAndSwap(s, s+1) {
			continue
		}
		last = s / dispatch1
		takeParts(worker)
		pool.state.Add(^uint64(0))
	}
}

// idle polls for an open dispatch other than last; if none comes in time it parks until woken.
func idle(last uint64, worker int) {
	now := time.Since(epoch)
	for deadline := now + spinFor; now < deadline && !crowded(); {
		for range polls {
			if joinable(last, worker) {
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
	if !joinable(last, worker) {
		<-pool.wake
	}
	pool.sleepers.Add(-1)
}

func joinable(last uint64, worker int) bool {
	s := pool.state.Load()
	return s&openBit != 0 && s/dispatch1 != last && worker < Workers()
}

// crowded reports whether other programs lately took a core away from a polling worker.
func crowded() bool { return int64(time.Since(epoch)) < pool.calmBefore.Load() }
