// Package diffusion holds what a latent diffusion model is beside its networks: noise schedules, the Denoiser, guidance
// and samplers.
//
// # Notation
//
// x₀ is a clean latent [N,H,W,C], ε standard normal noise of its shape, t a timestep of training, 0 (clean) to T-1
// (noise), and ᾱ_t (AlphaBar) the share of signal in
//
//	x_t = √ᾱ_t·x₀ + √(1-ᾱ_t)·ε
//
// σ = √(1/ᾱ - 1) is the noise level beside which a signal of size 1 stands. A network predicts ε,
// v = √ᾱ·ε - √(1-ᾱ)·x₀, or x₀ itself; c is the Condition, what the network is told of the prompts.
//
// # Design
//
// A Denoiser adds a network's ε̂ to a graph, so that it can be trained as well as run. Whatever is no ε-network becomes a
// Denoiser by a wrapper: FromVelocity for v, FromClean for x₀, Guide for classifier-free guidance. Compile makes a Denoiser something that
// samplers call: a Network, plain tensors in and out.
//
// A sampler is a function on one page that yields its steps; the caller owns the loop:
//
//	for step, err := range diffusion.DDIM(ctx, net.Predict, schedule, noise.Start(8, 64, 64, 4), options) {
//
// DDPM, DDIM, PNDM, Euler, EulerAncestral and DPMSolver compute what diffusers' schedulers of these names compute with the same
// scheduler_config.json: a key that is missing means that class's own default, a key that the class does not know means nothing, and a
// value that would change the result and is not supported here is an error. Samplers ask for ε̂; given Schedule.Native they ask
// for whatever the network predicts, and read it at the noise level that they stand at. ParseSampler and Schedule.Sampler return a
// sampler as a value.
//
// All noise is drawn by (seed, sample, step), so a sample does not depend on the batch it is made in.
//
// Packages unet and vae hold the networks of Stable Diffusion, package pipeline puts them together, package diffusiontest
// tests samplers on a Gaussian, whose denoiser and path are known.
package diffusion
