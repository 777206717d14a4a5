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
// A network predicts ε, or v = √ᾱ·ε - √(1-ᾱ)·x₀; c is the condition [N,L,D], a text encoder's last hidden state.
//
// # Design
//
// A Denoiser adds a network's ε̂ to a graph, so that it can be trained as well as run. Whatever is no ε-network becomes a
// Denoiser by a wrapper: FromVelocity for v, Guide for classifier-free guidance. Compile makes a Denoiser something that
// samplers call: a Network, plain tensors in and out.
//
// A sampler is a function on one page that yields its steps; the caller owns the loop:
//
//	for step, err := range diffusion.DDIM(ctx, net.Predict, schedule, noise.Start(8, 64, 64, 4), options) {
//
// All noise is drawn by (seed, sample, step), so a sample does not depend on the batch it is made in.
//
// Packages unet and vae hold the networks of Stable Diffusion, package pipeline puts them together, package diffusiontest
// tests samplers on a Gaussian, whose denoiser and path are known.
package diffusion
