package weights

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// sniff says in a sentence what the content of a file is that is no safetensors file; nil where
// nothing is recognized. Readers that go by the name of a file take these for a model.
func sniff(name string, data []byte) error {
	head := data[:min(len(data), 4096)]
	if bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) {
		head = bytes.ReplaceAll(head[2:], []byte{0}, nil) // UTF-16, of which ASCII is enough here
	}
	head = bytes.TrimLeft(head, "\ufeff \t\r\n")
	begins := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(t string) bool {
			return bytes.HasPrefix(head, []byte(t))
		})
	}
	lower, text := strings.ToLower(name), strings.ToLower(string(head[:min(len(head), 32)]))
	says := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(t string) bool { return strings.HasPrefix(text, t) })
	}
	switch {
	case len(data) == 0:
		return fmt.Errorf("it has 0 bytes: nothing was downloaded, or nothing was written")
	case says("version https://git-lfs"):
		return fmt.Errorf("it is a Git LFS pointer, which stands for the file: " +
			"fetch the file itself with git lfs pull")
	case says("<!doctype", "<html", "<head", "<?xml", "<error", "<script", "<!--"):
		return fmt.Errorf("it is a web page: the download was answered with a page, " +
			"perhaps because it needs a login")
	case begins("PK\x03\x04") && !bytes.Contains(head, []byte(".pkl")) && !isPickleName(name):
		return fmt.Errorf("it is a ZIP archive: unpack it first")
	case begins("PK\x03\x04", "PK\x05\x06", "\x80\x02", "\x80\x03", "\x80\x04", "\x80\x05"):
		return fmt.Errorf("it is a pickle file, which can run any code; convert it to safetensors")
	case begins("GGUF", "GGML", "GGJT"):
		return fmt.Errorf("it is a GGUF file, whose numbers are quantized: " +
			"bring the safetensors file that it was made from")
	case begins("\x89HDF"):
		return fmt.Errorf("it is an HDF5 file of Keras: bring the safetensors file of the model")
	case len(data) > 262 && string(data[257:262]) == "ustar",
		begins("\x1f\x8b", "7z\xbc\xaf", "Rar!", "\x28\xb5\x2f\xfd", "BZh", "\xfd7zXZ"):
		return fmt.Errorf("it is an archive: unpack it first")
	case begins("\x89PNG", "\xff\xd8\xff", "GIF8", "RIFF"),
		bytes.Contains(head[:min(len(head), 12)], []byte("ftyp")):
		return fmt.Errorf("it is a picture or a film")
	case begins("%PDF"):
		return fmt.Errorf("it is a PDF document")
	case begins("{", "[") && len(data) >= 8 && bytes.IndexByte(head, 0) < 0:
		return fmt.Errorf("it is a JSON text: it may be the answer to a download that failed, " +
			"or a config")
	case strings.HasSuffix(lower, ".onnx"):
		return fmt.Errorf("it is an ONNX file, a graph for running alone: " +
			"bring the safetensors file of the model")
	case strings.HasSuffix(lower, ".msgpack"):
		return fmt.Errorf("it is a file of Flax: bring the safetensors file of the model")
	case isPart(lower):
		return fmt.Errorf("by its name it is a part of a download that has not finished")
	case says("http://", "https://"):
		return fmt.Errorf("it is a web address, not the file that lies there")
	case isPickleName(name):
		return fmt.Errorf("by its name it is a pickle file, which can run any code; " +
			"convert it to safetensors")
	case len(bytes.Trim(data[:min(len(data), 1<<16)], "\x00")) == 0:
		return fmt.Errorf("it begins with %d zero bytes: the download has not finished, "+
			"or the disk has lost it", min(len(data), 1<<16))
	case isText(head):
		line, _, _ := strings.Cut(string(head[:min(len(head), 60)]), "\n")
		return fmt.Errorf("it is a text, which may be the answer to a download that failed: %q",
			strings.ToValidUTF8(strings.TrimSpace(line), ""))
	}
	return nil
}

// isText reports bytes of UTF-8 without any that text has not. The last rune may be cut.
func isText(head []byte) bool {
	for len(head) > 0 {
		r, n := utf8.DecodeRune(head)
		if r == utf8.RuneError && n == 1 && utf8.FullRune(head) ||
			r < ' ' && !strings.ContainsRune("\t\r\n\f", r) {
			return false
		}
		head = head[n:]
	}
	return true
}

// isPart reports a name that programs give to a download that is going on.
func isPart(lower string) bool {
	for _, ending := range []string{
		".part", ".partial", ".crdownload", ".download", ".incomplete", ".aria2", ".opdownload",
		".!ut", ".tmp",
	} {
		if strings.HasSuffix(lower, ending) {
			return true
		}
	}
	return strings.HasSuffix(filepath.Base(lower), "~")
}
