// Package cpu holds the bodies of kudos' operations: arithmetic over []float32 that knows no graph.
//
// # Contract
//
// Tensors are dense and row-major, with channels last. Images are [N,H,W,C], tokens [N,L,C], linear
// weights [out,in] and convolution weights [out,KH,KW,in].
//
// A kernel's destination comes before its inputs. The kernel overwrites its destination, unless its
// comment says that it accumulates. A destination overlaps no input, unless the kernel's comment
// says that it may. Kernels panic on wrong lengths and wrong geometry.
//
// Kernels allocate nothing in a steady run. The caller gives scratch memory. Its size is a function
// of the shapes and of the pool's workers.
//
// # Files
//
// Each kernel with assembly is in files of one stem:
//
//	x.go          the contract and the checks
//	x_generic.go  the definition in plain Go
//	x_amd64.go    which bodies this processor has, and the declarations of the assembly
//	x_amd64.s     bodies for AVX2 with FMA and for AVX-512
//	x_noasm.go    what is used where there is no assembly
//
// The stems are gemm, gemm_bf16, attention, adamw, activation, bfloat16, softmax, norm, layernorm
// and winograd. The bodies of activation, softmax, norm, layernorm and winograd make one vector, so
// one choice is made for them, in vector_amd64.go or vector_noasm.go. The choice is made when the
// program starts. The build tag purego leaves all assembly out.
//
// The command in _asm writes the .s files: go generate runs it.
//
// # Numbers
//
// Results are bit-identical from run to run and for any number of workers. For this, work is cut by
// shape, never by the number of workers, and every sum has one order. Results may differ between
// bodies, by rounding: against float64 a body errs at most about twice as much as the plain float32
// loop does.
//
// # Workers
//
// A Pool's Parallel hands the parts of a task to persistent workers. These poll for a while after
// their last part and then park. A kernel that has parts takes the pool as its first argument.
//
// Several goroutines may run kernels on one pool at the same time, each with scratch memory of its
// own. They share the workers. Inside a task products are made on a pool of one worker. A call of
// assembly lasts well under a millisecond, as Go cannot interrupt it.
package cpu

//go:generate go run -C _asm . ..
