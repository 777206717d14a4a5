package dataset

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/kudos-ml/kudos/internal/picture"
)

// Look looks at the pictures of samples before anything is made of them, so that no picture ends
// the work of hours. Each file is decoded to its last pixel, once, as many at a time as there are
// cores, or fewer if they are large. Look sets the Size of every sample. done, unless nil, is
// called with the number of samples whose pictures were looked at more, one call at a time.
//
// One error names the bad pictures: their number and the first ten. A picture is bad if the sample
// names none, if the file is not there or cannot be read as a picture, or if one side is more than
// 32 times the other: what is cut out of its middle for a model would not be the picture. The File
// of a sample is relative to the folder.
func Look(ctx context.Context, samples []Sample, folder string, done func(pictures int)) error {
	byFile := map[string][]int{}
	var files []string
	for i, s := range samples {
		if byFile[s.File] == nil {
			files = append(files, s.File)
		}
		byFile[s.File] = append(byFile[s.File], i)
	}
	errs := make([]error, len(files))
	var next atomic.Int64
	var count sync.Mutex
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		wait.Go(func() {
			for ctx.Err() == nil {
				k := int(next.Add(1)) - 1
				if k >= len(files) {
					return
				}
				which := byFile[files[k]]
				errs[k] = lookAt(samples, which, folder)
				count.Lock()
				if done != nil {
					done(len(which))
				}
				count.Unlock()
			}
		})
	}
	wait.Wait()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("dataset: pictures are looked at: %w", err)
	}
	return bad(errs)
}

// lookAt decodes the picture that some of the samples have, and sets their Size.
func lookAt(samples []Sample, which []int, folder string) error {
	first := samples[which[0]]
	if first.File == "" {
		return fmt.Errorf("sample %q (%q) names no file", first.ID, first.Prompt)
	}
	if err := first.readImage(folder); err != nil {
		return err
	}
	size := first.Image.Bounds().Size()
	for _, i := range which {
		samples[i].Size = size
	}
	if err := picture.Slender(size.X, size.Y); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(folder, filepath.FromSlash(first.File)), err)
	}
	return nil
}

// bad is the error of pictures of which some are bad.
func bad(errs []error) error {
	const named = 10
	n := 0
	var first []error
	for _, err := range errs {
		if err == nil {
			continue
		}
		if n++; n <= named {
			first = append(first, err)
		}
	}
	if n == 0 {
		return nil
	}
	if n > named {
		first = append(first, fmt.Errorf("and %d more", n-named))
	}
	return fmt.Errorf("dataset: bad pictures: %d of %d\n%w", n, len(errs), errors.Join(first...))
}

// Cut says how much of samples' pictures is cut away where each is resized to cover width × height
// pixels, and the middle is cut out: "37 of 64 pictures are not square: 21 % of their area is cut
// away at the sides". It is "" if nothing is. Samples are counted whose Size is known.
func Cut(samples []Sample, width, height int) string {
	n, cut, lost := 0, 0, 0.
	for _, s := range samples {
		if s.Size.X < 1 || s.Size.Y < 1 {
			continue
		}
		n++
		if a, b := s.Size.X*height, s.Size.Y*width; a != b {
			cut++
			lost += 1 - float64(min(a, b))/float64(max(a, b))
		}
	}
	if cut == 0 {
		return ""
	}
	are := "are not square"
	if width != height {
		are = fmt.Sprintf("have not the shape %d×%d", width, height)
	}
	return fmt.Sprintf("%d of %d pictures %s: %.0f %% of their area is cut away at the sides",
		cut, n, are, 100*lost/float64(cut))
}

// mostHeld is how many pixels the pictures of a batch have together, so that no more are added.
const mostHeld = 1 << 24

// Batches yields the samples of d, n at a time, and at the end those that are left. A batch ends
// early when its pictures have more than 16 million pixels together: a batch is what is in memory
// at once, and one of a hundred photographs would be gigabytes. It is d that bounds a single
// picture. A batch is the caller's until the next one, whose memory it is.
func Batches(ctx context.Context, d Dataset, n int) iter.Seq2[[]Sample, error] {
	return func(yield func([]Sample, error) bool) {
		var batch []Sample
		held := 0
		flush := func() bool {
			more := yield(batch, nil)
			clear(batch) // which lets the pictures go
			if held > mostHeld {
				debug.FreeOSMemory()
			}
			batch, held = batch[:0], 0
			return more
		}
		for s, err := range All(ctx, d) {
			if err != nil {
				yield(nil, err)
				return
			}
			if s.Image != nil {
				size := s.Image.Bounds().Size()
				held += size.X * size.Y
			}
			if batch = append(batch, s); (len(batch) >= n || held > mostHeld) && !flush() {
				return
			}
		}
		if len(batch) > 0 {
			flush()
		}
	}
}
