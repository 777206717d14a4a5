package kernels

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// A roundedCopy is the copy in bfloat16 of a parameter that stays as it is from run to run. All
// machines on the processor that keep one share it.
type roundedCopy struct {
	value    *tensor.Dense
	memory   *arena
	half     []BF16
	machines int         // that use it
	stale    atomic.Bool // whether half is older than value
}

// roundedCopies are those of all parameters that machines keep.
var roundedCopies = struct {
	sync.Mutex
	all   map[*tensor.Dense]*roundedCopy
	n     atomic.Int32 // how many there are
	reads sync.RWMutex // held by runs that read copies, and by what rounds them
}{all: make(map[*tensor.Dense]*roundedCopy)}

// copyOf returns the copy of a parameter. The first machine that asks makes room for it. The next
// run of a machine rounds it: what has changed the parameter before counts for every new machine.
func copyOf(t *tensor.Dense) (*roundedCopy, error) {
	roundedCopies.Lock()
	defer roundedCopies.Unlock()
	r, ok := roundedCopies.all[t]
	if !ok {
		n := t.DataSize()
		memory, err := newArena(BFloat16.Size() * n)
		if err != nil {
			return nil, err
		}
		r = &roundedCopy{value: t, memory: memory, half: values[BF16](memory.pages, 0, n)}
		roundedCopies.all[t] = r
		roundedCopies.n.Add(1)
	}
	r.stale.Store(true)
	r.machines++
	return r, nil
}

// leave says that a machine does not use r any more. The last one frees it.
func (r *roundedCopy) leave() error {
	roundedCopies.Lock()
	defer roundedCopies.Unlock()
	if r.machines--; r.machines > 0 {
		return nil
	}
	delete(roundedCopies.all, r.value)
	roundedCopies.n.Add(-1)
	return r.memory.free()
}

// bring makes copies as new as their parameters. It waits for runs that read them.
func bring(pool *cpu.Pool, copies []*roundedCopy) {
	stale := func(r *roundedCopy) bool { return r.stale.Load() }
	if !slices.ContainsFunc(copies, stale) {
		return
	}
	roundedCopies.reads.Lock()
	defer roundedCopies.reads.Unlock()
	for _, r := range copies {
		if r.stale.CompareAndSwap(true, false) {
			cpu.ToBF16s(pool, words(r.half), r.value.Float32s())
		}
	}
}

// outdate says that parameters have changed on the host.
func outdate(parameters ...*tensor.Dense) {
	if roundedCopies.n.Load() == 0 {
		return
	}
	roundedCopies.Lock()
	defer roundedCopies.Unlock()
	for _, t := range parameters {
		if r := roundedCopies.all[t]; r != nil {
			r.stale.Store(true)
		}
	}
}

// leaveAll leaves copies.
func leaveAll(copies []*roundedCopy) (err error) {
	for _, r := range copies {
		err = errors.Join(err, r.leave())
	}
	return err
}
