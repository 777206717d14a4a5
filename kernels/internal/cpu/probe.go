package cpu

import (
	"math"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// probeRounds are the rounds of a call of a probe. They take a fraction of a millisecond.
	probeRounds = 1 << 15
	// probeCalls are the calls of a worker in a probe, which takes some milliseconds then.
	probeCalls = 30
	// probeTries is how often a probe is made. The best counts: nothing makes it too fast.
	probeTries = 3
	// probeBlock is how many values are read or copied at once: more than caches hold are not kept
	// in them.
	probeBlock = 1 << 20
)

// MultiplyAdds returns how much arithmetic of float32 values the workers do in a second at most, a
// multiplication and an addition counted as two. It is 0 where that is not known.
func (p *Pool) MultiplyAdds() float64 {
	if multiplyAddLanes == 0 {
		return 0
	}
	n := p.Workers()
	perRound := float64(n) * probeCalls * probeRounds * accumulators
	return perRound * 2 * float64(multiplyAddLanes) / p.best(n, arithmeticProbe{multiplyAdds})
}

// DotProducts is MultiplyAdds of pairs of bfloat16 values that are added in float32. It is 0 where
// the processor has no instruction for that.
func (p *Pool) DotProducts() float64 {
	if dotProductLanes == 0 {
		return 0
	}
	n := p.Workers()
	perRound := float64(n) * probeCalls * probeRounds * accumulators
	return perRound * 2 * float64(dotProductLanes) / p.best(n, arithmeticProbe{dotProducts})
}

// accumulators is how many instructions a round of arithmetic has.
const accumulators = 12

// Reading returns how many bytes of x the workers read in a second.
func (p *Pool) Reading(x []float32) float64 {
	n := len(x) / probeBlock
	return 4 * float64(n*probeBlock) / p.best(n, readProbe{x})
}

// Copying returns how many bytes the workers read and write in a second while they copy src to dst.
func (p *Pool) Copying(dst, src []float32) float64 {
	n := min(len(dst), len(src)) / probeBlock
	return 8 * float64(n*probeBlock) / p.best(n, copyProbe{dst, src})
}

// Touching returns how many bytes of memory that nobody has touched the workers touch in a second.
// It can be done once.
func (p *Pool) Touching(pages []byte) float64 {
	n := len(pages) / touchBlock
	begin := time.Now()
	p.Parallel(n, touchProbe{pages})
	return float64(n*touchBlock) / time.Since(begin).Seconds()
}

const (
	// exchanges are how many round trips are timed at once.
	exchanges = 100
	// exchangeFor is how long a probe of them takes.
	exchangeFor = 500 * time.Microsecond
)

// Exchange returns the seconds in which a value goes from one core to another and back, and 0 if
// there is only one.
func (p *Pool) Exchange() float64 {
	if p.Workers() < 2 || runtime.GOMAXPROCS(0) < 2 {
		return 0
	}
	var there, back mailbox
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for want := int64(1); ; want++ {
			for there.letter.Load() < want {
			}
			if there.letter.Load() == math.MaxInt64 {
				return
			}
			back.letter.Store(want)
		}
	}()
	least := time.Duration(math.MaxInt64)
	next, begin := int64(0), time.Now()
	for last := begin; last.Sub(begin) < exchangeFor; {
		for range exchanges {
			next++
			there.letter.Store(next)
			for back.letter.Load() < next {
			}
		}
		now := time.Now()
		least = min(least, now.Sub(last))
		last = now
	}
	there.letter.Store(math.MaxInt64)
	<-ended
	return least.Seconds() / exchanges
}

// A mailbox is a value on a cache line of its own.
type mailbox struct {
	_      [64]byte
	letter atomic.Int64
	_      [64]byte
}

// best is the fewest seconds that a task takes. The workers are awake.
func (p *Pool) best(parts int, t Task) float64 {
	p.Parallel(p.Workers(), arithmeticProbe{func(int) {}})
	least := time.Duration(0)
	for i := range probeTries {
		begin := time.Now()
		p.Parallel(parts, t)
		if took := time.Since(begin); i == 0 || took < least {
			least = took
		}
	}
	return max(least, 1).Seconds()
}

// An arithmeticProbe does rounds of arithmetic in registers.
type arithmeticProbe struct{ rounds func(n int) }

func (t arithmeticProbe) Do(_, _ int) {
	for range probeCalls {
		t.rounds(probeRounds)
	}
}

type readProbe struct{ x []float32 }

func (t readProbe) Do(_, part int) { readAll(t.x[part*probeBlock:][:probeBlock]) }

type copyProbe struct{ dst, src []float32 }

func (t copyProbe) Do(_, part int) {
	copy(t.dst[part*probeBlock:][:probeBlock], t.src[part*probeBlock:])
}

// touchBlock is how many bytes are touched at once, a multiple of the pages that systems have.
const touchBlock = 4 << 20

type touchProbe struct{ pages []byte }

func (t touchProbe) Do(_, part int) {
	block := t.pages[part*touchBlock:][:touchBlock]
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
}

// readSink takes what is read, so that it is.
var readSink atomic.Int64

// readAllGeneric reads values in plain Go.
func readAllGeneric(x []float32) float32 {
	var a, b, c, d float32
	for ; len(x) >= 4; x = x[4:] {
		a, b, c, d = a+x[0], b+x[1], c+x[2], d+x[3]
	}
	return a + b + c + d
}
