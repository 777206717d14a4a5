// Package customtrainer holds two programs as people outside the repository write them. terms has a dataset, a reward
// and a loss term of its own and uses the package's trainer; trainer has a trainer of its own. What they get for free
// is finetune.Record's: progress, a run folder and a report. The test builds both in a module of their own.
package customtrainer
