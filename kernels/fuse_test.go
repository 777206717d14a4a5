package kernels_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// A fuseCase is a graph and what of it is fused.
type fuseCase struct {
	name  string
	build func(b *network) gorgonia.Nodes // what is wanted
	fused string                          // kinds of fused steps, sorted
}

// residualOf adds y to x in one order or the other.
func residualOf(b *network, x, y *gorgonia.Node, swap bool) *gorgonia.Node {
	if swap {
		x, y = y, x
	}
	return b.check(kernels.Add(x, y))
}

// functionsOf are the functions that products are fused with.
var functionsOf = map[string]func(x *gorgonia.Node) (*gorgonia.Node, error){
	"SiLU": kernels.SiLU, "GELU": kernels.GELU, "QuickGELU": kernels.QuickGELU,
	"ReLU": kernels.ReLU,
}

// room returns a result that takes much memory for a while, so that there is enough at other times.
func room(b *network) *gorgonia.Node {
	return b.check(kernels.Sum(b.check(kernels.Repeat(b.input("room", 100), 0, 1000))))
}

// fuseCases have odd sizes, products that are cut along their depth, and rows that are not read in
// units.
func fuseCases() []fuseCase {
	var cases []fuseCase
	one := func(name, fused string, build func(b *network) *gorgonia.Node) {
		cases = append(cases, fuseCase{name, func(b *network) gorgonia.Nodes {
			return gorgonia.Nodes{build(b)}
		}, fused})
	}
	for _, out := range []int{16, 5} {
		for _, in := range []int{24, 2048} {
			name := func(s string) string { return fmt.Sprintf("%s %d→%d", s, in, out) }
			one(name("linear, time"), "linear+addRepeated", func(b *network) *gorgonia.Node {
				h := b.linear(b.input("x", 3, 7, in), out)
				return b.check(kernels.AddTime(h, b.input("t", 3, out)))
			})
			one(name("linear, residual"), "linear+add", func(b *network) *gorgonia.Node {
				h := b.linear(b.input("x", 3, 7, in), out)
				return residualOf(b, h, b.input("r", 3, 7, out), in == 24)
			})
			for function, of := range functionsOf {
				one(name("linear, "+function), "linear+unary", func(b *network) *gorgonia.Node {
					return b.check(of(b.linear(b.input("x", 3, 7, in), out)))
				})
				one(name("linear, time, "+function), "linear+addRepeated+unary",
					func(b *network) *gorgonia.Node {
						h := b.linear(b.input("x", 3, 7, in), out)
						h = b.check(kernels.AddTime(h, b.input("t", 3, out)))
						return b.check(of(h))
					})
				one(name("linear, residual, "+function), "linear+add+unary",
					func(b *network) *gorgonia.Node {
						h := b.linear(b.input("x", 3, 7, in), out)
						return b.check(of(residualOf(b, h, b.input("r", 3, 7, out), in == 24)))
					})
			}
			one(name("linear, GEGLU"), "linear+geglu", func(b *network) *gorgonia.Node {
				return b.check(kernels.GEGLU(b.linear(b.input("x", 3, 7, in), 16*(out/2))))
			})
			const all = "linear+addRepeated+add+unary"
			one(name("linear, all"), all, func(b *network) *gorgonia.Node {
				h := b.linear(b.input("x", 3, 7, in), out)
				h = b.check(kernels.AddTime(h, b.input("t", 3, out)))
				h = b.check(kernels.Add(h, b.input("r", 3, 7, out)))
				return b.check(kernels.SiLU(h))
			})
			one(name("linear, both"), "linear+addRepeated+add", func(b *network) *gorgonia.Node {
				r := b.input("r", 3, 7, out)
				h := b.linear(b.input("x", 3, 7, in), out)
				h = b.check(kernels.AddTime(h, b.linear(b.input("t", 3, 9), out)))
				return residualOf(b, h, r, in != 24)
			})
		}
		for _, c := range []struct{ in, kernel, stride int }{
			{8, 3, 1}, {3, 3, 2}, {256, 3, 1}, {8, 1, 1},
		} {
			name := fmt.Sprintf("conv %+v→%d", c, out)
			one(name, "conv2D+addRepeated+add", func(b *network) *gorgonia.Node {
				r := b.conv(b.input("r", 2, 5, 6, 4), out, 1, c.stride)
				h := b.conv(b.input("x", 2, 5, 6, c.in), out, c.kernel, c.stride)
				h = b.check(kernels.AddTime(h, b.linear(b.input("t", 2, 9), out)))
				return residualOf(b, h, r, out == 5)
			})
		}
	}
	// Many rows, of which the last block is smaller.
	one("linear, GEGLU of 2100", "linear+geglu", func(b *network) *gorgonia.Node {
		return b.check(kernels.GEGLU(b.linear(b.input("x", 2, 1050, 9), 16)))
	})
	one("conv, ReLU", "conv2D+unary", func(b *network) *gorgonia.Node {
		return b.check(kernels.ReLU(b.conv(b.input("x", 2, 5, 6, 8), 8, 3, 1)))
	})
	// What gradients read is kept.
	for _, in := range []int{24, 2048} {
		for name, f := range map[string]func(b *network, h *gorgonia.Node) *gorgonia.Node{
			"linear+geglu": func(b *network, h *gorgonia.Node) *gorgonia.Node {
				return b.check(kernels.GEGLU(h))
			},
			"linear+unary": func(b *network, h *gorgonia.Node) *gorgonia.Node {
				return b.check(kernels.GELU(h))
			},
			"linear+addRepeated+unary": func(b *network, h *gorgonia.Node) *gorgonia.Node {
				return b.check(kernels.SiLU(b.check(kernels.AddTime(h, b.input("t", 3, 48)))))
			},
			"linear+add+unary": func(b *network, h *gorgonia.Node) *gorgonia.Node {
				h = b.check(kernels.Add(h, b.input("r", 3, 7, 48)))
				return b.check(kernels.QuickGELU(b.check(kernels.Reshape(h, 21, 48))))
			},
		} {
			cases = append(cases, fuseCase{
				fmt.Sprint("gradient of ", name, " ", in), func(b *network) gorgonia.Nodes {
					room := room(b)
					h := f(b, b.linear(b.input("x", 3, 7, in), 48))
					h = b.linear(b.check(kernels.Mul(h, h)), 50)
					loss := b.check(kernels.MSE(h, b.input("y", h.Shape()...), nil))
					grads, err := gorgonia.Grad(loss, b.nodes()...)
					b.check(nil, err)
					return append(grads, loss, room)
				}, name,
			})
		}
	}
	return cases
}

