package sampling

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/report"
)

// Pictures is a folder of pictures: samples/ID.png, and samples.jsonl in the format of dataset.File, whose lines come after their pictures.
// So whatever happens, every line has its picture.
type Pictures struct {
	N      int // pictures that are there
	folder report.Folder
	log    *file.Log
}

// NewPictures makes a folder of pictures in one that is there.
func NewPictures(folder report.Folder) (*Pictures, error) {
	if err := os.MkdirAll(folder.Path("samples"), 0o755); err != nil {
		return nil, err
	}
	log, err := file.OpenLog(folder.Path("samples.jsonl"))
	return &Pictures{folder: folder, log: log}, err
}

// Keep writes a sample: its picture, which carries its parameters, and its line. It is named by its index.
func (p *Pictures) Keep(s dataset.Sample) error {
	s.ID = fmt.Sprintf("%05d", s.Source.Index)
	s.File = "samples/" + s.ID + ".png"
	if err := picture.WritePNG(p.folder.Path(filepath.FromSlash(s.File)), s.Image, picture.Text{Key: "parameters", Value: parameters(s)}); err != nil {
		return err
	}
	var line bytes.Buffer
	if err := dataset.Encode(&line, s); err != nil {
		return err
	}
	p.N++
	return p.log.Append(json.RawMessage(line.Bytes()))
}

// Close makes sure that all lines are on the disk.
func (p *Pictures) Close() error { return p.log.Close() }
