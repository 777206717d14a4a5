package dataset

import (
	"context"
	"fmt"
	"iter"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// Folder is the dataset of a folder of captioned pictures, which end in .png, .jpg, .jpeg, .jpe,
// .jfif or .webp, in letters of either case. The folder has one of three forms:
//
//   - It has a samples.jsonl, in letters of either case, in the format of File.
//   - It has files metadata.jsonl or metadata.csv, in itself or below: a row a picture, with
//     file_name and text, as Hugging Face's imagefolder has it
//     (huggingface.co/docs/datasets/image_dataset). A file_name is relative to the folder of the
//     metadata. It may have backslashes, other case, or another Unicode normalization than on the
//     disk, if one file alone can be meant. Without a column text, it is caption, captions, prompt
//     or description, if there is one of these. A text may be a list. What else a row has is passed
//     over. Of the splits train, test and validation, which folders are named by, train is read.
//   - It has neither. Then every picture in the folder or below it counts, in the order of the
//     names. The caption of 1.png is in 1.txt, 1.caption, 1.png.txt or 1.png.caption, in letters of
//     either case.
//
// Captions are in UTF-8, or in UTF-16 with a byte order mark. The lines of a caption file that are
// not blank are alternative captions, and so are the texts of a list: the first is the sample's
// Prompt, the others are its Alternatives. They are never put together. A text of metadata is one
// caption, whatever its lines.
//
// Links to files and folders are followed, also those that lead out of the folder, as the caches of
// hubs have them. A folder that links lead to is read once, and one that has this folder in it is
// not. Names that begin with a dot are passed over, and so is what operating systems leave:
// @eaDir, __MACOSX, Thumbs.db and the like. A number of repeats in a folder's name, as 10_dog has
// for kohya's scripts, means nothing: each picture is there once.
//
// A picture's path is relative to the folder and stays inside it. It is the ID of the sample too,
// unless samples.jsonl says another. It is an error if a picture is not there, is empty, has no
// caption or two files with captions; if two pictures share a caption file, as 1.png and 1.jpg
// beside 1.txt do; if a line of a caption file is a JSON object; if a link to a picture or caption
// leads nowhere; if a name is not UTF-8. What is wrong in a line is a *LineError. Other errors name
// the files. What is not read is no error: see Left.
type Folder struct {
	Path string
	// Images says that the pictures are to be decoded into Image. Each is when its sample's turn
	// comes. One that cannot be read is then an error.
	Images bool
	// Tell, unless nil, is told what Left says, before the first sample.
	Tell func(left []string)
}

const samplesFile = "samples.jsonl"

// All reads the folder from its beginning.
func (f Folder) All(ctx context.Context) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		t, err := f.open(ctx)
		if err != nil {
			yield(Sample{}, err)
			return
		}
		if f.Tell != nil {
			f.Tell(t.left.sentences())
		}
		for _, r := range t.found {
			s, err := r.sample, ctx.Err()
			if err == nil && f.Images {
				if err = s.readImage(f.Path); err != nil && r.line > 0 {
					err = &LineError{r.from, r.line, err}
				} else if err != nil {
					err = fmt.Errorf("dataset: %w", err)
				}
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// Left says what All does not read, or reads otherwise than one might think, in sentences for
// people, which name files:
//
//	2 files with captions were not read: 2.bmp, 2.gif
//
// They tell of files in other formats, of pictures that the metadata or samples.jsonl does not
// name, and caption files of those that it does, captions without a picture, names that begin with
// a dot, other splits, links that lead nowhere, numbers of repeats; of the column of captions where
// it is not text; and of pictures with several captions.
// Where All has an error, Left has it too, but for pictures that cannot be decoded.
func (f Folder) Left(ctx context.Context) ([]string, error) {
	t, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	return t.left.sentences(), nil
}

// open reads the folder but for its pictures.
func (f Folder) open(ctx context.Context) (*tree, error) {
	t, err := readTree(ctx, f.Path)
	if err == nil {
		err = t.wrong(func(file string) bool { return isSamples(file) || isMetadata(file) })
	}
	if err != nil {
		return nil, err
	}
	list, err := t.samples()
	switch {
	case err != nil:
	case list != "":
		err = t.lines(ctx, list)
	default:
		err = t.read(ctx)
	}
	return t, err
}

// lines reads samples.jsonl.
func (t *tree) lines(ctx context.Context, list string) error {
	f, line := File{Path: t.path(list), Check: HasPicture(t.root)}, 0
	for s, err := range f.each(ctx, &line) {
		if err != nil {
			return err
		}
		t.used[filepath.ToSlash(filepath.Clean(s.File))] = true
		t.found = append(t.found, found{s, f.Path, line})
	}
	t.unnamed(list)
	return nil
}

// isSamples says whether a file of the folder itself says what is in it in the format of File.
func isSamples(file string) bool { return strings.EqualFold(file, samplesFile) }

// samples is the samples.jsonl by which the folder is read, in letters of either case, or "". It is
// an error if there are two, or metadata too.
func (t *tree) samples() (list string, err error) {
	var lists []string
	for _, file := range t.files {
		if isSamples(file) {
			lists = slices.Insert(lists, 0, file)
		} else if path.Dir(file) == "." && isMetadata(file) {
			lists = append(lists, file)
		}
	}
	if len(lists) == 0 || !isSamples(lists[0]) {
		return "", nil
	}
	if len(lists) > 1 {
		return "", fmt.Errorf("dataset: %s has %s and %s: one of them says what is in the folder",
			t.root, lists[0], lists[1])
	}
	return lists[0], nil
}

// read reads a folder that is not read by samples.jsonl: what it finds, and what it leaves.
func (t *tree) read(ctx context.Context) error {
	lists, err := t.metadata()
	switch {
	case err != nil:
		return err
	case len(lists) > 0:
		err = t.listed(ctx, lists)
	default:
		err = t.captioned(ctx)
	}
	if err != nil {
		return err
	}
	if len(t.found) == 0 {
		none := fmt.Errorf("dataset: %s holds neither %s nor metadata.jsonl nor metadata.csv nor "+
			"pictures (%s)", t.root, samplesFile, strings.Join(pictures, " "))
		if len(lists) > 0 {
			none = fmt.Errorf("dataset: %s: the metadata names no picture that is read (%s)",
				t.root, strings.Join(pictures, " "))
		}
		for _, said := range t.left.sentences() {
			none = fmt.Errorf("%w; %s", none, said)
		}
		return none
	}
	var several []string
	for _, r := range t.found {
		if len(r.sample.Alternatives) > 0 {
			several = append(several, r.sample.File)
		}
	}
	t.left.add("picture has several captions: training draws one each time, all else has the first",
		"pictures have several captions: training draws one each time, all else has the first",
		several...)
	return nil
}

// A found is a sample with the file and the line that name it; 0 where none does.
type found struct {
	sample Sample
	from   string
	line   int
}

// pictures are the endings of the files that count as pictures.
var pictures = []string{".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"}

// others are the endings of files in which there may be pictures that are not read.
var others = strings.Fields(`.bmp .dib .gif .apng .avif .avifs .tif .tiff .heic .heif .hif .jxl
	.jp2 .j2k .jpf .jpx .jxr .ico .psd .psb .xcf .kra .clip .svg .eps .tga .exr .hdr .pbm .pgm .ppm
	.pnm .pcx .qoi .dds .dng .raw .cr2 .cr3 .nef .arw .orf .rw2 .raf .mp4 .m4v .mov .webm .mkv .avi
	.mpg .lnk .url .webloc .zip .tar .gz .tgz .bz2 .xz .zst .7z .rar .parquet .arrow .tfrecord
	.h5 .lmdb .part .partial .filepart .crdownload .opdownload .download`)

// ending is the ending of a name in lower case.
func ending(name string) string { return strings.ToLower(filepath.Ext(name)) }

func isPicture(name string) bool { return slices.Contains(pictures, ending(name)) }

// isOther says whether there may be a picture in a file that is not read: one with an ending of
// others, or with the ending of a picture and more, as in 1.jpg_large and 1.jpg?width=512.
func isOther(name string) bool {
	end := ending(name)
	return slices.Contains(others, end) || slices.ContainsFunc(pictures, func(p string) bool {
		more, ok := strings.CutPrefix(end, p)
		return ok && more != "" && !unicode.IsLetter(rune(more[0]))
	})
}
