package dataset

import (
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// inUTF16 is a text in UTF-16 with a byte order mark.
func inUTF16(text string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}

// said are the sentences of Left.
func said(t *testing.T, f Folder) string {
	t.Helper()
	left, err := f.Left(t.Context())
	require.NoError(t, err)
	return strings.Join(left, "\n")
}

// rows are what a folder has: "file: caption | alternative".
func rows(t *testing.T, f Folder) (all []string) {
	t.Helper()
	samples, err := Collect(t.Context(), f)
	require.NoError(t, err)
	ids := map[string]bool{}
	for _, s := range samples {
		require.Equal(t, s.Image != nil, f.Images)
		require.False(t, ids[s.ID], s.ID)
		ids[s.ID] = true
		all = append(all, s.File+": "+strings.Join(s.Captions(), " | "))
	}
	return all
}

// allThere is false where names that differ in case alone are of one file.
func allThere(t *testing.T, f Folder, files int) bool {
	t.Helper()
	n := 0
	require.NoError(t, filepath.WalkDir(f.Path, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	}))
	return n == files
}

// several is what is said of a picture with several captions.
const several = "1 picture has several captions: training draws one each time, all else has the " +
	"first: "

// Folders as people have them: what is read, and what is said of the rest.
func TestFoldersAsPeopleHaveThem(t *testing.T) {
	type files map[string]string
	for name, c := range map[string]struct {
		files files
		rows  []string
		left  string
	}{
		"UTF-16": {files{"1.png": "x", "1.txt": inUTF16("a\r\n")}, []string{"1.png: a"}, ""},
		"a mark": {files{"1.png": "x", "1.txt": "\ufeffa dog"}, []string{"1.png: a dog"}, ""},
		"CR":     {files{"1.png": "x", "1.txt": "a dog\r"}, []string{"1.png: a dog"}, ""},
		"lines": {
			files{"1.png": "x", "1.txt": "1girl, red hat\r\n\r\na woman with a red hat\r\n"},
			[]string{"1.png: 1girl, red hat | a woman with a red hat"},
			several + "1.png",
		},
		"the end of a DOS file": {
			files{"1.png": "x", "1.txt": "a dog\r\n\x1a"}, []string{"1.png: a dog"}, "",
		},
		"nothing to see": {
			files{"1.png": "x", "1.txt": "\u200b\n\u00a0\u2060\na dog\n\ufeff\u200b"},
			[]string{"1.png: a dog"}, "",
		},
		"endings with more": {
			files{
				"1.png": "x", "1.txt": "a", "2.jpg_large": "x", "2.txt": "b", "3.jpg_orig": "x",
				"4.JPG?width=512": "x", "5.png~": "x", "6.png.part": "x", "7.jpeg.crdownload": "x",
				"8.pngs": "x", "9.jpgraph": "x",
			},
			[]string{"1.png: a"},
			"1 file with a caption was not read: 2.jpg_large\n" +
				"5 files in formats that are not read: 3.jpg_orig, 4.JPG?width=512, 5.png~, " +
				"6.png.part, 7.jpeg.crdownload",
		},
		"no endings": {
			files{
				"1.png": "x", "1.txt": "a", "0a3f": "\x89PNG\r\n\x1a\n\x00\x00\x00\x0d",
				"0b": "\xff\xd8\xff\xe0\x00\x10JFIF\x00", "0c": "RIFF\x24\x00\x00\x00WEBPVP8 ",
				"0d": "GIF89a\x01\x00\x01\x00", "LICENSE": "MIT License", "Makefile": "BMP = 1",
				"0e": "", "0f": "\x89P",
			},
			[]string{"1.png: a"},
			"4 files in formats that are not read: 0a3f, 0b, 0c, 0d",
		},
		"samples in capitals": {
			files{"1.png": "x", "2.png": "x", "Samples.JSONL": `{"prompt":"a","file":"1.png"}`},
			[]string{"1.png: a"},
			"1 picture is not named by Samples.JSONL and was not read: 2.png",
		},
		"captions twice": {
			files{
				"1.png": "x", "1.txt": "another", "2.png": "x", "2.PNG.caption": "b", "3.txt": "c",
				"metadata.jsonl": `{"file_name":"1.png","text":"a"}
{"file_name":"2.png","text":["b","\u200b"]}`,
			},
			[]string{"1.png: a", "2.png: b"},
			"2 caption files were not read, as the metadata has the captions: 1.txt, 2.PNG.caption",
		},
		"columns without names": {
			files{"1.png": "x", "metadata.csv": ",file_name,text,\n0,1.png,a dog,\n"},
			[]string{"1.png: a dog"}, "",
		},
		"other formats": {
			files{
				"1.png": "x", "1.txt": "read", "2.bmp": "x", "2.gif": "x", "2.txt": "",
				"3.TIFF": "x",
				"1.gif":  "x", "4": "x", "4.txt": "no", "1.npz": "x", "notes.txt": "of mine",
				"README.txt": "no", "b.tar": "x", "sub/5.avif": "x", "sub/5.caption": "no",
			},
			[]string{"1.png: read"},
			"5 files with captions were not read: 1.gif, 2.bmp, 2.gif, 4, sub/5.avif\n" +
				"2 files in formats that are not read: 3.TIFF, b.tar\n" +
				"1 text has no picture beside it: notes.txt",
		},
		"endings of captions": {
			files{
				"1.png": "x", "1.caption": "a", "2.png": "x", "2.TXT": "b", "3.png": "x",
				"3.png.txt": "c", "4.png": "x", "4.png.caption": "d", "5.x.png": "x",
				"5.x.txt": "e", "Ü.png": "x", "U\u0308.txt": "f",
			},
			[]string{
				"1.png: a", "2.png: b", "3.png: c", "4.png: d", "5.x.png: e", "Ü.png: f",
			}, "",
		},
		"two that do not share": {
			files{
				"1.png": "x", "1.png.txt": "a", "1.PNG.png": "x", "1.PNG.png.txt": "b",
				"a.png": "x", "a.txt": "c", "A.png": "x", "A.txt": "d",
			},
			[]string{"1.PNG.png: b", "1.png: a", "A.png: d", "a.png: c"}, "",
		},
		"what systems leave": {
			files{
				"1.png": "x", "1.txt": "a", "._1.png": "broken", "._1.txt": "\x00\x05",
				".DS_Store": "x", "Thumbs.db": "x", "desktop.ini": "x",
				"@eaDir/1.png/SYNOPHOTO_THUMB.png": "broken",
				"__MACOSX/._1.png":                 "broken", ".git/x.png": "broken",
			},
			[]string{"1.png: a"}, "",
		},
		"dots": {
			files{"1.png": "x", "1.txt": "a", ".2.png": "x", ".more/3.png": "x", ".x": "x"},
			[]string{"1.png: a"},
			"2 names begin with a dot and were passed over: .2.png, .more",
		},
		"repeats": {
			files{"10_a dog/1.png": "x", "10_a dog/1.txt": "a", "5_/2.png": "x", "5_/2.txt": "b"},
			[]string{"10_a dog/1.png: a", "5_/2.png: b"},
			"1 folder has a number of repeats in its name, and is read once: 10_a dog",
		},
		"elsewhere": {
			files{"1.png": "x", "1.txt": "a", ".2.png.icloud": "x", "3.lnk": "x", "3.txt": "b"},
			[]string{"1.png: a"},
			"1 name begins with a dot and was passed over: .2.png.icloud\n" +
				"1 file with a caption was not read: 3.lnk",
		},
		"metadata in train": {
			files{"train/1.png": "x", "train/metadata.jsonl": `{"file_name":"1.png","text":"a"}`},
			[]string{"train/1.png: a"}, "",
		},
		"splits": {
			files{
				"train/1.png": "x", "train/metadata.csv": "file_name,text\n1.png,a\n",
				"test/2.png": "x", "test/metadata.csv": "file_name,text\n2.png,b\n", "3.png": "x",
			},
			[]string{"train/1.png: a"},
			"1 file is of another split than train and was not read: test/metadata.csv\n" +
				"1 picture is not named by the metadata and was not read: 3.png",
		},
		"one split": {
			files{"test-00/2.png": "x", "test-00/metadata.csv": "file_name,text\n2.png,b\n"},
			[]string{"test-00/2.png: b"}, "",
		},
		"two folders": {
			files{
				"b/1.png": "x", "b/metadata.jsonl": `{"file_name":"1.png","text":"b"}` + "\r" +
					`{"file_name":"1.png","text":"bb"}`,
				"a/1.png":        "x",
				"a/Metadata.CSV": inUTF16("text,file_name\r\n\"a, \"\"A\"\"\r\nx\",1.png\r\n"),
			},
			[]string{"a/1.png: a, \"A\"\nx", "b/1.png: b", "b/1.png: bb"}, "",
		},
		"lists and columns": {
			files{
				"1.png": "x", "2.png": "x",
				"metadata.jsonl": `{"file_name":"1.png","caption":["a","","b"]}
{"file_name":"2.png","caption":"c\nd"}`,
			},
			[]string{"1.png: a | b", "2.png: c\nd"},
			"1 metadata file has its captions in the column caption, which was read: " +
				"metadata.jsonl\n" +
				several + "1.png",
		},
		"a list in a cell": {
			files{
				"1.png":        "x",
				"metadata.csv": "file_name,prompt\n1.png,\"[\"\"a\"\", \"\"b\"\"]\"\n",
			},
			[]string{"1.png: a | b"},
			"1 metadata file has its captions in the column prompt, which was read: " +
				"metadata.csv\n" +
				several + "1.png",
		},
		"text is the column": {
			files{
				"1.png":          "x",
				"metadata.jsonl": `{"file_name":"1.png","text":"a","prompt":"b","Text":"c"}`,
			},
			[]string{"1.png: a"},
			"1 metadata file has its captions in the column text, which was read: metadata.jsonl",
		},
		"paths of other systems": {
			files{
				"Bilder/Gru\u0308n.png": "x", "Bilder/B.PNG.png": "x", "c.png": "x",
				"metadata.jsonl": `{"file_name":"Bilder\\Grün.png","text":"a"}
{"file_name":"./bilder/b.png.PNG","text":"b"}
{"file_name":"Bilder/../c.png","text":"c"}`,
			},
			[]string{"Bilder/Gru\u0308n.png: a", "Bilder/B.PNG.png: b", "c.png: c"}, "",
		},
		"rows of other formats": {
			files{"1.png": "x", "2.bmp": "x", "metadata.csv": "file_name,text\n1.png,a\n2.bmp,b\n"},
			[]string{"1.png: a"},
			"1 file with a caption was not read: 2.bmp",
		},
		"samples": {
			files{
				"1.png": "x", "2.png": "x",
				"samples.jsonl": `{"prompt":"a","file":"1.png","alternatives":["b"]}`,
			},
			[]string{"1.png: a | b"},
			"1 picture is not named by samples.jsonl and was not read: 2.png",
		},
		"many": {
			files{
				"0.png": "x", "0.txt": "a", "1.gif": "", "2.gif": "", "3.gif": "", "4.gif": "",
				"5.gif": "", "6.gif": "", "7.gif": "",
			},
			[]string{"0.png: a"},
			"7 files in formats that are not read: 1.gif, 2.gif, 3.gif, 4.gif, 5.gif and 2 more",
		},
	} {
		f := inFolder(t, c.files)
		if !allThere(t, f, len(c.files)) {
			continue
		}
		require.Equal(t, c.rows, rows(t, f), name)
		require.Equal(t, c.left, said(t, f), name)
	}
}

