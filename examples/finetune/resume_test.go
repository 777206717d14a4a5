//go:build unix

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// moments is how many times each kind of run is killed: few in go test ./..., 20 to be sure.
var moments = flag.Int("moments", 4, "moments at which a run is killed")

func TestMain(m *testing.M) {
	commandtest.Main(m, func() {
		commandtest.Dies()
		main()
	})
}

// elsewhere are many pictures, so that what is encoded takes several files.
func elsewhere(t *testing.T) place {
	t.Helper()
	p := small(t)
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(8, 70))
	require.NoError(t, err)
	for i := range samples {
		samples[i].File, samples[i].Reward = fmt.Sprintf("s%d.png", i), new(float64(i)/70)
		name := filepath.Join(p.dir, samples[i].File)
		require.NoError(t, picture.WritePNG(name, samples[i].Image))
	}
	_, err = dataset.Write(t.Context(), p.samples, dataset.FromSlice(samples))
	require.NoError(t, err)
	return p
}

// left is what a run leaves, times aside, and without what is there to go on.
func left(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := files(t, dir)
	for name, text := range all {
		switch {
		case strings.HasPrefix(name, "checkpoints/"), strings.HasPrefix(name, "cache/"),
			name == ".lock", strings.HasPrefix(name, "."):
			delete(all, name)
		case name == "config.json":
			delete(all, name)
		case name == "metrics.jsonl" || name == "report.json" || name == "report.html":
			all[name] = commandtest.Timeless(text)
		}
	}
	return all
}

// Killed at any moment and resumed, a run leaves bit for bit what it would have left.
func TestKilled(t *testing.T) {
	for name, more := range map[string][]string{
		"all":   {"-ema", "0.5", "-dropout", "0.5"},
		"pairs": {"-lora-rank", "2", "-kohya", "-max-grad-norm", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := elsewhere(t)
			args := func(out string) []string {
				short := []string{"-steps", "4", "-every", "2", "-batch", "1"}
				return p.args(out, append(short, more...)...)
			}
			began := time.Now()
			operations := len(commandtest.List(t, p.out("whole"), args("whole")...))
			took := time.Since(began)
			want := left(t, p.out("whole"))
			require.Contains(t, want, "metrics.jsonl")
			for i := range *moments {
				out, moment := fmt.Sprint(i), ""
				if i%3 == 2 { // at any time
					after := took * time.Duration(i+1) / time.Duration(*moments+1)
					moment = fmt.Sprint("after ", after)
					c := commandtest.Start(t, args(out)...)
					time.AfterFunc(after, func() { _ = c.Process.Kill() }) // or it has ended
					c.Wait()
				} else {
					at := 1 + (operations-1)*i/max(1, *moments-1)
					moment = fmt.Sprint("operation ", at, " of ", operations)
					commandtest.Kill(t, commandtest.Moment{
						Operation: at, Name: moment, Torn: i%3 == 1 && at < operations,
					}, args(out)...)
				}
				if i%4 == 3 { // and once more, while it goes on
					again := commandtest.Moment{Operation: operations * (i%5 + 1) / 10}
					commandtest.TryToKill(t, again, append(args(out), "-resume")...)
				}
				was := files(t, p.out(out))
				commandtest.Resume(t, args(out)...)
				now := files(t, p.out(out))
				for name, text := range was { // nothing is encoded again
					cached := strings.HasPrefix(name, "cache/")
					if cached && strings.HasSuffix(name, ".safetensors") {
						require.Equal(t, text, now[name])
					}
				}
				require.Equal(t, want, left(t, p.out(out)), moment)
				require.NoError(t, os.RemoveAll(p.out(out)))
			}
		})
	}
}

