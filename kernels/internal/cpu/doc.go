// Package cpu holds the bodies of kudos' operations: arithmetic over []float32 that knows no graph.
//
// # Contract
//
// Tensors are dense and row-major, channels last: images [N,H,W,C], tokens [N,L,C], linear weights [out,in],
// convolution weights [out,KH,KW,in]. A kernel overwrites its destination, which comes before its inputs, unless its
// comment says that it accumulates; destinations overlap no input unless its comment says that they may. Kernels panic on
// misuse (lengths, geometry); they allocate nothing in a steady run. Scratch memory comes from the caller; its size
// is a function of the shapes and of the pool's workers.
//
// Each kernel is a quartet: x.go has the contract and the checks, x_generic.go the definition in plain Go,
// x_amd64.go and x_amd64.s bodies for AVX2 with FMA and for AVX-512, x_noasm.go what is used in their absence. The
// body is chosen when the program starts, by what the processor has; the build tag purego leaves all assembly out.
//
// # Numbers
//
// Results are bit-identical from run to run and for any number of workers: work is cut by shape, never by the
// number of workers, and every sum has one order. They may differ between bodies, by rounding: a body errs at most
// about twice as much as the plain float32 loop does against float64.
//
// # Workers
//
// A Pool's Parallel hands the parts of a task to persistent workers, which poll for a while after
// their last part and then park. A kernel that has parts takes the pool as its first argument.
// Several goroutines may run kernels on one pool at the same time, each with scratch memory of its
// own; they share the workers. Inside a task products are made on a pool of one. A call of assembly
// lasts well under a millisecond, as Go cannot interrupt it.
package cpu

//go:generate go run -C _asm . ..
