// Package dataset holds what flows through kudos: samples, one after another.
//
// A Sample is a prompt with what is known about it: a picture or its latent, a label, a reward, where it comes
// from. A Dataset is a sequence of samples that can be ranged over again and again. A generator, a folder of
// pictures and a file of labels all are Datasets, so whatever takes one takes any:
//
//	for sample, err := range labels.All(ctx) {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// A sample has an ID that no other of its dataset has. Whatever is known of a sample from
// elsewhere, its reward, its features, is found by the ID, never by the sample's place.
//
// # Files
//
// File reads samples from JSONL, one object a line, and Write writes them; the format is in File's
// comment. Folder reads captioned pictures: of a folder with captions in .txt files, with a
// metadata.jsonl, or with a samples.jsonl, as WriteFolder writes it. ReadPrompts reads prompts
// alone.
//
// # Prompts
//
// A Grammar is a set of prompts as data: objects, counts, colours and backgrounds. It renders and
// parses prompts, lists them by category, splits them by object into seen and unseen, and makes the
// wrong prompts that the reward of Lee et al. 2023 is trained with (Perturb). Package shapes has a
// grammar with pictures. For prompts of any kind, SplitPrompts holds some out for testing, and
// OtherPrompts are wrong ones.
package dataset