// A run that is at its end goes on with more updates, in less memory and with other checkpoints, as
// if it had had so many from the beginning. What else is other is refused by its name.
func TestGoesOn(t *testing.T) {
	p := at(t)
	_, _, err := try(t, p.args("long", "-steps", "5")...)
	require.NoError(t, err)
	_, _, err = try(t, p.args("run", "-steps", "2", "-resume")...)
	require.NoError(t, err, "where there is nothing to go on from it begins")
	before := files(t, p.out("run"))
	_, _, err = try(t, p.args("run", "-steps", "5", "-lr", "1e-4", "-resume")...)
	var different *finetune.DifferentRunError
	require.ErrorAs(t, err, &different)
	require.Equal(t, []string{"lr was 0.001 and is 0.0001"}, different.Differences)
	_, _, err = try(t, p.args("run", "-steps", "1", "-resume")...)
	require.ErrorContains(t, err, "1 updates were asked for, and there are 2 already")
	require.NoError(t, os.RemoveAll(p.out("run/stopped-after-2")))
	now := files(t, p.out("run"))
	for name, text := range before {
		if name != "report.html" && name != "report.json" {
			require.Equal(t, text, now[name], name)
		}
	}
	others := []string{"-steps", "5", "-memory", "60MiB", "-every", "1", "-resume"}
	_, printed, err := try(t, p.args("run", others...)...)
	require.NoError(t, err)
	require.Contains(t, printed, "operations are computed again")
	want, got := left(t, p.out("long")), left(t, p.out("run"))
	lines := func(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
	require.Equal(t, lines(want["metrics.jsonl"])[2:], lines(got["metrics.jsonl"])[2:])
	for name, text := range want {
		if strings.HasPrefix(name, "tuned/") {
			require.Equal(t, text, got[name], name)
		}
	}

	// Data that has changed meanwhile is other data.
	text, err := os.ReadFile(p.samples)
	require.NoError(t, err)
	png, err := os.ReadFile(filepath.Join(p.dir, "1.png"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "0.png"), png, 0o644))
	_, _, err = try(t, p.args("run", "-steps", "6", "-resume")...)
	require.ErrorContains(t, err, "sha256.data was ")
	require.NotContains(t, err.Error(), "sha256.samples")
	require.NoError(t, os.WriteFile(p.samples, append(text, '\n'), 0o644))
	_, _, err = try(t, p.args("run", "-steps", "6", "-resume")...)
	require.ErrorContains(t, err, "sha256.samples was ")
}

// A result that cannot be saved is not lost: what was trained is in a checkpoint, and the error
// says how to go on from there.
func TestLastSaveFails(t *testing.T) {
	p := small(t)
	_, _, err := try(t, p.args("whole")...)
	require.NoError(t, err)
	full := errors.New("disk full")
	for name, at := range map[string]string{
		"the result": "unfinished/unet", "a checkpoint": "checkpoints",
		"a cache": "cache/", "metrics": "metrics.jsonl",
	} {
		t.Run(name, func(t *testing.T) {
			out := strings.ReplaceAll(name, " ", "-")
			file.Before = func(operation, name string) error {
				name, err := filepath.Rel(p.out(out), name)
				there := err == nil && strings.HasPrefix(filepath.ToSlash(name), at)
				if there && operation != "remove" {
					return full
				}
				return nil
			}
			_, _, err := try(t, p.args(out)...)
			file.Before = nil
			require.ErrorIs(t, err, full)
			if at == "unfinished/unet" {
				require.ErrorContains(t, err,
					"this goes on after the last checkpoint:\n\tgo run ./examples/finetune ")
			}
			require.NoDirExists(t, p.out(out+"/tuned"))
			require.NoDirExists(t, p.out(out+"/unfinished"))
			steps := map[string]int{"checkpoints": 3, "metrics.jsonl": 1}[at]
			if stopped := p.out(fmt.Sprint(out, "/stopped-after-", steps)); steps > 0 {
				require.DirExists(t, stopped)
				require.NoError(t, os.RemoveAll(stopped))
			}
			_, _, err = try(t, p.args(out, "-resume")...)
			require.NoError(t, err)
			require.Equal(t, left(t, p.out("whole")), left(t, p.out(out)))
		})
	}
}

// Rewards are scored once.
func TestScoredOnce(t *testing.T) {
	p := at(t)
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	training := &alignment.Training{
		CLIP: encoder, Samples: labelled(t), Hidden: 8, Passes: 1, Seed: 1, HeldOut: 0.15,
	}
	for _, err := range training.Epochs(t.Context()) {
		require.NoError(t, err)
	}
	require.NoError(t, training.Model().Save(p.out("reward")))
	_, _, err = try(t, p.args("run", "-reward", p.out("reward"), "-steps", "1")...)
	require.NoError(t, err)
	scores := files(t, p.out("run/cache"))["scores.jsonl"]
	require.Equal(t, 1, strings.Count(scores, "\n"), "six samples in one line")
	_, _, err = try(t, p.args("run", "-reward", p.out("reward"), "-steps", "2", "-resume")...)
	require.NoError(t, err)
	require.Equal(t, scores, files(t, p.out("run/cache"))["scores.jsonl"])
}
