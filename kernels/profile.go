package kernels

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// An OpTime is the time that one kind of operation has taken in all runs so far.
type OpTime struct {
	// Op is the type of the rule or of gorgonia's operation, or "update" for updates. Fused
	// products have names such as "conv2D+add".
	Op    string
	Calls int
	Time  time.Duration
}

// A profile measures steps by kind.
type profile struct {
	kinds []OpTime
	index map[string]int
}

// kind returns the number of a task's kind.
func (p *profile) kind(k *task) int {
	name := kindOf(k)
	if p.index == nil {
		p.index = make(map[string]int)
	}
	i, ok := p.index[name]
	if !ok {
		i = len(p.kinds)
		p.index[name] = i
		p.kinds = append(p.kinds, OpTime{Op: name})
	}
	return i
}

// kindOf names a task's kind.
func kindOf(k *task) string {
	switch {
	case k.rule != nil:
		return nameOfRule(k.rule)
	case k.by == nil:
		return fmt.Sprintf("%T", k.value.node.Op())
	}
	return "update"
}

// Profile returns the time that each kind of operation has taken since NewMachine, longest first.
// It is empty unless Config.Profile is set.
func (m *Machine) Profile() []OpTime {
	times := slices.Clone(m.profile.kinds)
	slices.SortFunc(times, func(a, b OpTime) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Op, b.Op))
	})
	return times
}
