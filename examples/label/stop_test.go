//go:build unix

package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	moments = flag.Int("moments", 2, "moments at which the program is killed: few in "+
		"go test ./..., 20 to be sure")
	burst = flag.Int("burst", 240, "judgements of a burst in which it is killed; 2000 to be sure")
)

// clients are how many people answer at once.
const clients = 8

// A crowd is people who answer as fast as they can.
type crowd struct {
	all   []*visitor
	acked map[string]bool // IDs of answers that were acknowledged
	took  []time.Duration // by acknowledgements
	mu    sync.Mutex
}

// send lets everybody give answers of a round: those that were acknowledged in no earlier try. When
// so many have been acknowledged, stop is called. An answer that fails ends a person's round.
func (c *crowd) send(t *testing.T, round, stopAt int, stop func()) {
	var group sync.WaitGroup
	fresh := 0
	for k, v := range c.all {
		group.Go(func() {
			for i := range *burst / clients {
				id := fmt.Sprintf("round-%d-of-%d-answer-%d-", round, k, i)
				c.mu.Lock()
				is := c.acked[id]
				c.mu.Unlock()
				if is {
					continue
				}
				begin := time.Now()
				status, text, err := v.answer(id, fmt.Sprintf("%03d.png", i%100), "good")
				took := time.Since(begin)
				if err == nil && status != http.StatusOK {
					t.Errorf("%d %s", status, text)
				}
				if err != nil {
					if status != 0 {
						t.Error(err)
					}
					return
				}
				c.mu.Lock()
				c.acked[id] = true
				c.took = append(c.took, took)
				if fresh++; fresh == stopAt {
					stop()
				}
				c.mu.Unlock()
			}
		})
	}
	group.Wait()
}

// The program is killed while eight people answer as fast as they can, again and again. What was
// acknowledged is there, the store opens at once, and nothing in it contradicts anything else. When
// the program is there again and what was not acknowledged is sent again, all is there once.
//
//	go test -run TestKilled -v ./examples/label -moments 20 -burst 2000
func TestKilled(t *testing.T) {
	dir := folder(t, 100)
	db := filepath.Join(dir, "labels.db")
	invited := ""
	for k := range clients {
		invited += fmt.Sprintf("rater-%d,", k)
	}
	args := []string{"-images", dir, "-invite", invited, "-raters", fmt.Sprint(clients)}
	c := &crowd{acked: map[string]bool{}}
	s := serve(t, args...)
	for k := range clients {
		name := fmt.Sprintf("rater-%d", k)
		c.all = append(c.all, s.enter(t, name, s.links[name]))
	}
	random := rand.New(rand.NewPCG(1, 0))
	size := *burst / clients * clients
	check := func(exactly bool) {
		all, opened := kept(t, db)
		there := map[string]bool{}
		for _, j := range all {
			require.False(t, there[j.Answer], "%s is there twice", j.Answer)
			there[j.Answer] = true
		}
		for id := range c.acked {
			require.True(t, there[id], "%s was acknowledged", id)
		}
		if exactly {
			require.Len(t, all, len(c.acked))
		}
		require.Less(t, opened, 5*time.Second)
		t.Logf("%d acknowledged, %d there, opened in %v", len(c.acked), len(all),
			opened.Round(10*time.Microsecond))
	}
	restart := func() {
		s = serve(t, args...)
		for _, v := range c.all {
			v.base = s.base
		}
	}
	for round := range *moments {
		before := len(c.acked)
		c.send(t, round, 1+random.IntN(size-clients), func() {
			require.NoError(t, s.Process.Signal(syscall.SIGKILL))
		})
		code, _ := s.Wait()
		require.Equal(t, -1, code, "it was killed")
		require.Less(t, len(c.acked), before+size, "in the middle of the burst")
		check(false)
		restart()
		c.send(t, round, 0, nil) // the pages send again what waits
		require.Len(t, c.acked, before+size)
	}
	// One more burst is left alone and timed.
	c.took = nil
	begin := time.Now()
	c.send(t, *moments, 0, nil)
	rate := float64(size) / time.Since(begin).Seconds()
	slices.Sort(c.took)
	t.Logf("%d judgements of %d people: %.0f a second; acknowledged after %v (median), %v (99 %%)",
		size, clients, rate, c.took[size/2], c.took[size*99/100])
	s.interrupt(t)
	check(true)
}