func TestFoldersThatAreRefused(t *testing.T) {
	type files map[string]string
	with := func(name, text string) files {
		return files{"1.png": "x", "2.png": "x", "2.txt": "b", name: text}
	}
	metadata := func(name, text string) files { return files{"1.png": "x", name: text} }
	for _, c := range []struct {
		files files
		want  string
	}{
		{with("1.txt", "caf\xe9"), "1.txt:1: the line is not UTF-8: it has the byte 0xe9"},
		{with("1.txt", "a\r\n\x00"), "1.txt:2: the line holds a zero byte"},
		{with("1.txt", "version https://git-lfs.github.com/spec/v1\noid x\nsize 1\n"),
			"1.txt:1: the file is a pointer of Git LFS"},
		{with("1.txt", " \r\n\t"), "1.txt, the caption of 1.png, is empty"},
		{with("1.txt", "\u200b\r\n\x1a"), "1.txt, the caption of 1.png, is empty"},
		{with("1.txt", "a\n"+`{"caption":"a dog"}`), "1.txt:2: the line is JSON, not a caption"},
		{with("1.txt", "<?xml version='1.0'?><Error/>"), "1.txt:1: the file is an XML document"},
		{with("1.txt", strings.Repeat("a", 1<<16+1)),
			"1.txt, the caption of 1.png, has more than 65536 bytes"},
		{files{"1.png": "x", "2.png": "x", "1.txt": "\xff", "2.txt": ""},
			"1.txt:1: the line is not UTF-8"},
		{files{"1.png": "x", "2.png": "x", "1.txt": "\xff", "2.txt": ""},
			"; another file has such a fault"},
		{files{"1.png": "x", "1.jpg": "x", "1.txt": "a"},
			"1.jpg and 1.png share one caption file, 1.txt: name it 1.jpg.txt if"},
		{files{"a.png": "x", "A.png": "x", "a.txt": "a"}, "A.png and a.png share one caption file"},
		{files{"1.png": "x", "1.png.png": "x", "1.png.txt": "a"},
			"1.png and 1.png.png share one caption file, 1.png.txt"},
		{files{"1.png": "x", "1.txt": "a", "1.caption": "b"},
			"1.png has 2 caption files, 1.caption, 1.txt: keep one"},
		{files{"1.png": "x", "1.TXT": "a", "1.txt": "a"}, "1.png has 2 caption files"},
		{files{"1.png": "x", "1.json": "{}", "meta_cap.json": "{}"},
			"1.png has no caption; it would be in 1.txt, 1.caption or 1.png.txt; " +
				"not read as captions: 1.json, meta_cap.json"},
		{files{"1.png": "x", "a/2.png": "x"}, ": 2 pictures have no caption: 1.png, a/2.png; it"},
		{files{"1.bmp": "x", "1.txt": "a"}, "; 1 file with a caption was not read: 1.bmp"},
		{files{"1.png": "", "1.txt": "a"}, ": 1.png is empty: it has no bytes"},

		{files{"1.png": "x", "captions.txt": "1.png a dog", "1.tags": "a"},
			"; not read as captions: captions.txt, 1.tags"},
		{metadata("metadata.jsonl", `{"file_name":"1.png","text":"a","text":"b"}`),
			"metadata.jsonl:1: text is there twice"},
		{metadata("metadata.csv", "file_name;text\n1.png;a\n"),
			"metadata.csv:1: file_name is missing; there are file_name;text, where columns are " +
				"parted by commas"},
		{metadata("metadata.csv", "file_name,text\n1.png,a,b\n"),
			"metadata.csv:2: wrong number of fields"},
		{metadata("metadata.csv", "file_name,text\n1.png,\"a\n"), "metadata.csv:2: "},
		{metadata("metadata.csv", "file_name,text,text\n1.png,a,b\n"), "two columns are named"},
		{metadata("metadata.csv", "file_name,text\n1.png,a\n1.png,caf\xe9\n"),
			"metadata.csv:3: the line is not UTF-8"},
		{metadata("metadata.csv", "file_name,text\n1.png,\"['a', 'b']\"\n"),
			"metadata.csv:2: text is a list as Python prints it: write it as JSON"},
		{metadata("metadata.csv", ""), "metadata.csv names no picture"},
		{metadata("metadata.jsonl", "\n"), "metadata.jsonl names no picture"},
		{metadata("metadata.csv", "file_name,text\n1.png,\u200b\n"), "the caption, is missing"},
		{metadata("metadata.jsonl", `{"file_name":"1.png","text":"a","score":NaN}`),
			"metadata.jsonl:1: bad JSON, which has no NaN: leave the field out"},
		{files{"1.png": "x", "samples.jsonl": "", "Samples.jsonl": ""},
			"has samples.jsonl and Samples.jsonl"},
		{metadata("metadata.jsonl", `[{"file_name":"1.png","text":"a"}]`),
			"metadata.jsonl:1: bad JSON"},
		{metadata("metadata.jsonl", `{"file_name":"1.png","label":1,"tags":"a"}`),
			"metadata.jsonl:1: text, the caption, is missing; there are file_name, label, tags"},
		{metadata("metadata.jsonl", `{"image":"1.png","text":"a"}`),
			"metadata.jsonl:1: file_name is missing; there are image, text"},
		{metadata("metadata.jsonl", `{"file_name":"1.png","prompt":"a","caption":"b"}`),
			"metadata.jsonl:1: the captions may be in any of caption, prompt: call the right"},
		{
			metadata("metadata.jsonl", `{"file_name":"1.png","text":[]}`),
			"text, the caption, is missing",
		},
		{
			metadata("metadata.jsonl", `{"file_name":"1.png","text":null}`),
			"text, the caption, is missing",
		},
		{
			metadata("metadata.jsonl", `{"file_name":"1.png","text":[1]}`),
			"text is not a list of texts",
		},
		{
			metadata("metadata.jsonl", `{"file_name":"1.png","text":{"a":1}}`),
			`text is no text but {"a":1}`,
		},
		{
			metadata("metadata.jsonl", `{"file_name":"1.png","text":"a \ud83d"}`),
			`\ud83d is half a character`,
		},
		{
			metadata("metadata.jsonl", `{"file_name":"C:\\x\\1.png","text":"a"}`),
			`file "C:\\x\\1.png"`,
		},
		{metadata("metadata.jsonl", `{"file_name":"/1.png","text":"a"}`), "is not a path inside"},
		{
			metadata("metadata.jsonl", `{"file_name":"..\\1.png","text":"a"}`),
			"is not a path inside",
		},
		{metadata("metadata.jsonl", `{"file_name":".","text":"a"}`), "is not a path inside"},
		{metadata("metadata.csv", "file_name,text\n1.png,a\n2.png,a\n3.png,a\n4.png,a\n"),
			`metadata.csv:3: file "2.png": file does not exist; 2 other files have such faults`},
		{files{"a.png": "x", "A.png": "x", "metadata.csv": "file_name,text\nA.PNG,a\n"},
			`metadata.csv:2: file "A.PNG" may be any of A.png, a.png`},
		{files{"1.png": "", "metadata.csv": "file_name,text\n1.png,a\n"}, "1.png is empty"},
		{files{"1.png": "x", "metadata.csv": "", "metadata.jsonl": ""},
			"has metadata.csv and metadata.jsonl"},
		{files{"1.png": "x", "samples.jsonl": "", "Metadata.jsonl": ""},
			"has samples.jsonl and Metadata.jsonl"},
	} {
		f := inFolder(t, c.files)
		if !allThere(t, f, len(c.files)) {
			continue
		}
		_, err := Collect(t.Context(), f)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, f.Path)
		_, same := f.Left(t.Context())
		require.Equal(t, err, same)
	}
}

