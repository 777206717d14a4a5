package kernels

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// A kept is the copy in bfloat16 of a parameter that stays as it is from run to run. All machines
// on the processor that keep one share it.
type kept struct {
	value    *tensor.Dense
	memory   *arena
	half     []BF16
	machines int         // that use it
	stale    atomic.Bool // whether half is older than value
}

// keeps are the copies of all parameters that machines keep.
var keeps = struct {
	sync.Mutex
	all   map[*tensor.Dense]*kept
	n     atomic.Int32 // how many there are
	reads sync.RWMutex // held by runs that read copies, and by what rounds them
}{all: make(map[*tensor.Dense]*kept)}

// keep returns the copy of a parameter. The first machine that asks makes room for it. The next run
// of a machine rounds it: what has changed the parameter before counts for every new machine.
func keep(t *tensor.Dense) (*kept, error) {
	keeps.Lock()
	defer keeps.Unlock()
	k, ok := keeps.all[t]
	if !ok {
		memory, err := newArena(BFloat16.Size() * t.DataSize())
		if err != nil {
			return nil, err
		}
		k = &kept{value: t, memory: memory, half: values[BF16](memory.pages, 0, t.DataSize())}
		keeps.all[t] = k
		keeps.n.Add(1)
	}
	k.stale.Store(true)
	k.machines++
	return k, nil
}

// leave says that a machine does not use k any more. The last one frees it.
func (k *kept) leave() error {
	keeps.Lock()
	defer keeps.Unlock()
	if k.machines--; k.machines > 0 {
		return nil
	}
	delete(keeps.all, k.value)
	keeps.n.Add(-1)
	return k.memory.free()
}

// bring makes copies as new as their parameters. It waits for runs that read them.
func bring(pool *cpu.Pool, copies []*kept) {
	stale := func(k *kept) bool { return k.stale.Load() }
	if !slices.ContainsFunc(copies, stale) {
		return
	}
	keeps.reads.Lock()
	defer keeps.reads.Unlock()
	for _, k := range copies {
		if k.stale.CompareAndSwap(true, false) {
			cpu.ToBF16s(pool, words(k.half), k.value.Float32s())
		}
	}
}

// outdate says that parameters have changed on the host.
func outdate(parameters ...*tensor.Dense) {
	if keeps.n.Load() == 0 {
		return
	}
	keeps.Lock()
	defer keeps.Unlock()
	for _, t := range parameters {
		if k := keeps.all[t]; k != nil {
			k.stale.Store(true)
		}
	}
}

// leaveAll leaves copies.
func leaveAll(copies []*kept) (err error) {
	for _, k := range copies {
		err = errors.Join(err, k.leave())
	}
	return err
}
