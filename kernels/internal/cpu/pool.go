package cpu

import (
	mathbits "math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Task is work that is done in parts. Parts may run in any order and at the same time. So a part
// must not read what another part writes. It must not depend on the worker that runs it, except
// that it may use workspace of that worker.
type Task interface {
	// Do does one part. worker is in [0, the pool's Workers()). No two parts of a dispatch run on
	// one worker at the same time.
	Do(worker, part int)
}

const (
	// spinFor is how long an idle worker polls for the next dispatch before it parks. To wake a
	// parked worker takes about 100 µs, to find work while polling 1 to 3 µs. With 150 µs a
	// training step of a small UNet takes 3 % longer.
	spinFor = 400 * time.Microsecond
	// stallAfter is how long one short round of polling may take. If one takes longer, the
	// operating system has suspended the worker: another program needs the core. Its turn is a
	// millisecond or more. Interrupts, and what a virtual machine's host takes, are shorter.
	stallAfter = 500 * time.Microsecond
	// calmFor is how long workers park at once after such a stall.
	calmFor = 20 * time.Millisecond
	// polls is the number of loads in one round of polling, which takes a fraction of a
	// microsecond.
	polls = 64
	// maxWorkers is the most workers that a pool may have. It keeps their count in a dispatch below
	// openBit.
	maxWorkers = 1024
)

// A Pool is workers that share the parts of tasks. Goroutines may call Parallel at the same time.
// Each works at its own dispatch, and counts as one of the workers. The other workers are helpers,
// which are goroutines of the pool. They join the dispatches that are open. A nil Pool is Shared.
type Pool struct{ crew *crew }

// Shared is the pool for callers that name no other. It has GOMAXPROCS workers.
var Shared = NewPool(0)

// serial is the pool for products inside a task. It has one worker.
var serial = NewPool(1)

// NewPool returns a pool of 1 to 1024 workers. A caller of Parallel is one of them. 0 means
// GOMAXPROCS, as it is now. The number changes no result, only how fast it comes. It panics on
// other numbers. Helpers start when they are first needed. They end when the pool is garbage.
func NewPool(workers int) *Pool {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if workers < 1 || workers > maxWorkers {
		panic("cpu: NewPool: the number of workers must be in 1 to 1024")
	}
	c := &crew{workers: workers, helpers: make([]helper, workers-1)}
	for i := range c.helpers {
		c.helpers[i].wake = make(chan struct{}, 1)
	}
	p := &Pool{c}
	runtime.AddCleanup(p, (*crew).end, c)
	return p
}

// members returns the crew of p.
func (p *Pool) members() *crew {
	if p == nil {
		return Shared.crew
	}
	return p.crew
}

// Workers returns how many workers share a task at most, the caller included. It is the number of
// workers that need workspace of their own.
func (p *Pool) Workers() int { return p.members().workers }

// Enter says that the caller keeps a core busy until Leave, between its dispatches too. If as many
// callers have entered as there are workers, each does its tasks alone.
func (p *Pool) Enter() { p.members().entered.Add(1) }

// Leave ends what Enter began.
func (p *Pool) Leave() { p.members().entered.Add(-1) }

// Parallel does every part in [0, parts) of t once, and returns when all are done. There are less
// than 2³¹. It does not allocate. The caller is worker 0. It never waits for a helper that has not
// begun a part. A part that calls Parallel makes a dispatch like any other.
//
// If a part that the caller does panics, the panic comes out of Parallel when no other part runs
// any more. If a part that a helper does panics, the program ends.
func (p *Pool) Parallel(parts int, t Task) {
	if parts > 1 {
		if c := p.members(); c.workers > 1 {
			if i, ok := c.occupy(); ok {
				c.dispatch(i, parts, t)
				return
			}
		}
	}
	for i := range parts {
		t.Do(0, i)
	}
}

// A crew is the part of a pool that its helpers refer to. They must not refer to the pool, or it
// would never become garbage.
type crew struct {
	workers int
	helpers []helper
	slots   [64]dispatch

	busy     atomic.Uint64 // a bit for each slot that is occupied
	entered  atomic.Int32
	sleepers atomic.Int32
	ended    atomic.Bool

	calmBefore atomic.Int64 // nanoseconds since epoch: no polling until then

	mu      sync.Mutex
	started atomic.Int32 // helpers that run; written under mu
}

// A helper is the part of a helper's state that others see.
type helper struct {
	asleep atomic.Bool
	wake   chan struct{}
}

// A dispatch is a call of Parallel. All workers write taken. So it has a cache line of its own,
// apart from the other fields.
type dispatch struct {
	state atomic.Uint32 // how many helpers are in it, and openBit
	task  Task
	parts int64
	_     [32]byte
	taken atomic.Uint64 // parts from the front, and in the upper half those from the back
	_     [56]byte
}

// openBit says that helpers may join.
const openBit = 1 << 16

var epoch = time.Now()

// mayHelp returns how many helpers may work. Those are the helpers 1 to mayHelp. A caller that has
// entered and dispatches counts once.
func (c *crew) mayHelp() int {
	return c.workers - max(int(c.entered.Load()), mathbits.OnesCount64(c.busy.Load()))
}

// occupy finds a free slot and takes it.
func (c *crew) occupy() (slot int, ok bool) {
	for {
		busy := c.busy.Load()
		slot = mathbits.TrailingZeros64(^busy)
		if slot == 64 {
			return 0, false
		}
		if c.busy.CompareAndSwap(busy, busy|1<<slot) {
			return slot, true
		}
	}
}

// dispatch does all parts of t in a slot, with the help of the crew.
func (c *crew) dispatch(slot, parts int, t Task) {
	d := &c.slots[slot]
	d.task, d.parts = t, int64(parts)
	d.taken.Store(0)
	d.state.Store(openBit)
	defer c.finish(slot) // after a panic too
	c.call(min(c.mayHelp(), parts-1))
	for d.part(0) {
	}
}

// part does the next part. It returns false if there is none. Then no helper need join any more.
//
// Every other worker begins at the back. So of two workers, each does about the same half of a task
// as of the one before, and finds in its cache what it has written.
func (d *dispatch) part(worker int) bool {
	one := uint64(1) << (worker & 1 * 32)
	taken := d.taken.Add(one) - one
	front, back := int64(uint32(taken)), int64(taken>>32)
	if front+back >= d.parts {
		d.shut()
		return false
	}
	i := front
	if worker&1 == 1 {
		i = d.parts - 1 - back
	}
	d.task.Do(worker, int(i))
	return true
}

// shut lets no helper join any more. It writes only if it must, because others poll that memory.
func (d *dispatch) shut() {
	if d.state.Load()&openBit != 0 {
		d.state.And(^uint32(openBit))
	}
}

// finish lets no helper join any more, waits for those that have, and frees the slot.
func (c *crew) finish(slot int) {
	d := &c.slots[slot]
	d.shut()
	c.await(d)
	d.task = nil
	c.busy.And(^(uint64(1) << slot))
}

// await returns when no helper is in d.
func (c *crew) await(d *dispatch) {
	if d.state.Load() == 0 {
		return
	}
	for start := time.Since(epoch); ; {
		for range polls {
			if d.state.Load() == 0 {
				return
			}
		}
		runtime.Gosched()
		if time.Since(epoch)-start > 2*spinFor && c.crowded() {
			time.Sleep(20 * time.Microsecond) // the helper may be waiting for this very core
		}
	}
}

// call starts those of the first n helpers that do not run yet, and wakes those that sleep.
func (c *crew) call(n int) {
	if int(c.started.Load()) < n {
		c.start(n)
	}
	if c.sleepers.Load() == 0 {
		return
	}
	for i := range n {
		c.helpers[i].rouse()
	}
}

// start starts helpers until n run.
func (c *crew) start(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for int(c.started.Load()) < n {
		go c.help(int(c.started.Add(1)))
	}
}

// rouse wakes the helper if it sleeps. Each sleep is ended once.
func (h *helper) rouse() {
	if h.asleep.CompareAndSwap(true, false) {
		h.wake <- struct{}{}
	}
}

// end ends all helpers. Dispatches that are still open end without them.
func (c *crew) end() {
	c.ended.Store(true)
	for i := range c.helpers {
		c.helpers[i].rouse()
	}
}

// help is the life of a helper.
func (c *crew) help(worker int) {
	for !c.ended.Load() {
		d := c.join(worker)
		if d == nil {
			c.idle(worker)
			continue
		}
		for worker <= c.mayHelp() && d.part(worker) {
		}
		d.state.Add(^uint32(0))
	}
}

// join joins a dispatch. It returns nil if there is none for this worker.
func (c *crew) join(worker int) *dispatch {
	for {
		d, state := c.open(worker)
		if d == nil || d.state.CompareAndSwap(state, state+1) {
			return d
		}
	}
}

// open returns the open dispatch that the fewest helpers are in, and its state. It returns nil if
// there is none, or if this worker may not help.
func (c *crew) open(worker int) (d *dispatch, state uint32) {
	busy := c.busy.Load()
	if busy == 0 || worker > c.mayHelp() {
		return nil, 0
	}
	for ; busy != 0; busy &= busy - 1 {
		e := &c.slots[mathbits.TrailingZeros64(busy)]
		if s := e.state.Load(); s&openBit != 0 && (d == nil || s < state) {
			d, state = e, s
		}
	}
	return d, state
}

// idle polls for an open dispatch. If none comes in time, or if the worker may not help now, it
// sleeps until it is woken.
func (c *crew) idle(worker int) {
	now := time.Since(epoch)
	for deadline := now + spinFor; now < deadline && worker <= c.mayHelp() && !c.crowded(); {
		for range polls {
			if d, _ := c.open(worker); d != nil {
				return
			}
		}
		runtime.Gosched()
		was := now
		if now = time.Since(epoch); now-was > stallAfter {
			c.calmBefore.Store(int64(now + calmFor))
		}
	}
	me := &c.helpers[worker-1]
	c.sleepers.Add(1)
	defer c.sleepers.Add(-1)
	me.asleep.Store(true)
	if d, _ := c.open(worker); d != nil || c.ended.Load() {
		me.rouse()
	}
	<-me.wake
}

// crowded reports whether another program lately took a core away from a polling worker.
func (c *crew) crowded() bool { return int64(time.Since(epoch)) < c.calmBefore.Load() }
