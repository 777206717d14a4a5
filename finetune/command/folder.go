package command

import (
	"sync"

	"github.com/kudos-ml/kudos/dataset"
)

// Folder is the dataset of a folder of captioned pictures. When it is first ranged over, it tells
// printf, such as a report.Progress has it, what of the folder is not read, and what is read
// otherwise than one might think (dataset.Folder.Left). Every program that reads a folder says it
// by this.
func Folder(path string, printf func(format string, args ...any)) dataset.Dataset {
	var once sync.Once
	return dataset.Folder{Path: path, Tell: func(left []string) {
		once.Do(func() {
			for _, said := range left {
				printf("%s: %s.", path, said)
			}
		})
	}}
}
