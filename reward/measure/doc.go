// Package measure turns scores, features and labels into numbers with which models can be compared,
// each with what it takes to know whether a difference is one.
//
// # Which interval
//
//   - Rate: one arm's share of good pictures. Wilson's score interval; samples count as
//     independent.
//   - Paired: the difference of two arms that were asked the same prompts from the same noise. A
//     bootstrap over clusters (prompts), because pictures of one prompt are alike.
//   - Mean, AUCInterval: one arm's mean or AUC, by the same bootstrap.
//   - FewClusters: a mean over a few folds. Student's interval.
//   - Pigeonhole: statistics of what raters said about prompts, where both are samples of more.
//
// # Which distance
//
// Frechet compares distributions of features (an arm's pictures and a reference's), and
// FrechetInterval says how sure that is. Diversity is how far apart the pictures of one prompt are.
//
// # How good a reward is
//
// Accuracy and AUC say how well scores predict labels, and Pairs how well they choose between
// pictures of one prompt. NewReliability says whether scores are probabilities, and Temperature
// makes logits such.
//
// # Which agreement of raters
//
// Agreement is the share of pairs that agree. CohenKappa, for two raters, and FleissKappa, for as
// many ratings of everything, take off what chance gives. KrippendorffAlpha does too, and ratings
// may be missing.
package measure
