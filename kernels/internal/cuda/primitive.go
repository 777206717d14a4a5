package cuda

// A Primitive is how a kernel of primitive.cu is started. Package primitive has all of them.
type Primitive struct {
	Name    string // of the kernel, behind "primitive_"
	Grid    [3]int
	Threads int
	Shared  int // bytes
	N       int // values, if the kernel asks for it
}

// Fields that only primitive_launch looks at.
const (
	PrimitiveBig  = 0x0123456789abcdef
	PrimitiveFlag = true
	PrimitiveX    = -1.5
)

// Run appends a launch. Operands that the kernel does not have are of no values.
func (p Primitive) Run(q *Queue, out, a, b, c Tensor) {
	q.add("primitive_"+p.Name, p.Grid, p.Threads, p.Shared,
		[]Tensor{out}, []Tensor{a, b, c},
		out, a, b, c, uint64(PrimitiveBig), p.N, PrimitiveFlag, PrimitiveX)
}
