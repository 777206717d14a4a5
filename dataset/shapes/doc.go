// Package shapes is a small world with a language: 64×64 pictures of one to six coloured shapes on a background,
// and prompts that speak of them, "two green circles on the beach".
//
// It is the method's test bench. Pictures of any scene can be drawn (Compose, Draw, World), and any picture,
// drawn or generated, can be judged (Judge, Rater), so that what takes people and days with photographs takes
// milliseconds here. Grammar has the form of the prompts of Lee et al. 2023.
//
// # The judge
//
// Judge sees pixels and nothing else: never a scene, never a prompt. It is right on every one of thousands of
// drawn scenes; TestJudgeOnWornPictures shows how it does on noisy and blurred ones. A Rater compares what
// the judge sees with what a prompt claims, and errs at a chosen rate.
package shapes
