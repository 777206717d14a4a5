package study

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"slices"
	"sync"

	"github.com/kudos-ml/kudos/internal/picture"
)

// maxSide is the most pixels that a side of a picture has as it is sent: as many as a large window
// shows of one.
const maxSide = 1024

// maxReady is how many pairs are kept ready: with eight photographs of 512×512 pixels each, some
// 120 MB. Raters come to the same pairs at about the same time, and browsers keep what they have.
const maxReady = 32

// encoder makes the files that are sent. It writes what is opaque as 8-bit RGB.
var encoder = png.Encoder{BufferPool: new(buffers)}

// buffers are what the encoder works in.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() *png.EncoderBuffer {
	buffer, _ := b.pool.Get().(*png.EncoderBuffer)
	return buffer
}

func (b *buffers) Put(buffer *png.EncoderBuffer) { b.pool.Put(buffer) }

// A gallery has the pictures of pairs as they are sent.
type gallery struct {
	read func(ctx context.Context, id string) ([]byte, error)

	mu    sync.Mutex
	ready map[string]*ready // by the pair's ID
	order []string          // the IDs, the newest last
}

// A ready is the pictures of one pair, by their names.
type ready struct {
	made  chan struct{} // closed when they are there, or err
	files map[string][]byte
	err   error
}

// file returns a picture of a pair. It takes as long as all of the pair's take to be made ready,
// whichever it is, or no time if they are.
func (g *gallery) file(ctx context.Context, s *shape, name string) ([]byte, error) {
	g.mu.Lock()
	r := g.ready[s.ID]
	if r == nil {
		r = &ready{made: make(chan struct{})}
		if g.ready == nil {
			g.ready = make(map[string]*ready)
		}
		g.ready[s.ID] = r
		if g.order = append(g.order, s.ID); len(g.order) > maxReady {
			delete(g.ready, g.order[0])
			g.order = g.order[1:]
		}
		// Others may wait for it, so it goes on when who asked first has gone.
		go g.make(context.WithoutCancel(ctx), s, r)
	}
	g.mu.Unlock()
	select {
	case <-r.made:
		return r.files[name], r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// make makes the pictures of a pair. What has failed may do so once only: the next who asks begins
// anew.
func (g *gallery) make(ctx context.Context, s *shape, r *ready) {
	defer close(r.made)
	if r.files, r.err = g.encode(ctx, s); r.err == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ready[s.ID] == r {
		delete(g.ready, s.ID)
		g.order = slices.DeleteFunc(g.order, func(id string) bool { return id == s.ID })
	}
}

// encode reads the pictures of a pair and makes files of them that differ in nothing but what they
// show.
func (g *gallery) encode(ctx context.Context, s *shape) (map[string][]byte, error) {
	pictures := make(map[string]*picture.RGB)
	var w, h int
	for _, p := range slices.Concat(s.sets[0], s.sets[1]) {
		data, err := g.read(ctx, p.id)
		if err != nil {
			return nil, err
		}
		img, err := picture.Decode(bytes.NewReader(data), p.id)
		if err != nil {
			return nil, err
		}
		rgb := picture.FromImage(img)
		if w == 0 || rgb.W*rgb.H < w*h {
			w, h = rgb.W, rgb.H
		}
		pictures[p.handle] = rgb
	}
	w, h = bounded(w, h)
	files := make(map[string][]byte)
	for name, rgb := range pictures {
		if rgb.W != w || rgb.H != h {
			rgb = rgb.Resize(w, h, picture.Lanczos)
		}
		var b bytes.Buffer
		if err := encoder.Encode(&b, rgb.Image()); err != nil {
			return nil, fmt.Errorf("study: %w", err)
		}
		files[name] = b.Bytes()
	}
	return files, nil
}

// bounded is a size of the same shape whose sides are maxSide at most.
func bounded(w, h int) (int, int) {
	most := max(w, h)
	if most <= maxSide {
		return w, h
	}
	return max(1, w*maxSide/most), max(1, h*maxSide/most)
}
