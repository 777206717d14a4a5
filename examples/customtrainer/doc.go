// Package customtrainer holds programs as people outside the repository write them. terms has a
// dataset, a reward and a loss term of its own and uses the package's trainer; trainer has a
// trainer of its own; prefer tunes by preferences (DPO), policy by policy gradients (DDPO), and
// both go on where they stopped. tune tunes a model and an adapter by a reward of its own, denoiser
// trains a network of its own, judge learns a reward from labels, compare evaluates two arms. What
// they get for free is finetune.Record's: progress, a run folder and a report. The test builds each
// in a module of its own.
package customtrainer