// eachMachine runs f for both precisions on the host and on a device.
func eachMachine(t *testing.T, f func(t *testing.T, c kernels.Config)) {
	for _, p := range []kernels.Precision{kernels.Float32, kernels.BFloat16} {
		for _, on := range []string{"host", "device"} {
			t.Run(fmt.Sprintf("%v on %s", p, on), func(t *testing.T) {
				c := kernels.Config{Precision: p, Profile: true}
				if on == "device" {
					c.Device = cudatest.OpenDevice(t)
				}
				f(t, c)
			})
		}
	}
}

// bitsOf runs a machine and returns the bits of what is wanted, the plan and the profile.
func bitsOf(
	t *testing.T, g *gorgonia.ExprGraph, c kernels.Config,
) (bits [][]uint32, plan kernels.Plan, profile []kernels.OpTime) {
	t.Helper()
	m, err := kernels.NewMachine(g, c)
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	for _, n := range c.Want {
		var of []uint32
		for _, v := range m.Value(n).Float32s() {
			of = append(of, math.Float32bits(v))
		}
		require.True(t, finite(m.Value(n).Float32s()))
		bits = append(bits, of)
	}
	return bits, m.Plan(), m.Profile()
}

// fusedOf compares the bits of a machine with those of one that fuses nothing, and returns them
// with the kinds of the steps that are fused. There are as many steps less as these do more.
func fusedOf(
	t *testing.T, g *gorgonia.ExprGraph, c kernels.Config,
) (bits [][]uint32, fused string) {
	t.Helper()
	restore := kernels.Unfused()
	defer restore()
	want, unfused, _ := bitsOf(t, g, c)
	restore()
	bits, plan, profile := bitsOf(t, g, c)
	require.Equal(t, want, bits)
	var kinds []string
	calls, more := 0, 0
	for _, o := range profile {
		if n := strings.Count(o.Op, "+"); n > 0 {
			kinds = append(kinds, o.Op)
			calls += o.Calls
			more += n * o.Calls
		}
	}
	require.Equal(t, plan.Fused, calls)
	require.Zero(t, unfused.Fused)
	if plan.Recomputed+unfused.Recomputed == 0 {
		require.Equal(t, unfused.Steps, plan.Steps+more)
	}
	slices.Sort(kinds)
	return bits, strings.Join(kinds, " ")
}

