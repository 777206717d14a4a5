// Package kudos is the map of a software kit for reward-weighted fine-tuning of text-to-image
// diffusion models; the code is in the packages below.
//
// # The method
//
// It is that of Kimin Lee, Hao Liu, Moonkyung Ryu, Olivia Watkins, Yuqing Du, Craig Boutilier,
// Pieter Abbeel, Mohammad Ghavamzadeh and Shixiang Shane Gu, Aligning Text-to-Image Models using
// Human Feedback, 2023 (arXiv:2302.12192). A model makes pictures of prompts, and people label them
// good or bad. From the labels a reward is learned: CLIP's embeddings of picture x and prompt z, a
// perceptron, a score r(x,z) between 0 and 1. Then the model is tuned on its own pictures, each
// weighted by its reward, and held to what it could do before by a second term on pretraining data:
//
//	E_model[ r·‖ε − ε_θ(x_t,t,z)‖² ] + β·E_pretrain[ ‖ε − ε_θ(x_t,t,z)‖² ]        (Eq. 2)
//
// The result is compared with the model before, and with the best of n of its pictures by the same
// reward. finetune/loss.go holds Eq. 2, and reward/alignment/loss.go the reward's loss, Eq. 1.
//
// # Packages
//
// A package imports only what stands above it:
//
//	kernels                operations for gorgonia's graphs with their gradients, and the machine
//	                       that runs such graphs
//	kernels/cuda           NVIDIA GPUs, which run kernels
//	kernels/nn             layers as plain data, their fresh weights and files, and the builder of
//	                       graphs
//	kernels/optim          AdamW, gradient clipping, moving averages, learning rate schedules
//	finetune/report        what a run shows and leaves: progress, its folder, tables, charts,
//	                       pictures, one HTML page
//	dataset                samples one after another; prompts that can be generated; JSONL files
//	                       and folders
//	dataset/feedback       a store of pictures and of what people say of them, in one SQLite file
//	dataset/shapes         a small world of coloured shapes: its prompts, its pictures, its judge
//	clip/tokenizer         prompts to token ids, by CLIP's byte-pair encoding
//	clip                   CLIP's text and picture encoders, and their training
//	diffusion              levels, predictions, processes, the denoiser, guidance, samplers
//	diffusion/unet         the denoising network of Stable Diffusion 1, 2 and XL
//	diffusion/lora         low-rank adapters of it and of the text encoder: trained, merged, in
//	                       diffusers' and kohya's files
//	diffusion/vae          its autoencoder
//	diffusion/pipeline     all of it from one folder: prompts to pictures, pictures to latents
//	reward/measure         numbers that compare models: rates with intervals, Fréchet distance,
//	                       diversity, accuracy, AUC
//	reward                 scores of samples, weights of scores, best-of-n
//	reward/evaluate        models compared: pictures from the same noise, scores, best-of-n,
//	                       differences with intervals
//	reward/study           the pages on which people compare two models blind, and what their
//	                       answers amount to; reward/study/studytest stands in for them in tests
//	finetune               Eq. 2 as a trainer whose loss is composed of terms; what records, saves
//	                       and resumes any trainer
//	reward/alignment       the paper's reward: learned from labels on CLIP's embeddings
//	finetune/command       what programs that tune share: flags, what fits memory, training that
//	                       is saved
//	reward/label           the pages on which people label pictures, and their owner's overview
//	examples/tiny          a complete Stable Diffusion in miniature, embedded, and
//	                       examples/tiny/train, which made it
//	examples/tiny/trial    tuned miniatures compared with the base model
//	examples/generate      pictures of prompts, from the miniature or a model of yours
//	examples/quickstart    the whole method in one command
//	examples/label         pictures labelled in a browser, by one or by many
//	examples/reward        a reward learned from labels of yours
//	examples/finetune      a Stable Diffusion of yours, tuned
//	examples/evaluate      models compared on prompts of yours: base, tuned and best-of-n
//	examples/study         people compare two models, blind
//	examples/parity        a checkpoint compared with what diffusers computed on it
//
// # Interfaces
//
// Five interfaces are what a user may want to implement. Each but the last has one method and an
// adapter for functions. A sample (dataset.Sample) is what goes from one to the next.
//
//	dataset      dataset.Dataset      samples: generated, read from files, labelled by people
//	reward model reward.Model         one score a sample, higher is better
//	denoiser     diffusion.Denoiser   what a network says of noisy latents, as a graph's node
//	trainer      finetune.Trainer     training, one step after another
//	loss term    finetune.Term        one summand of the loss of finetune.Tuner, with a name
package kudos
