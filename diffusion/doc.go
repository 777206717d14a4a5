// Package diffusion holds what a latent diffusion or flow model is beside its networks: levels of
// noise, predictions, processes, the Denoiser, guidance and samplers.
//
// # Notation
//
// x₀ is a clean latent [N,H,W,C], ε standard normal noise of its shape. A noisy latent stands at a
// Level,
//
//	x = Signal·x₀ + Noise·ε
//
// and the network is told a timestep of it. What a network says of x is a Prediction, a sum of x₀
// and ε: ε itself, v = Signal·ε - Noise·x₀, x₀ itself or ε - x₀. With x it is a system of two
// equations, whose solution is x̂₀ and ε̂. A Process is how latents become noise: a Table preserves
// variance, as Stable Diffusion's does, with
//
//	x_t = √ᾱ_t·x₀ + √(1-ᾱ_t)·ε
//
// at whole timesteps t, 0 (clean) to T-1 (noise); σ = √(1/ᾱ - 1) is the noise beside which a signal
// of size 1 stands. A Flow is the straight line (1-σ)·x₀ + σ·ε. c is the Condition, what the
// network is told of the prompts.
//
// # Design
//
// A Denoiser adds to a graph what a network says, so that it can be trained as well as run. A
// Schedule stands beside it, made from a scheduler_config.json: the Process that the network was
// trained on and its Prediction. Nothing but a Prediction knows what a network says: training asks
// it for targets and weights, samplers for x̂₀ and ε̂ at the very level that they stand at, which
// may lie between two timesteps. Guide wraps any Denoiser in classifier-free guidance. Compile
// makes a Denoiser something that samplers call: a Network, plain tensors in and out.
//
// A sampler is a function on one page that yields its steps; the caller owns the loop:
//
//	start := noise.Start(8, 64, 64, 4)
//	for step, err := range diffusion.DDIM(ctx, net.Predict, schedule, start, options) {
//
// DDPM, DDIM, PNDM, Euler, EulerAncestral, DPMSolver and FlowEuler compute what diffusers'
// schedulers of these names compute with the same scheduler_config.json: a key that is missing
// means that class's own default (but for clip_sample, see NewSchedule), a key that the class does
// not know means nothing, and a value that would change the result and is not supported here is an
// error. ParseSampler and Schedule.Sampler return a sampler as a value.
//
// All noise is drawn by (seed, sample, step), so a sample does not depend on the batch it is made
// in.
//
// Packages unet and vae hold the networks of Stable Diffusion, package pipeline puts them together,
// package diffusiontest tests samplers on a Gaussian, whose denoiser and path are known.
package diffusion
