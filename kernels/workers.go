package kernels

import "github.com/kudos-ml/kudos/kernels/internal/cpu"

// Workers are what machines divide their work among: goroutines that are started when there is
// work for them, each of which keeps one core busy. Whoever runs a machine is one of them, for so
// long. Results do not depend on them, only how fast they come.
type Workers struct{ pool *cpu.Pool }

// NewWorkers returns n workers, 1 to 1024; 0 means as many as GOMAXPROCS is now. It panics on
// other numbers. The workers of a process's machines are shared and GOMAXPROCS in number where
// nothing else is said ([Config]); workers of one's own are for machines that shall leave cores to
// others.
func NewWorkers(n int) *Workers { return &Workers{cpu.NewPool(n)} }

// A Task is work that is done in parts. Parts may run in any order and at the same time, so a part
// must neither read what another part writes nor depend on the worker that runs it, except for
// scratch memory of that worker.
type Task interface {
	// Do does one part. worker is in [0, Context.Workers()), and no two parts run on one worker at
	// the same time.
	Do(worker, part int)
}
