package cuda

// ForceBF16 has products of bf16 computed in tiles of a name, with K cut into at most so many
// parts, until restore is called.
func ForceBF16(tile string, parts int) (restore func()) {
	old := chooseBF16
	chooseBF16 = func(_, _, k int) cutBF16 {
		for _, t := range tilesBF16 {
			if t.name == tile {
				return t.cutInto(parts, k)
			}
		}
		panic("cuda: no tile " + tile)
	}
	return func() { chooseBF16 = old }
}

// TilesBF16 returns the names of all tiles.
func TilesBF16() []string {
	var names []string
	for _, t := range tilesBF16 {
		names = append(names, t.name)
	}
	return names
}

// ChooseBF16 returns the tile and the number of parts that a product is computed in.
func ChooseBF16(m, n, k int) (tile string, parts int) {
	c := chooseBF16(m, n, k)
	return c.tile.name, c.parts
}

// Divide is ⌊x/d⌋ as the kernels compute it.
func Divide(x, d int) int {
	f := division(d)
	m, s := uint32(int32(f[1].(int))), f[2].(int)
	return int((uint32(uint64(uint32(x))*uint64(m)>>32) + uint32(x)) >> s)
}
