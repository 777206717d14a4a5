package feedback

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
)

var moments = flag.Int("moments", 4, "moments at which a process is killed")

// inChild names the store that a test process is to work on as the child of another one.
const inChild = "KUDOS_FEEDBACK_CHILD"

// child starts a process that judges in the store without end, as rater. It prints the ID of each
// answer that was acknowledged, a line each.
func child(t *testing.T, store, rater string) (*exec.Cmd, io.Reader) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(exe, "-test.run", "^TestChild$", "-test.timeout", "60s")
	c.Env = append(os.Environ(), inChild+"="+store, inChild+"_RATER="+rater)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	return c, out
}

// TestChild is what a child does.
func TestChild(t *testing.T) {
	path, rater := os.Getenv(inChild), os.Getenv(inChild+"_RATER")
	if path == "" {
		t.Skip("for processes that other tests start")
	}
	s, err := Open(t.Context(), Config{Path: path})
	require.NoError(t, err)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	var output sync.Mutex
	var wait sync.WaitGroup
	for k := range 4 {
		wait.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				next, err := s.Next(ctx, rater, 1)
				picture := fmt.Sprintf("p%d", i%10)
				if err == nil && len(next) > 0 {
					picture = next[0].Sample.ID
				}
				j := Judgement{
					Answer: fmt.Sprintf("%s-%d-%d-%d", rater, os.Getpid(), k, i), Rater: rater,
					Picture: picture, Label: dataset.Label(1 + i%3),
					Reason: strings.Repeat("x", i%500),
				}
				if err == nil {
					_, err = s.Judge(ctx, j)
				}
				if ctx.Err() == nil && err != nil {
					t.Error(err)
					return
				}
				output.Lock()
				fmt.Println(j.Answer)
				output.Unlock()
			}
		})
	}
	wait.Wait()
}

// A process is killed while it judges as fast as it can, again and again. Whatever it has
// acknowledged is there, the store opens at once, and nothing in it contradicts anything else.
func TestKilled(t *testing.T) {
	s := newStore(t)
	s.add(5, "a dog", "a cat")
	s.raters("anna")
	require.NoError(t, s.Close())
	acknowledged := map[string]bool{}
	r := rand.New(rand.NewPCG(1, 0))
	for range *moments {
		c, out := child(t, s.config.Path, "anna")
		lines := bufio.NewScanner(out)
		left := 1 + r.IntN(60)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "anna-") {
				acknowledged[lines.Text()] = true
			}
			if left--; left == 0 {
				require.NoError(t, c.Process.Kill())
			}
		}
		require.Error(t, c.Wait(), "it was killed")
		require.LessOrEqual(t, left, 0)

		start := time.Now()
		s.open()
		require.Less(t, time.Since(start), 5*time.Second)
		there := map[string]bool{}
		for _, j := range s.all() {
			there[j.Answer] = true
		}
		for answer := range acknowledged {
			require.True(t, there[answer], "%s was acknowledged", answer)
		}
		require.NoError(t, s.Check(t.Context()))
		require.NoError(t, s.Close())
		t.Logf("%d acknowledged, %d there", len(acknowledged), len(there))
	}
	s.open()
}

// Two processes work on one store, and a third one opens it and looks.
func TestTwoProcesses(t *testing.T) {
	s := newStore(t)
	s.add(5, "a dog", "a cat")
	s.raters("anna", "ben", "cleo")
	var wait sync.WaitGroup
	var processes []*exec.Cmd
	acknowledged := make([]map[string]bool, 2)
	for i, rater := range []string{"anna", "ben"} {
		c, out := child(t, s.config.Path, rater)
		processes = append(processes, c)
		acknowledged[i] = map[string]bool{}
		wait.Go(func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if strings.HasPrefix(lines.Text(), rater) {
					acknowledged[i][lines.Text()] = true
				}
				if len(acknowledged[i]) == 40 {
					s.noError(c.Process.Kill())
				}
			}
		})
	}
	for i := range 10 {
		s.say(fmt.Sprint("cleo-", i), "cleo", fmt.Sprint("p", i), dataset.Good)
	}
	wait.Wait()
	for _, c := range processes {
		require.Error(t, c.Wait(), "it was killed")
	}
	there := map[string]bool{}
	for _, j := range s.all() {
		there[j.Answer] = true
	}
	for i := range acknowledged {
		require.GreaterOrEqual(t, len(acknowledged[i]), 40)
		for answer := range acknowledged[i] {
			require.True(t, there[answer], answer)
		}
	}
	require.True(t, there["cleo-9"])
	require.NoError(t, s.Check(t.Context()))
}

// Several open a store that is not there yet, at once.
func TestOpenedAtOnce(t *testing.T) {
	path := t.TempDir() + "/labels.db"
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			s, err := Open(t.Context(), Config{Path: path})
			if err == nil {
				_, err = s.AddRater(t.Context(), fmt.Sprint("rater ", i))
			}
			if err == nil {
				err = s.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

// A disk that is full is an error. What was acknowledged stays, and it goes on when there is room.
func TestFullDisk(t *testing.T) {
	s := newStore(t)
	s.add(5, "a dog", "a cat")
	s.raters("anna")
	var pages int
	row := s.writer.conn.QueryRowContext(t.Context(), `PRAGMA page_count`)
	require.NoError(t, row.Scan(&pages))
	limit := func(pages int) {
		t.Helper()
		var got int
		row := s.writer.conn.QueryRowContext(t.Context(),
			fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
		require.NoError(t, row.Scan(&got))
		require.Equal(t, pages, got)
	}
	limit(pages + 8)
	long := strings.Repeat("because ", 100)
	judge := func(i int) error {
		_, err := s.Judge(t.Context(), Judgement{
			Answer: fmt.Sprint(i), Rater: "anna", Picture: fmt.Sprint("p", i%10),
			Label: dataset.Good, Reason: long,
		})
		return err
	}
	n := 0
	var err error
	for ; n < 1000; n++ {
		if err = judge(n); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ErrFull)
	require.Positive(t, n)
	require.Len(t, s.all(), n)
	require.NoError(t, s.Check(t.Context()))
	require.ErrorIs(t, judge(n), ErrFull)
	var archive strings.Builder
	require.NoError(t, s.Export(t.Context(), &archive), "reading goes on")

	limit(pages + 1000)
	require.NoError(t, judge(n))
	require.Len(t, s.all(), n+1)
	require.NoError(t, s.Check(t.Context()))
	require.NoError(t, s.Close())
	s.open()
	require.Len(t, s.all(), n+1)
}

// A process that holds the store for longer than others wait is told as such.
func TestBusy(t *testing.T) {
	s := newStore(t)
	s.raters("anna")
	other := &testStore{clock: s.clock, t: t, folder: s.folder}
	other.open()
	defer other.Close()
	_, err := other.writer.conn.ExecContext(t.Context(), `PRAGMA busy_timeout = 50`)
	require.NoError(t, err)
	require.NoError(t, s.write(t.Context(), func(w *work) error {
		_, err := other.AddRater(t.Context(), "ben")
		require.ErrorIs(t, err, ErrBusy)
		all, err := other.Raters(t.Context())
		require.NoError(t, err, "who reads does not wait")
		require.Len(t, all, 1)
		return nil
	}))
	other.raters("ben")
}