// What is fused has the bits of the operations one by one.
func TestFusingChangesNoBit(t *testing.T) {
	eachMachine(t, func(t *testing.T, config kernels.Config) {
		for _, c := range fuseCases() {
			t.Run(c.name, func(t *testing.T) {
				b := &network{g: gorgonia.NewGraph()}
				config.Want = c.build(b)
				_, fused := fusedOf(t, b.g, config)
				require.Equal(t, c.fused, fused)
			})
		}
	})
}

// A network's loss and gradients have the bits that they have without fusing.
func TestFusingNetwork(t *testing.T) {
	defer kernels.Unscored()() // in bfloat16, the gradient reads the rounded result
	b, loss := unet(2, 8, 8, 1)
	want := append(gorgonia.Nodes{loss}, b.gradients(t, loss)...)
	eachMachine(t, func(t *testing.T, c kernels.Config) {
		for _, c.Want = range []gorgonia.Nodes{want, want[:1]} {
			_, fused := fusedOf(t, b.g, c)
			require.Contains(t, fused, "conv2D+addRepeated")
			require.Contains(t, fused, "linear+add")
		}
	})
}

// Memory does not grow by more than 0.5 % where steps are fused. In bfloat16 that is a device's: on
// the host there are float32 copies of all that a step reads and writes. What attention leaves for
// its gradient there does not count.
func TestFusingTakesNoMemory(t *testing.T) {
	defer kernels.Unscored()()
	test := func(t *testing.T, b *network, loss *gorgonia.Node) {
		all := append(gorgonia.Nodes{loss}, b.gradients(t, loss)...)
		for _, p := range []kernels.Precision{kernels.Float32, kernels.BFloat16} {
			for _, want := range []gorgonia.Nodes{all, all[:1]} {
				c := kernels.Config{Want: want, Precision: p}
				if p == kernels.BFloat16 {
					c.Device = cudatest.OpenDevice(t)
				}
				plan := func() kernels.Plan {
					m, err := kernels.NewMachine(b.g, c)
					require.NoError(t, err)
					require.NoError(t, m.Close())
					return m.Plan()
				}
				with := plan()
				restore := kernels.Unfused()
				without := plan()
				restore()
				t.Logf("%v of %d: %v; not fused: %v", p, len(want), with, without)
				require.Positive(t, with.Fused)
				require.Contains(t, with.String(), fmt.Sprintf(", %d of them fused", with.Fused))
				most := func(n int64) float64 { return 1.005 * float64(n) }
				require.LessOrEqual(t, float64(with.Total()), most(without.Total()))
				require.LessOrEqual(t, float64(with.Live), most(without.Live))
				require.LessOrEqual(t, float64(with.Activations), most(without.Activations))
			}
		}
	}
	b, loss := unet(2, 16, 32, 2)
	t.Run("UNet", func(t *testing.T) { test(t, b, loss) })
	b, loss = feedForward(0)
	t.Run("feed forward", func(t *testing.T) { test(t, b, loss) })
}

