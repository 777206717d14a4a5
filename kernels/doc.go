// Package kernels is the arithmetic of kudos: operations for gorgonia's expression graphs, and a machine that runs such
// graphs.
//
// The graph and its derivative are gorgonia's; what is computed, and how, is this package's. An operation is a
// function from nodes to a node, [Linear] or [Attention] say. Its result can go into any operation of gorgonia's and the
// other way round, gorgonia.Grad differentiates both, and both a [Machine] and gorgonia's own TapeMachine run them.
//
// # Layout
//
// Values of nodes are float32, dense and row-major, with channels last: images and latents are [N,H,W,C], tokens [N,L,C],
// convolution weights [Cout,KH,KW,Cin], linear weights [out,in]. So an image is a row of tokens without a copy.
// Token ids, labels and timesteps are float32 as well and hold whole numbers. A loss is a scalar, of shape ().
//
// # Operations
//
//	Linear Conv2D Attention                                 products
//	GroupNorm LayerNorm L2Normalize                         normalization, with an activation where one follows
//	SiLU GELU QuickGELU GEGLU ReLU Sigmoid Softplus Exp Log activations
//	Add Sub Mul Scale AddTime AddPositions                  sums and products of values
//	Sum SumAxis Mean Repeat                                 reductions and what undoes them
//	UpsampleNearest UpsampleNearest2x AveragePool           image sizes
//	Concat ConcatAxis Slice Split Reshape View              moving values
//	Embedding GatherRows TimestepEmbedding                  tables
//	MSE L1 SoftmaxCrossEntropy                              losses
//
// [Param] makes the node of a parameter and [Input] that of data; both read the tensor they are given at every run.
// Errors come when the graph is built, and name the operation and the shapes.
//
// gorgonia merges nodes of equal hash, inputs of equal name and its own slices whose bounds are equal modulo 256, and
// differentiates a graph once only. The operations here are never merged wrongly; for the rest, slice with [Slice], make
// inputs with [Input] or names of their own, and call gorgonia.Grad once a graph, for all that is wanted.
//
// # Machine
//
// A [Machine] computes the nodes it is told to, and nothing else: [Config] says which. It plans order and memory once,
// and a run allocates nothing. [Machine.Plan] tells how much memory it holds before anything has run; with a bound on
// the memory of intermediate values it computes some of them again, to the same bits. Optimizers can take each
// gradient as soon as it is there ([Update]), so that not all of them are in memory at once.
//
// A run is deterministic: the same bits on the same machine, whatever the number of workers. The
// workers are the process's, as many as GOMAXPROCS, or those in [Config]. Machines that run at the
// same time, each in a goroutine, share them: each machine keeps one, and the rest help where there
// is work.
//
// # Precision
//
// Nodes are float32, and [Config] says in which [Precision] a machine computes. In one of BFloat16 a
// value's type is the plan's:
//
//   - Products (Linear, Conv2D, Attention) take their operands in bfloat16, norms what they
//     normalize, and their gradients likewise; all give bfloat16. Attention also rounds softmax's
//     numerators, and in its gradient the probabilities and the scores' gradient, before it
//     multiplies them; it does not before it adds them up.
//   - Sums are of float32 values, in one order: for products, the terms are cut into blocks of at
//     most 256, as equal as possible, and added up in order within a block and block after block.
//     A product of two bfloat16 values is exact in float32 (unless it is below 2⁻¹³³), so every
//     body gives the same bits.
//   - Activations, sums and products of values, and what moves values give bfloat16 where an input
//     is bfloat16, and float32 otherwise.
//   - Losses, Sum, SumAxis, Mean, L2Normalize, TimestepEmbedding, norms' statistics, biases, norms'
//     parameters, and the gradients of parameters are float32, as are gorgonia's operations, what is
//     wanted, and what optimizers see.
//
// Where a value's type is not what a reader takes, the plan has a conversion, a step as others are.
// A rule's definition in bfloat16 is: operands rounded to nearest even, float32 arithmetic, the
// result rounded once. A rule need not know of it: a [Typer] says which types it takes and gives, and
// the machine evaluates it on float32 copies in scratch memory, unless it is a [TypedEvaler].
// Activations take half the memory; time is not saved, as no body is made for bfloat16 yet.
//
// # Adding an operation
//
// An operation is a [Rule], a small struct: its shape, its evaluation, its gradient. [Apply] makes a node of it. The rule
// in this package's second example is a whole one. What to know:
//
//   - The rule's fields are what tells it from others, printed with %+v: no pointers, nothing that is not decisive.
//   - Eval writes all of the result, allocates nothing and writes nowhere else. A rule that wants scratch memory says how much as a
//     [Workspacer], and finds it in the [Context].
//   - What takes long is done in parts by several workers ([Context.Parallel]). Cut it by shape, lest
//     results depend on their number.
//   - Grad builds nodes, and only those that are needed get computed. So the gradient of an input and that of a weight
//     are separate operations, unless they are computed jointly: then one operation packs them into one flat result, of
//     which each is a [View].
//   - A rule that is no [Typer] is given float32 in machines of any precision.
//   - Inputs that have no gradient (ids, masks) are false in Differentiable and nil in Grad's result.
//   - A result that may overwrite an input says so ([InPlacer]); one that is part of an input's memory is an [Aliaser].
//
// The test of an operation is one call of kerneltest.Check with its definition in float64: it holds the value to the
// definition, the gradient to the definition's differences, and the body to the rules above.
//
// # Adding a body
//
// What Eval does is a function of package kernels/internal/cpu: slices in, slices out, no graph. Write the definition first, in
// plain Go, with the loop as its comment; it stays, as what assembly is tested against and as what runs where there
// is none. Cut the work by shape for the pool's Parallel. Assembly comes from a generator in
// kernels/internal/cpu/_asm; see the package comment there.
package kernels