// Alternatives are written and read again.
func TestAlternatives(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.jsonl")
	samples := []Sample{
		Sample{ID: "1"}.with([]string{"a dog", "ein Hund", "two \\ud83d letters"}),
		{ID: "2", Prompt: "a cat 🐈"},
	}
	_, err := Write(t.Context(), file, FromSlice(samples))
	require.NoError(t, err)
	got, err := Collect(t.Context(), File{Path: file})
	require.NoError(t, err)
	require.Equal(t, samples, got)
	require.Equal(t, []string{"a dog", "ein Hund", "two \\ud83d letters"}, got[0].Captions())

	line := `{"prompt":"\ud83d\udc08","alternatives":["a"," "]}`
	for _, err := range Read(strings.NewReader(line), "x") {
		require.EqualError(t, err, "dataset: x:1: an alternative is empty")
	}
	for s, err := range Read(strings.NewReader(`{"prompt":"\ud83d\udc08"}`), "x") {
		require.NoError(t, err)
		require.Equal(t, "🐈", s.Prompt)
	}
	samples[1].Alternatives = []Alternative{{Prompt: "\n"}}
	_, err = Write(t.Context(), file, FromSlice(samples))
	require.ErrorContains(t, err, "an alternative is empty")
}

// What metadata does not name may be anything.
func TestWhatNobodyNames(t *testing.T) {
	f := inFolder(t, map[string]string{
		"1.png": "x", "2.png": "", "metadata.csv": "file_name,text\n1.png,a\n",
	})
	if os.Symlink("gone.png", filepath.Join(f.Path, "3.png")) != nil {
		t.Skip("links take a privilege")
	}
	require.Equal(t, []string{"1.png: a"}, rows(t, f))
	require.Equal(t, "2 pictures are not named by the metadata and were not read: 2.png, 3.png",
		said(t, f))
}

func TestLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links take a privilege")
	}
	link := func(f Folder, name, to string) {
		require.NoError(t, os.Symlink(to, filepath.Join(f.Path, filepath.FromSlash(name))))
	}
	dir := func(files map[string]string) Folder { return inFolder(t, files) }
	real := dir(map[string]string{
		"1.png": "x", "1.txt": "a dog", "sub/2.png": "x", "sub/2.txt": "b",
	})

	// The folder itself is a link.
	f := dir(nil)
	link(f, "link", real.Path)
	require.Equal(t, []string{"1.png: a dog", "sub/2.png: b"},
		rows(t, Folder{Path: filepath.Join(f.Path, "link"), Images: true}))

	// Links below it lead out of it, to a folder and to files, whose own names say nothing.
	f = dir(map[string]string{"top.png": "x", "top.txt": "top"})
	blobs := dir(map[string]string{"1f.png": "x", "2f": "from a hub"})
	link(f, "sub", real.Path)
	link(f, "hub.png", filepath.Join(blobs.Path, "1f.png"))
	link(f, "hub.txt", filepath.Join(blobs.Path, "2f"))
	want := []string{
		"hub.png: from a hub", "sub/1.png: a dog", "sub/sub/2.png: b", "top.png: top",
	}
	require.Equal(t, want, rows(t, f))
	require.Empty(t, said(t, f))

	// A folder is read once, whatever links lead to it, and cycles end.
	link(f, "again", real.Path)
	link(f, "loop", ".")
	link(f, "up", filepath.Dir(f.Path))
	link(f, "self", "self")
	link(f, "part", filepath.Join(real.Path, "sub"))
	link(real, "back", f.Path)
	again := []string{
		"again/1.png: a dog", "again/sub/2.png: b", "hub.png: from a hub", "top.png: top",
	}
	require.Equal(t, again, rows(t, f))
	require.Equal(t, "1 link leads nowhere: self\n"+
		"5 folders are read already, or have this one in them, and were not read by these links: "+
		"again/back, loop, part, sub, up", said(t, f))

	// So is a folder below one that a later link leads to.
	f = dir(nil)
	whole := dir(map[string]string{
		"1.png": "x", "1.txt": "a", "sub/2.png": "x", "sub/2.txt": "b",
	})
	link(f, "a", filepath.Join(whole.Path, "sub"))
	link(f, "b", whole.Path)
	require.Equal(t, []string{"a/2.png: b", "b/1.png: a"}, rows(t, f))
	require.Equal(t, "1 folder is read already, or has this one in it, and was not read by this "+
		"link: b/sub", said(t, f))

	// Links that lead nowhere are named.
	f = dir(map[string]string{"1.png": "x", "1.txt": "a"})
	link(f, "more", "gone")
	require.Equal(t, []string{"1.png: a"}, rows(t, f))
	require.Equal(t, "1 link leads nowhere: more", said(t, f))
	link(f, "2.png", "gone.png")
	link(f, "2.txt", "gone.txt")
	_, err := Collect(t.Context(), f)
	require.ErrorContains(t, err, ": 2.png is a link to what is not there; another file has such")

	f = dir(map[string]string{"1.png": "x"})
	link(f, "1.txt", "/dev/zero")
	_, err = Collect(t.Context(), f)
	require.ErrorContains(t, err, f.Path+": 1.txt is a device, not a file")
}

// A name whose bytes are no text could not be written to JSON.
func TestNamesThatAreNotUTF8(t *testing.T) {
	f := inFolder(t, map[string]string{"1.png": "x", "1.txt": "a"})
	odd := filepath.Join(f.Path, "caf\xe9.png")
	if err := os.WriteFile(odd, []byte("x"), 0o644); err != nil {
		t.Skip("there are no such names here")
	}
	_, err := Collect(t.Context(), f)
	require.ErrorContains(t, err, f.Path+`: "caf\xe9.png": the name is not UTF-8: rename the file`)
}
