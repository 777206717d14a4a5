package kernels

import (
	"errors"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

const (
	// probedMemory is how many values a probe of memory reads: more than caches hold.
	probedMemory = 32 << 20
	// touchedMemory is how many bytes a probe of fresh memory touches.
	touchedMemory = 128 << 20
)

// A Probe measures the most that workers can do. A time is worth more as a share of it: another
// machine, another clock of the processor, and other programs change both. It is for one goroutine
// at a time.
type Probe struct {
	pool        *cpu.Pool
	memory      *arena
	read, write []float32
}

// NewProbe returns a probe of w, or of the workers of the process if w is nil. It takes 256 MiB of
// memory until Close.
func NewProbe(w *Workers) (*Probe, error) {
	p := &Probe{pool: cpu.Shared}
	if w != nil {
		p.pool = w.pool
	}
	var err error
	if p.memory, err = newArena(2 * 4 * probedMemory); err != nil {
		return nil, err
	}
	both := values[float32](p.memory.pages, 0, 2*probedMemory)
	p.read, p.write = both[:probedMemory], both[probedMemory:]
	p.pool.Touching(p.memory.pages) // what nobody has written to may be one page of zeros
	return p, nil
}

// Close frees the memory.
func (p *Probe) Close() error { return p.memory.free() }

// Workers is how many workers are probed.
func (p *Probe) Workers() int { return p.pool.Workers() }

// Arithmetic returns how much arithmetic of products the workers do in a second, of operands in a
// precision, in registers. A multiplication and an addition are two. It is 0 where kudos has no
// assembly for the processor. Without an instruction for products in bfloat16 it is that of
// float32, in which they are made then.
func (p *Probe) Arithmetic(of Precision) float64 {
	if of == BFloat16 {
		if rate := p.pool.DotProducts(); rate > 0 {
			return rate
		}
	}
	return p.pool.MultiplyAdds()
}

// Reading returns how many bytes of memory the workers read in a second.
func (p *Probe) Reading() float64 { return p.pool.Reading(p.read) }

// Copying returns how many bytes of memory the workers read and write in a second when they copy.
func (p *Probe) Copying() float64 { return p.pool.Copying(p.write, p.read) }

// Exchange returns the seconds in which a value goes from one core to another and back. Where that
// is long, what one worker has written is far from the others. Virtual machines are moved between
// cores that are near and cores that are far, which changes what products and memory can reach. It
// is 0 if there is one worker or one core.
func (p *Probe) Exchange() float64 { return p.pool.Exchange() }

// Touching returns how many bytes of fresh memory the workers touch in a second. The system gives a
// page of memory when it is written to for the first time.
func (p *Probe) Touching() (rate float64, err error) {
	fresh, err := newArena(touchedMemory)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, fresh.free()) }()
	return p.pool.Touching(fresh.pages), nil
}

// Processor says which kind of processor this is, such as "AuthenticAMD family 25 model 17".
func Processor() string { return cpu.Processor() }
