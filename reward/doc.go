// Package reward scores how well pictures follow their prompts, and does things with scores.
//
// A Model gives one score a sample. What makes or joins models is a Model again (Sum, Batched);
// what makes samples with rewards of samples without is a dataset again (Scored, Best, Weigh),
// which computes nothing before it is ranged over; BestOf chooses among samples.
//
// # From rewards to weights
//
// Fine-tuning weighs every sample of the model's own (Lee et al. 2023, Eq. 2). A Transform turns
// the rewards of all samples into those weights, and Weigh applies it to a dataset:
//
//	weighted := reward.Weigh(scored, reward.PerPrompt(reward.Standardize))
//
// A Transform is a value, and Raw is the paper's. It sees all rewards at once, so what it says of
// one depends on the others, but never on a batch. PerPrompt, Within and Balanced make one of
// another that minds which samples belong together.
//
// # Similarity
//
// CLIP is the model that needs no labels: how near CLIP's features of picture and prompt are.
package reward
