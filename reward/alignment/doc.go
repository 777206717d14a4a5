// Package alignment is the paper's reward model (Lee et al. 2023, §4.2): a perceptron on CLIP's
// embeddings of a picture and its prompt, learned from labels good and bad by
//
//	L_reward = L_MSE + λ · L_pc        (Eq. 1)
//
// loss.go holds both losses. L_MSE is the squared error of the reward as a prediction of the label,
// 1 or 0, or of what people say together. L_pc is prompt classification: among N prompts, the true
// one of a good picture must have the highest reward.
//
// # Training
//
// A Training learns a Model. It needs a CLIP, labelled pictures and, for prompt classification,
// prompts that are wrong where a prompt is right:
//
//	training := &alignment.Training{
//		CLIP: encoder, Samples: labels,
//		Perturb: grammar.Perturb, Lambda: 0.5,
//		HeldOut: 0.15,
//	}
//	for epoch, err := range training.Epochs(ctx) {
//		if err != nil {
//			return err
//		}
//		log.Printf("epoch %d: held-out accuracy %.2f", epoch.Index, epoch.HeldOut.Accuracy)
//	}
//	model := training.Model()
//
// encoder is a *clip.Encoder, grammar a dataset.Grammar; dataset.OtherPrompts makes wrong prompts
// of prompts of any kind. HeldOut is the share of the prompts that training does not see. Their
// labels say when it stops, and which weights Model has; with 0 all labels are learned from, and
// the last weights count. Each picture and each prompt is embedded once, before the first epoch.
//
// Labels of several people, who do not always agree, are learned as Soft, Weight and Balance have
// it. Aggregations of package dataset/feedback make labels of what they say.
//
// A Training is a finetune.Trainer whose steps are epochs. Wrapped in finetune.Checkpoints it can
// be taken up again with the same bits, and finetune.Record shows its progress and writes its
// report.
//
// # Scoring
//
// A Model is a reward.Model: it gives each sample a reward between 0 and 1, which does not depend
// on the sample's neighbours. So it can weight samples, choose the best of n and compare models, as
// any reward can. Evaluate says how well it predicts labels that it was not trained on, beside
// CLIP's similarity, which is what one has without labels:
//
//	comparison, err := model.Evaluate(ctx, others)
//	…
//	fmt.Println(comparison.Accuracy.Accuracy, comparison.AUC, comparison.CLIPAUC)
//
// Predict and NewSkill say the same with intervals, and how well the reward chooses between the
// pictures of a prompt. A KFold says it of a training, from all labels, and whether more of them
// would help:
//
//	k := &alignment.KFold{Training: training, Variants: alignment.Curve()}
//	validation, err := k.Run(ctx)
//	…
//	fmt.Println(validation.Unseen.Pairwise, validation.More())
//
// Calibrated rewards are probabilities: of the pictures with rewards near 0.7, seven of ten are
// good. Presigmoid gives scores before the sigmoid.
//
//	model, err := training.Calibrated()
//
// # Saving
//
// Save writes a folder of two files, and Load reads it. A reward means nothing on another CLIP than
// its own, so the folder names its CLIP by hash, and Load on another one is a *DifferentCLIPError:
//
//	model, err := alignment.Load("reward", encoder)
//
// # Write your own CLIP
//
// What embeds pictures and prompts is an interface of three methods, CLIP. Any model with features
// of both will do, if they are of one width and norm 1. Its Hash must change with its weights.
package alignment
