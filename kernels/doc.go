// Package kernels is the arithmetic of kudos: operations for gorgonia's expression graphs, and a
// machine that runs such graphs.
//
// The graph and its derivative are gorgonia's. What is computed, and how, is this package's. An
// operation is a function from nodes to a node, such as [Linear] or [Attention]. Its result can go
// into any operation of gorgonia's, and a result of gorgonia's into any operation of this package.
// gorgonia.Grad differentiates both. A [Machine] and gorgonia's own TapeMachine both run them.
//
// # Layout
//
// Values of nodes are float32, dense and row-major, with channels last:
//
//	images, latents      [N,H,W,C]
//	tokens               [N,L,C]
//	convolution weights  [Cout,KH,KW,Cin]
//	linear weights       [out,in]
//
// So an image is a row of tokens without a copy. Token ids, labels and timesteps are float32 as
// well and hold whole numbers. A loss is a scalar, of shape ().
//
// # Operations
//
//	Linear Conv2D Attention                                 products
//	GroupNorm LayerNorm L2Normalize                         normalization, then an activation
//	SiLU GELU QuickGELU GEGLU ReLU Sigmoid Softplus Exp Log activations
//	Add Sub Mul Scale AddTime AddPositions                  sums and products of values
//	Sum SumAxis Mean Repeat                                 reductions and what undoes them
//	UpsampleNearest UpsampleNearest2x AveragePool           image sizes
//	Concat ConcatAxis Slice Split Reshape View              moving values
//	Embedding GatherRows TimestepEmbedding                  tables
//	MSE L1 SoftmaxCrossEntropy                              losses
//
// [Param] makes the node of a parameter and [Input] that of data. A run reads the tensors that they
// were given. Errors come when the graph is built. They name the operation and the shapes.
//
// Three things of gorgonia can surprise:
//
//   - It merges nodes of equal hash. The operations here are never merged wrongly. But its own
//     slices are merged if their bounds are equal modulo 256: slice with [Slice].
//   - It merges inputs of equal name. Make inputs with [Input], or give them different names.
//   - It differentiates a graph once only. Call gorgonia.Grad once, for all gradients you want.
//
// # Machine
//
// A [Machine] computes the nodes that its [Config] names, and nothing else. It plans order and
// memory once, and a run allocates nothing. [Machine.Plan] tells how much memory it holds before
// anything has run.
//
// The memory of intermediate values can be bounded (Config.ActivationBytes). Then the machine
// computes some of them again, to the same bits. An optimizer can take each gradient as soon as it
// is there ([Update]). Then the gradients are not all in memory at once.
//
// A run is deterministic: it gives the same bits on the same machine, whatever the number of
// workers. The workers are the process's, as many as GOMAXPROCS, or those in [Config]. Machines
// that run at the same time, each in a goroutine, share them: each machine keeps one worker, and
// the rest help where there is work.
//
// # Fusing
//
// A machine computes a product (Linear, Conv2D, the gradients by their inputs) together with what
// is done to its result, as one step, so that the result is stored once:
//
//   - AddTime, behind Linear and Conv2D;
//   - then Add, or the sum of two gradients, if the other term is there before the product;
//   - then SiLU, GELU, QuickGELU or ReLU, behind Linear and Conv2D;
//   - or GEGLU alone, right behind Linear, if its result has a multiple of 8 columns.
//
// A result in between that others want or read, too, is computed by itself. Only what an activation
// is applied to, which its gradient reads, is kept beside the result, in one piece of memory. That
// is not done if the run's memory would grow, or if ActivationBytes is too little for it.
//
// Fusing changes no bit: in BFloat16 each operation gets what the one before would have stored.
// [Plan] says how many steps are fused, and [Machine.Profile] names them by all that they do, such
// as "conv2D+addRepeated". With Config.WatchNaN nothing is fused, as the error is to name the
// operation.
//
// # Precision
//
// Nodes are float32. [Config] says in which [Precision] a machine computes. In a machine of
// BFloat16 each value has a type of its own, float32 or bfloat16:
//
//   - Products (Linear, Conv2D, Attention) take their operands in bfloat16, and norms take what
//     they normalize in bfloat16. Their gradients do so too. All of these give bfloat16.
//     Attention multiplies Q and K, rounded weights of the softmax and V, dout and V, rounded
//     probabilities and dout, and rounded gradients of the scores and K or Q. In between it is
//     float32: the scores, the softmax and its sums, and the gradients of both.
//   - Sums are of float32 values, in one order. A product of matrices, and so a convolution, is one
//     sum over all terms, two by two: of each pair the second term is added first. A term is added
//     with one rounding. What is below 2⁻¹²⁶ counts as zero, before and after. So it is in the
//     instruction VDPBF16PS, and other processors give the same bits. The products of attention
//     are such sums, too, in blocks of keys. Its results are within 0.3 % of exact ones for the
//     same operands. To round exact results takes them 0.14 to 0.19 % away.
//   - Convolutions that Config.Winograd has done by Winograd's algorithm take weights in float32,
//     compute in float32, and round their results. Their bits depend on the processor.
//   - Activations, sums and products of values, and operations that move values give bfloat16
//     where an input is bfloat16, and float32 otherwise.
//   - These are float32: losses, Sum, SumAxis, Mean, L2Normalize, TimestepEmbedding, the statistics
//     of norms, biases, the parameters of norms, and the gradients of parameters. So are the
//     results of gorgonia's operations, the values in Config.Want, and what optimizers see.
//
// Where a value's type is not the one that a reader takes, the plan has a conversion, which is a
// step like any other. Of parameters that stay as they are, copies in bfloat16 can be kept from run
// to run: see Config.ConstantParameters.
//
// A rule in bfloat16 is defined so: its operands are rounded to nearest even, the arithmetic is
// float32, and the result is rounded once. Attention alone rounds in between, too. A rule need not
// know of this. A [Typer] says which types it takes and gives. The machine evaluates it on float32
// copies in the workspace, unless the rule is a [TypedEvaler], as products, activations and sums
// are. Activations take half the memory.
// Products take half the time on processors with AVX512_BF16, and more time than in float32 on
// others. A Device has kernels of its own.
//
// How far a machine of BFloat16 is from one of Float32, relative to it, for one step of two small
// networks with everything that Stable Diffusion's UNet has (TestGradientsInBFloat16). Distances of
// gradients are Euclidean:
//
//	                        loss      all gradients   of a parameter: median, worst
//	16×16, 2 levels of 8    3·10⁻⁴    1.3 %           1.3 %, 3.4 %
//	32×32, 3 levels of 16   2·10⁻⁴    0.8 %           0.7 %, 1.7 %
//
// # Adding an operation
//
// An operation is a [Rule], a small struct: its shape, its evaluation, its gradient. [Apply] makes
// a node of it. This package's second example is a whole rule. What to know:
//
//   - The rule's fields, printed with %+v, tell it from other rules. So it has no pointers and no
//     field that does not matter to the result.
//   - Eval writes all of the result, writes nowhere else and allocates nothing. A rule that needs a
//     workspace says how large as a [Workspacer], and gets it from the [Context].
//   - Work that takes long is done in parts by several workers ([Context.Parallel]). Cut it by
//     shape: otherwise results depend on the number of workers.
//   - Grad builds nodes. Only those that are needed are computed. So the gradient of an input and
//     that of a weight are separate operations. If they are computed together, one operation packs
//     them into one flat result, and each of them is a [View] of it.
//   - A rule that is no [Typer] gets float32 in machines of any precision.
//   - Inputs that have no gradient (ids, masks) are false in Differentiable and nil in the result
//     of Grad.
//   - A rule whose result may overwrite an input is an [InPlacer]. One whose result is part of an
//     input's memory is an [Aliaser].
//
// The test of an operation is one call of kerneltest.Check with the operation's definition in
// float64. Check compares the value with the definition and the gradient with the definition's
// differences. It also fails if Eval breaks one of the rules above.
//
// # Adding a body
//
// The work of Eval is a function of package kernels/internal/cpu: slices in, slices out, no graph.
// Write the definition first, in plain Go, with the loop as its comment. The definition stays:
// assembly is tested against it, and it runs where there is no assembly. Cut the work by shape for
// Parallel. A generator in kernels/internal/cpu/_asm writes the assembly; see the comment of
// package cpu.
package kernels
