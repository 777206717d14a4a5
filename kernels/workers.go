package kernels

import "github.com/kudos-ml/kudos/kernels/internal/cpu"

// Workers are the goroutines that do the work of machines. They start when there is work for them,
// and each keeps one core busy. A goroutine that runs a machine is one of them for that time.
// Results do not depend on the workers, only the time until they are there.
type Workers struct{ pool *cpu.Pool }

// NewWorkers returns n workers, 1 to 1024. 0 means as many as GOMAXPROCS is now. It panics on other
// numbers. Machines share the workers of the process, GOMAXPROCS in number, unless [Config] names
// others. Name others to leave cores to something else.
func NewWorkers(n int) *Workers { return &Workers{cpu.NewPool(n)} }

// A Task is work that is done in parts. Parts may run in any order and at the same time. So a part
// must not read what another part writes. It must not depend on the worker that runs it, except
// that it may use memory of that worker.
type Task interface {
	// Do does one part. worker is in [0, Context.Workers()). No two parts run on one worker at the
	// same time.
	Do(worker, part int)
}
