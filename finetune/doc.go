// Package finetune tunes a denoiser on its own samples, weighted by a reward, with a pretraining
// regularizer that keeps quality: Eq. 2 of Lee et al. 2023, Aligning Text-to-Image Models using
// Human Feedback,
//
//	L(θ) = E_(x,z)~D_model[ −r(x,z) log p_θ(x|z) ] + β E_(x,z)~D_pretrain[ −log p_θ(x|z) ]
//
// where −log p_θ(x|z) is, for a diffusion model, the squared error of the predicted noise (Ho et
// al. 2020).
//
// # Parts
//
// A Trainer is a loop of steps, and whoever ranges over it owns the body. Tuner is the trainer of
// this package. It composes its loss of Terms. RewardWeighted and Pretraining are Eq. 2's two, and
// any function of a Batch can join them.
//
// Others take any Trainer. Record writes down what a run does. Checkpoints saves a Trainer that is
// Resumable, so that another process can go on with it bit for bit. Guard ends training when the
// reward is hacked, and keeps the best network. Rounds generates, scores and tunes again and again.
// Run is the folder of a program's run, and does all of it in one call, Finish. Package command has
// the flags of such programs.
//
// # Guard
//
// A reward is learned from some labels, and training finds what it gets wrong: it goes on rising
// when people would not say so any more. A Guard asks a second judge, which training does not see,
// of the network as it becomes. It ends training where the two part or where quality falls below
// what is asked for, and Record.Finish then saves the network that the judge found best. Its
// report has the curves. reward/evaluate's Panel is a judge of pictures.
//
// # Write your own trainer
//
// A Trainer has one method, Steps, which yields a Step after each update. Record needs no more: it
// shows progress, and leaves metrics and a report.
//
// To be resumed, a Trainer has two methods more. State returns all that the next step depends on:
// parameters, the optimizer's state, how many steps are done. Restore takes that over in a Trainer
// that is made anew. Random draws are no state if they are functions of the seed and the step.
// Steps begins behind the steps that are done. The example of Resumable is such a trainer, whole.
//
// Wrappers go one inside the other: Record outside, then Checkpoints, then Guard, then the Trainer,
// or Rounds around it. A wrapper has a method Unwrap() Trainer, by which As finds what is inside.
//
// # Write your own loss
//
// A Term is a name and a function that makes a scalar of a Batch, of nodes of gorgonia's graph. The
// Tuner adds up its terms, differentiates their sum and reports each by its name. A term can use
//
//   - what the network says of the noisy latents, Predicted, and what it should say, Target;
//   - what it says of others, Predict;
//   - what a second network, which is not tuned, says: Reference;
//   - the squared errors of either, Errors;
//   - the latents and the noise that follow from what is said, CleanOf and NoiseOf;
//   - rewards, levels, groups and sizes.
//
// A mean over samples divides by OwnOf and PretrainOf, the sizes of the whole batch, so that a
// batch that is computed in parts (Tuner.Accumulate) has the same loss. Metric reports numbers that
// are no loss. The example of NewTerm is the loss of Diffusion-DPO.
//
// # Where state lives on disk
//
// All that a run leaves is in its folder:
//
//	config.json                what determines the run (Run.Settle, or Record's first step)
//	metrics.jsonl              a line for every step, as it is made (Record)
//	report.json, report.html   what is known so far, every 15 seconds and at the end (Record)
//	checkpoints/step-000123/   what it takes to go on after 123 steps (Checkpoints)
//	    state.safetensors      State.Tensors
//	    state.json             State.Step and State.Values
//	    manifest.json          sizes and SHA-256 of the two, checked when they are read
//	best/step-000123/          the same, of the best networks (Guard)
//	rounds/2/                  pictures and scores of the second round (Rounds)
//	    data/                  what it takes to train on them again
//	cache/                     what a program has encoded and scored; it can be removed
//	unfinished/                a result that is not whole (Run.Unfinished)
//	tuned/                     the result (Finish), or stopped-after-123/
//	.lock                      is there while a process writes to the folder
//
// Checkpoints, results and reports are there whole or not at all. A line of metrics.jsonl that a
// process did not get to write whole is left out when it is read. Whatever ends the process, what
// came after the last checkpoint is lost and made again when the run is resumed. In the end the
// folder holds what it would have held, times aside.
//
// While training, state is in memory only: parameters are where the network has them, and the
// optimizer's state and the moving average are the Tuner's until Close.
//
// # Determinism
//
// Which samples a step sees, their timesteps and their noise are pure functions of the seed, the
// step and the sample's place in the batch.
package finetune
