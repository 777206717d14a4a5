// Package dataset holds what flows through kudos: samples, one after another.
//
// A Sample is a prompt with what is known about it: a picture or its latent, a label, a reward,
// where it comes from. A Dataset is a sequence of samples that can be ranged over again and again.
// A generator, a folder of pictures and a file of labels all are Datasets. So whatever takes one of
// them takes any:
//
//	for sample, err := range labels.All(ctx) {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// A sample has an ID that no other sample of its dataset has. What is known of a sample from
// elsewhere, such as its reward or its features, is found by the ID, never by the sample's place.
//
// # Files
//
// File reads samples from JSONL, one object a line, and Write writes them. The comment of File
// describes the format. Folder reads a folder of captioned pictures. The captions are in .txt
// files, in a metadata.jsonl or .csv, or in a samples.jsonl as WriteFolder writes it. Folder.Left
// says what of the folder is not read. ReadPrompts reads prompts alone. A line that is wrong is a
// LineError, which names the file and the line.
//
// All text is in UTF-8, with or without a byte order mark, or in UTF-16 with one, and its lines end
// in LF, CRLF or CR. Anything else is an error of its line; nothing is guessed.
//
// # Prompts
//
// A Grammar is a set of prompts as data: objects, counts, colours and backgrounds. It renders
// prompts and parses them, lists them by category, and splits them by object into seen and unseen.
// Perturb makes the wrong prompts that the reward of Lee et al. 2023 is trained with. Package
// shapes has a grammar with pictures. For prompts that no grammar has, SplitPrompts holds some out
// for testing, and OtherPrompts takes wrong ones from a list.
package dataset
