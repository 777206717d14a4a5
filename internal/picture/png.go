package picture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"io"

	"github.com/kudos-ml/kudos/internal/file"
)

const signature = "\x89PNG\r\n\x1a\n"

// mendPNG drops the palette of a PNG of shades of grey, which has no use for one. Image programs
// pass over it, and the standard library calls it an error.
func mendPNG(data []byte) ([]byte, error) {
	const kind = len(signature) + 4 + 4 + 9 // where IHDR has the colour type; 0 and 4 are grey
	if section(data, "CgBI") != nil {
		return nil, fmt.Errorf("it is a PNG in the form of iPhone programs (CgBI), which is not "+
			"read; %s", again)
	}
	palette := section(data, "PLTE")
	if palette == nil || data[kind]&3 != 0 {
		return data, nil
	}
	at := offset(data, palette)
	return append(bytes.Clone(data[:at-8]), data[at+len(palette)+4:]...), nil
}

// A Text is a note in a PNG file, such as the prompt that the picture was made from.
type Text struct{ Key, Value string }

// EncodePNG writes img as PNG with notes. A note's key has 1 to 79 bytes. What is written depends
// on img and the notes alone.
func EncodePNG(w io.Writer, img image.Image, notes ...Text) error {
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	const header = len(signature) + 4 + 4 + 13 + 4 // and IHDR
	out := bytes.NewBuffer(bytes.Clone(b.Bytes()[:header]))
	for _, n := range notes {
		if len(n.Key) < 1 || len(n.Key) > 79 {
			return fmt.Errorf("picture: PNG note %q: a key has 1 to 79 characters", n.Key)
		}
		// Keyword, no compression, no language, no translation (PNG specification, 11.3.3.4).
		writeChunk(out, "iTXt", n.Key+"\x00\x00\x00\x00\x00"+n.Value)
	}
	out.Write(b.Bytes()[header:])
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	return nil
}

func writeChunk(b *bytes.Buffer, kind, data string) {
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data))))
	b.WriteString(kind + data)
	b.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(kind+data))))
}

// WritePNG is EncodePNG to a file. After an error the file is as it was before.
func WritePNG(name string, img image.Image, notes ...Text) error {
	err := file.Write(name, func(w io.Writer) error { return EncodePNG(w, img, notes...) })
	if err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	return nil
}
