// Package evaluate compares ways to make pictures: a base model, tuned ones, the best of n.
//
// An Arm is one way. All arms have pictures of the same prompts, made from the same noise: place i
// of one belongs to place i of any other. So differences are paired, which tells much smaller ones
// from chance than two means would, and their intervals are clustered by prompt, because pictures
// of one prompt are alike.
//
// # Use
//
// A Scorer turns the pictures of an arm, a dataset, into an Arm: it reads them once, a few at a
// time, and keeps their scores and features. BestOf makes an arm of others. Compare, Frechet and
// Arm.Diversity give single numbers; Summarize gives what a report has, and a Result its tables,
// charts and figures.
//
//	scorer := &evaluate.Scorer{Reward: model, CLIP: encoder}
//	base, err := scorer.Score(ctx, "base", basePictures)
//	…
//	gain, err := evaluate.Compare(base, tuned, evaluate.Reward, seed)
//
// Models does all of it with pipelines, in a folder: it makes the pictures of every model, or those
// that an earlier process has not made, scores them, and chooses the best of n. What it finds is a
// Report, which has a page.
//
// A Panel judges the pictures of one model again and again while it is being tuned: it is what a
// finetune.Guard asks.
package evaluate
