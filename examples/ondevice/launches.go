package main

import (
	"slices"
	"sync"

	"github.com/kudos-ml/kudos/kernels"
)

// A noting device notes which kernels it is given.
type noting struct {
	kernels.Device
	lock  sync.Mutex
	names map[string]bool
}

func (n *noting) Compile(launches []kernels.Launch) (kernels.Runner, error) {
	r, err := n.Device.Compile(launches)
	if err != nil {
		return nil, err
	}
	n.lock.Lock()
	defer n.lock.Unlock()
	for _, l := range launches {
		n.names[l.Kernel] = true
	}
	return r, nil
}

// take returns the names since the last call, sorted.
func (n *noting) take() []string {
	n.lock.Lock()
	defer n.lock.Unlock()
	var names []string
	for name := range n.names {
		names = append(names, name)
	}
	clear(n.names)
	slices.Sort(names)
	return names
}
