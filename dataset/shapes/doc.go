// Package shapes is a small world with a language. The world is 64×64 pictures of one to six
// coloured shapes on a background. The language is prompts that speak of them: "two green circles
// on the beach".
//
// It is the method's test bench. Pictures of any scene can be drawn (Compose, Draw, World). Any
// picture, drawn or generated, can be judged (Judge, Rater). So what takes people and days with
// photographs takes milliseconds here. The prompts of Grammar have the form of those of Lee et al.
// 2023.
//
// # The judge
//
// Judge sees pixels and nothing else: never a scene, never a prompt. It is right on every one of
// 2,000 drawn scenes (TestJudgeOnDrawnScenes). TestJudgeOnWornPictures shows how it does on noisy
// and blurred ones. A Rater compares what the judge sees with what a prompt claims, and errs at a
// rate that can be chosen.
//
// # Errors
//
// A prompt that is not of the world's language is a *dataset.PromptError, which errors.As finds.
package shapes