// What is not fused, and why.
func TestNotFused(t *testing.T) {
	type graph = func(b *network) gorgonia.Nodes
	layer := func(b *network) *gorgonia.Node { return b.linear(b.input("x", 3, 7, 9), 24) }
	residual := func(b *network) *gorgonia.Node { return b.input("r", 3, 7, 24) }
	one := func(f func(b *network) *gorgonia.Node) graph {
		return func(b *network) gorgonia.Nodes { return gorgonia.Nodes{f(b)} }
	}
	for name, c := range map[string]struct {
		build  graph
		change func(c *kernels.Config)
		fused  string
	}{
		"the product is wanted": {build: func(b *network) gorgonia.Nodes {
			h := layer(b)
			return gorgonia.Nodes{h, b.check(kernels.SiLU(h))}
		}},
		"a part of it is wanted": {build: func(b *network) gorgonia.Nodes {
			h := layer(b)
			return gorgonia.Nodes{b.check(kernels.View(h, 3, 5)), b.check(kernels.SiLU(h))}
		}},
		"the product is kept": {
			build: func(b *network) gorgonia.Nodes {
				h := layer(b)
				return gorgonia.Nodes{b.check(kernels.SiLU(h)), h}
			},
			change: func(c *kernels.Config) { c.Want, c.Keep = c.Want[:1], c.Want[1:] },
		},
		"what is kept is wanted": {build: func(b *network) gorgonia.Nodes {
			room := room(b)
			y := b.check(kernels.GELU(layer(b)))
			loss := b.check(kernels.Sum(b.check(kernels.Mul(y, residual(b)))))
			grads, err := gorgonia.Grad(loss, b.nodes()...)
			b.check(nil, err)
			return append(grads, y, room)
		}},
		"others read it before": {build: func(b *network) gorgonia.Nodes {
			room, h := room(b), layer(b)
			twice := b.check(kernels.Scale(h, 2))
			y := b.check(kernels.Concat(b.check(kernels.SiLU(h)), h))
			return gorgonia.Nodes{y, twice, room}
		}},
		"it is read twice": {build: one(func(b *network) *gorgonia.Node {
			h := layer(b)
			return b.check(kernels.Add(h, h))
		})},
		"others read it": {build: one(func(b *network) *gorgonia.Node {
			h := layer(b)
			return b.check(kernels.Mul(b.check(kernels.Add(h, residual(b))), h))
		})},
		"what is added comes from it": {build: one(func(b *network) *gorgonia.Node {
			h := layer(b)
			return b.check(kernels.Add(h, b.check(kernels.Scale(h, 2))))
		})},
		"what is added comes later": {build: one(func(b *network) *gorgonia.Node {
			h := layer(b)
			return b.check(kernels.Add(h, b.check(kernels.Scale(residual(b), 2))))
		})},
		"a part of it": {build: one(func(b *network) *gorgonia.Node {
			return b.check(kernels.SiLU(b.check(kernels.Slice(layer(b), 0, 1, 2))))
		})},
		"positions": {build: one(func(b *network) *gorgonia.Node {
			return b.check(kernels.AddPositions(layer(b), b.input("p", 7, 24)))
		})},
		"times of other rows": {build: one(func(b *network) *gorgonia.Node {
			h := b.check(kernels.Reshape(layer(b), 3, 14, 12))
			return b.check(kernels.AddTime(h, b.input("t", 3, 12)))
		})},
		"another function": {build: one(func(b *network) *gorgonia.Node {
			return b.check(kernels.Exp(layer(b)))
		})},
		"halves that are no units": {build: one(func(b *network) *gorgonia.Node {
			return b.check(kernels.GEGLU(b.linear(b.input("x", 3, 7, 9), 24)))
		})},
		"halves of other rows": {build: one(func(b *network) *gorgonia.Node {
			return b.check(kernels.GEGLU(b.check(kernels.Reshape(
				b.linear(b.input("x", 3, 7, 9), 32), 2*3*7, 16))))
		})},
		"time and halves": {
			build: one(func(b *network) *gorgonia.Node {
				h := b.linear(b.input("x", 3, 7, 9), 32)
				h = b.check(kernels.AddTime(h, b.input("t", 3, 32)))
				return b.check(kernels.GEGLU(h))
			}),
			fused: "linear+addRepeated",
		},
		"two residuals": {
			build: one(func(b *network) *gorgonia.Node {
				h := b.check(kernels.Add(layer(b), residual(b)))
				return b.check(kernels.Add(h, b.input("s", 3, 7, 24)))
			}),
			fused: "linear+add",
		},
		"time behind a residual": {
			build: one(func(b *network) *gorgonia.Node {
				h := b.check(kernels.Add(layer(b), residual(b)))
				return b.check(kernels.AddTime(h, b.input("t", 3, 24)))
			}),
			fused: "linear+add",
		},
		"a step is watched": {
			build:  one(func(b *network) *gorgonia.Node { return b.check(kernels.SiLU(layer(b))) }),
			change: func(c *kernels.Config) { c.WatchNaN = true },
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachMachine(t, func(t *testing.T, config kernels.Config) {
				b := &network{g: gorgonia.NewGraph()}
				config.Want = c.build(b)
				if c.change != nil {
					c.change(&config)
				}
				_, fused := fusedOf(t, b.g, config)
				require.Equal(t, c.fused, fused)
			})
		})
	}
}

