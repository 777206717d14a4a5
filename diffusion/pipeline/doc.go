// Package pipeline puts a text-to-image model together: a folder becomes tokenizer, text encoder,
// UNet, VAE and schedule; prompts become samples (Generate), pictures and prompts become latents
// and conditions (Encode).
//
// Both are datasets, so what trains or scores samples does not care where they come from.
//
// # Loading
//
// Load takes a folder as diffusers writes it, a checkpoint file, or the name of a repository in the
// Hugging Face hub's cache on this machine:
//
//	p, err := pipeline.Load("stable-diffusion-v1-5")
//
// Nothing is downloaded. Loading is strict: one error names all files that are missing, or all
// tensors that are missing, misshapen or unused. What is supported is Stable Diffusion 1 and 2; the
// samplers are those of package diffusion, and the folder's scheduler says which one is the
// model's own. LoadFile takes configs from another folder than the checkpoint file's, and LoadFS
// reads a model that is embedded in a program. What is none of these models is refused in a
// sentence that says what it is, and what had to be looked for elsewhere is in Notes.
//
// # Generating
//
// Generate turns a Request into a dataset. Its samples are made as they are asked for:
//
//	samples := p.Generate(pipeline.Request{
//		Prompts: []string{"a dog", "two dogs"}, PerPrompt: 2,
//		Steps: 25, Guidance: 7.5, Seed: 1,
//	})
//	for s, err := range samples.All(ctx) {
//		if err != nil {
//			return err
//		}
//		show(s.Prompt, s.Image)
//	}
//
// Guidance has no default: 1 is none, 7.5 is usual. The noise of a sample depends on the seed and
// on its place in the request alone, so two models that are asked the same start from the same
// noise, whatever their batches are. dataset.WriteFolder writes the pictures, dataset.Keep keeps
// them in memory, and Request.Conditions does without the text encoder.
//
// # Encoding
//
// Encode fills in what training reads: the latent of each sample's picture, scaled as the UNet
// reads it, and the condition of its prompt. With a Cache, another run finds both on the disk:
//
//	encoded := p.Encode(pictures, pipeline.EncodeOptions{Cache: "run/cache"})
//
// EncodeImages, Decode and Conditions are the single steps, for pictures, latents and prompts at
// hand.
//
// # Training
//
// A Pipeline does not train. Package finetune does, with the Pipeline's UNet (or an adapter of it,
// of package lora) as its network, Schedule as its schedule, and samples of Encode. Generate uses
// the weights that the networks have when its dataset is ranged over, so pictures of a model that
// is being trained need no copy of it. Clone makes one.
//
// # Saving
//
// Save writes a folder that Load and diffusers read, in any precision. model_index.json is written
// last, so a folder that has it is complete.
//
// # Memory
//
// The UNet is most of a model. LoadFrozen leaves its numbers out, so that pictures and prompts can
// be encoded in the memory that it would take; LoadUNet reads them afterwards. SaveFrozen and
// SaveUNet write the same two parts. What needs a UNet that has not been read is an *UnreadError:
//
//	p, err := pipeline.LoadFrozen("stable-diffusion-v1-5")
//	…
//	latents := p.Encode(pictures, pipeline.EncodeOptions{}) // range over it now
//	…
//	err = p.LoadUNet()
//
// # Write your own denoiser
//
// Whatever has the two methods of Network can make pictures in place of the UNet: it says what it
// finds in latents, as a node of their graph, and it names the latents that it was made for. A
// struct of layers of package nn is enough, and its fields' tags are its file's names:
//
//	type own struct {
//		Conv *nn.Conv2D `weight:"conv"`
//	}
//
//	func (n *own) Latents() (side, channels int) { return 8, 4 }
//
//	func (n *own) Predict(
//		x, t *gorgonia.Node, c diffusion.Condition,
//	) (*gorgonia.Node, error) {
//		b := nn.On(x)
//		return b.Result(n.Conv.Forward(b, x))
//	}
//
//	mine := p.With("own", &own{nn.NewConv2D(4, 4, 3, 1, true)})
//
// What it predicts, ε or v say, is what the Pipeline's Schedule names, and it shares tokenizer,
// text encoder and VAE with p. nn.Init draws its first weights, nn.Save and nn.Load keep them, and
// with a method Trainable it can be trained by package finetune. Save and Clone refuse such a
// Pipeline by a *NetworkError.
package pipeline
