// Package unet is the denoising network of Stable Diffusion 1, 2 and XL: diffusers'
// UNet2DConditionModel, a U-shaped convolutional network (Ronneberger et al. 2015) that attends to
// a text (Rombach et al. 2022, §3.3).
//
// Everything is configured by the checkpoint's config.json. Latents are channels-last, [N,H,W,C].
//
// # Loading
//
// Load reads the folder unet of a model as diffusers writes it, LoadFS the same of a file system:
//
//	network, err := unet.Load("stable-diffusion-v1-5/unet")
//
// A key of config.json that asks for something that is not computed here is an error that names it,
// and one error lists all tensors that are missing, misshapen or unused. Package pipeline loads a
// whole model, checkpoint files included.
//
// # Predicting
//
// Predict adds to a graph what the network says of noisy latents, ε or v, whichever it was trained
// to say:
//
//	predicted, err := network.Predict(x, times, condition)
//
// x is [N,H,W,C], times [N] (0 to 999) and the condition's tokens [N,L,D]; with SDXL's
// addition_embed_type it reads the pooled vectors and the sizes as well. Sides may be of any
// length. The network is a diffusion.Denoiser: diffusion.Compile makes it run on tensors, and
// diffusion.Guide wraps it in classifier-free guidance.
//
// # Training
//
// Trainable lists the parameters under diffusers' names, each with the tensor that every graph
// reads. An optim.Stepper updates them by any loss of Predict's node; finetune.Tuner does it by the
// loss of diffusion models, weighted by rewards. Package lora trains low-rank adapters instead.
//
// # Fresh weights
//
// DefaultConfig is that of diffusers' class, New makes a network of zeros, and nn.Init draws its
// first weights as PyTorch does:
//
//	config := unet.DefaultConfig()
//	config.BlockOutChannels = []int{64, 128, 256, 256}
//	network, err := unet.New(config)
//	…
//	nn.Init(network, 1)
//
// # Saving
//
// Save writes a folder that Load and diffusers read. A low-rank adapter that is attached must be
// merged or detached before.
//
// # Write your own denoiser
//
// A network of another kind is a struct of layers of package nn with a method Predict, as
// UNet2DCondition is. See package pipeline, which makes pictures by it.
package unet