// feedForward is a network of a few blocks whose activations' inputs gradients read, with its loss.
// odd is how many values a row of one of them has above 32.
func feedForward(odd int) (b *network, loss *gorgonia.Node) {
	b = &network{g: gorgonia.NewGraph()}
	h := b.linear(b.input("x", 3, 7, 12), 16)
	for range 3 {
		h = b.check(kernels.Add(h, b.linear(b.check(kernels.GEGLU(b.linear(h, 96))), 16)))
		h = b.check(kernels.Add(h, b.linear(b.check(kernels.GELU(b.linear(h, 32+odd))), 16)))
	}
	h = b.linear(h, 4)
	return b, b.check(kernels.MSE(h, b.input("y", 3, 7, 4), nil))
}

// Under budgets of memory, bits stay and what is kept for gradients is kept by itself.
func TestFusingUnderBudgets(t *testing.T) {
	b, loss := feedForward(0)
	want := append(gorgonia.Nodes{loss}, b.gradients(t, loss)...)
	eachMachine(t, func(t *testing.T, c kernels.Config) {
		c.Want = want
		whole, fused := fusedOf(t, b.g, c)
		require.Contains(t, fused, "linear+geglu")
		require.Contains(t, fused, "linear+unary")
		m, err := kernels.NewMachine(b.g, c)
		require.NoError(t, err)
		require.NoError(t, m.Close())
		for _, percent := range []int64{70, 50} {
			c.ActivationBytes = m.Plan().Activations * percent / 100
			part, fused := fusedOf(t, b.g, c)
			require.Equal(t, whole, part)
			require.Contains(t, fused, "linear+add")
			require.NotContains(t, fused, "geglu")
		}
	})
}

// What is kept lies before the result, which begins where it is read 16 bytes at once.
func TestKeptIsAligned(t *testing.T) {
	for odd, fused := range map[int]bool{0: true, 1: false, 4: true} {
		b, loss := feedForward(odd)
		want := append(gorgonia.Nodes{loss}, b.gradients(t, loss)...)
		c := kernels.Config{Want: want, Profile: true}
		_, kinds := fusedOf(t, b.g, c)
		require.Equal(t, fused, strings.Contains(kinds, "linear+unary"), odd)
	}
}
