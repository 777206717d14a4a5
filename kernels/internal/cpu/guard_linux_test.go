package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// atTheEnd returns a copy of x behind which there is a page that cannot be read.
func atTheEnd[T float32 | uint16](t *testing.T, x []T) []T {
	page, bytes := unix.Getpagesize(), int(unsafe.Sizeof(x[0]))*len(x)
	size := roundUp(bytes, page)
	memory, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Munmap(memory)) })
	require.NoError(t, unix.Mprotect(memory[size:], unix.PROT_NONE))
	y := unsafe.Slice((*T)(unsafe.Pointer(&memory[size-bytes])), len(x))
	copy(y, x)
	return y
}

// Products read nothing behind their factors and write nothing behind their result: it would end
// the test.
func TestGemmStaysInItsMemory(t *testing.T) {
	eachMicroKernel(t, func(t *testing.T) {
		for i, s := range [][3]int{
			{29, 65, 385}, {14, 32, 400}, {31, 47, 130}, {3, 150, 390}, {150, 3, 390}, {1, 1, 1},
		} {
			for mode := range 4 {
				r := rand.New(rand.NewPCG(uint64(i), uint64(mode)))
				p := Product{M: s[0], N: s[1], K: s[2], Bias: atTheEnd(t, normal(r, s[1]))}
				p.A = matrixFor(r, p.M, p.K, 0, mode&1 != 0)
				p.B = matrixFor(r, p.K, p.N, 0, mode&2 != 0)
				p.C = matrixFor(r, p.M, p.N, 0, false)
				want := p
				want.C.Data = append([]float32(nil), p.C.Data...)
				Gemm(Shared, &want, scratch(want.Workspace(Shared)))
				for _, x := range []*[]float32{&p.A.Data, &p.B.Data, &p.C.Data} {
					*x = atTheEnd(t, *x)
				}
				size := p.Workspace(Shared)
				Gemm(Shared, &p, atTheEnd(t, scratch(size+3))[:size:size]) // not on a cache line
				require.Equal(t, bits(want.C.Data), bits(p.C.Data), fmt.Sprint(s, mode))
			}
		}
	})
}

// Products of bfloat16 values stay in their memory too.
func TestGemmBF16StaysInItsMemory(t *testing.T) {
	eachMicroBF16(t, func(t *testing.T) {
		for i, s := range [][3]int{
			{29, 65, 386}, {14, 32, 400}, {31, 47, 131}, {3, 150, 1030}, {150, 3, 390}, {1, 1, 1},
		} {
			for mode := range 8 {
				r := rand.New(rand.NewPCG(uint64(i), uint64(mode)))
				p := ProductBF16{M: s[0], N: s[1], K: s[2], Whole: mode&4 != 0}
				p.A = halfMatrix(r, p.M, p.K, 0, mode&1 != 0)
				p.B = halfMatrix(r, p.K, p.N, 0, mode&2 != 0)
				want := p.inOrder()
				p.A.Data, p.B.Data = atTheEnd(t, p.A.Data), atTheEnd(t, p.B.Data)
				p.Bias = atTheEnd(t, make([]float32, p.N))
				if p.Whole {
					p.C = atTheEnd(t, scratch(p.M*p.N))
				} else {
					p.CBF16 = atTheEnd(t, make([]uint16, p.M*p.N))
				}
				eachChunk(func() {
					size := p.Workspace(Shared)
					GemmBF16(Shared, &p, atTheEnd(t, scratch(size+3))[:size:size])
				})
				if p.Whole {
					require.Equal(t, bits(want), bits(p.C), fmt.Sprint(s, mode))
					continue
				}
				half := make([]uint16, len(want))
				toBF16Generic(half, want)
				require.Equal(t, half, p.CBF16, fmt.Sprint(s, mode))
			}
		}
	})
}

// Convolutions read nothing behind their tensors and write nothing behind their result.
func TestConvStaysInItsMemory(t *testing.T) {
	eachMicroKernel(t, func(t *testing.T) {
		for i, c := range testConvs {
			x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(uint64(i), 3)))
			y, dx, dw := make([]float32, len(dy)), make([]float32, len(x)), make([]float32, len(w))
			all := []*[]float32{&x, &w, &dy, &bias, &y, &dx, &dw}
			var first [3][]uint32
			for guarded := range 2 {
				workspace := func(size int) []float32 { return scratch(size) }
				if guarded == 1 {
					for _, of := range all {
						*of = atTheEnd(t, *of)
					}
					workspace = func(size int) []float32 {
						return atTheEnd(t, scratch(size+3))[:size:size] // not on a cache line
					}
				}
				c.Forward(Shared, y, x, w, bias, workspace(c.ForwardWorkspace(Shared)))
				c.InputGrad(Shared, dx, dy, w, workspace(c.InputGradWorkspace(Shared)))
				c.WeightGrad(Shared, dw, dy, x, workspace(c.WeightGradWorkspace(Shared)))
				for i, result := range [][]float32{y, dx, dw} {
					if guarded == 0 {
						first[i] = bits(result)
					}
					require.Equal(t, first[i], bits(result), "%+v", c)
				}
			}
		}
	})
}
