package finetune

// SetFree makes all disks have so many bytes left, until the function that it returns is called.
func SetFree(bytes int64, known bool) (restore func()) {
	before := free
	free = func(string) (int64, bool) { return bytes, known }
	return func() { free = before }
}

// first is the first part of a step of the shape that is there first.
func (r *run) first() *part { return r.parts[r.shapes()[0]][0] }
