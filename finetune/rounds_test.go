package finetune

import (
	"context"
	"errors"
	"image"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
)

// rounds are three rounds of four updates. A sample's latent and picture are the network's first
// weight at the time when they are made.
func rounds(t *testing.T, l *line, folder string) *Rounds {
	t.Helper()
	tuner := tuner(t, l)
	tuner.Own, tuner.Updates, tuner.EMA, tuner.Choose = nil, 4, 0.5, ByReward{}
	data := func(_ context.Context, round int) (dataset.Dataset, error) {
		samples := made(6, true)
		for i := range samples {
			samples[i].Latent.Float32s()[0] = l.X.Float32s()[0]
			picture := image.NewGray(image.Rect(0, 0, 1, 1))
			picture.Pix[0] = shade(l)
			samples[i].Image = picture
			samples[i].Group = "all"
		}
		return dataset.FromSlice(samples), nil
	}
	return &Rounds{Tuner: tuner, N: 3, Folder: folder, Data: data}
}

func shade(l *line) uint8 { return uint8(100 + 50*l.X.Float32s()[0]) }

// stepsOf runs a trainer to its end, or through so many steps.
func stepsOf(t *testing.T, trainer Trainer, most int) (steps []Step) {
	t.Helper()
	for step, err := range trainer.Steps(t.Context()) {
		require.NoError(t, err)
		step.Time = 0
		steps = append(steps, step)
		if len(steps) == most {
			break
		}
	}
	return steps
}

// Steps go on counting; each round is of what the round before has made of the network, and draws
// its own noise.
func TestRounds(t *testing.T) {
	l, folder := newLine(), t.TempDir()
	r := rounds(t, l, folder)
	first := []float32{l.X.Float32s()[0]}
	shades := []uint8{shade(l)}
	var noise [][]float32
	count := 0
	for step, err := range r.Steps(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, []int{count, 12, 1 + count/4}, []int{step.Index, step.Of, r.Tuner.Round})
		require.Equal(t, 0.05/float64(1+count), step.LR)
		if count%4 == 0 {
			draws, err := r.Tuner.run.draw(0)
			require.NoError(t, err)
			noise = append(noise, draws[0].noise)
		}
		if count++; count%4 == 0 {
			first, shades = append(first, l.X.Float32s()[0]), append(shades, shade(l))
		}
	}
	require.Equal(t, 12, count)
	require.NotEqual(t, noise[0], noise[1])
	require.NotEqual(t, noise[1], noise[2])
	require.NotEqual(t, first[0], first[1])
	require.NotEqual(t, shades[0], shades[1])
	for i := range 3 {
		dir := filepath.Join(folder, "rounds", string(rune('1'+i)))
		samples, err := dataset.Collect(t.Context(), dataset.Folder{Path: dir, Images: true})
		require.NoError(t, err)
		require.Len(t, samples, 6)
		for k, s := range samples {
			red, _, _, _ := s.Image.At(0, 0).RGBA()
			require.EqualValues(t, shades[i], red>>8, "round %d", i+1)
			require.Equal(t, *made(6, true)[k].Reward, *s.Reward)
		}
		d, err := r.read(t.Context(), i+1)
		require.NoError(t, err)
		require.Equal(t, first[i], d.samples[3].Latent.Float32s()[0])
	}
	tuner, ok := As[*Tuner](&Record{Trainer: &Checkpoints{Trainer: r}})
	require.True(t, ok)
	require.Same(t, r.Tuner, tuner)
	require.Empty(t, stepsOf(t, r, 0), "it is over")
}

// Rounds that are taken up by another process, after any step, end with the same bits, whether the
// next round's data is there already or not.
func TestRoundsAreResumable(t *testing.T) {
	l := newLine()
	steps := stepsOf(t, rounds(t, l, t.TempDir()), 0)
	require.Len(t, steps, 12)
	for at := 1; at <= 12; at++ {
		folder, again := t.TempDir(), newLine()
		wrap := func(r *Rounds) *Checkpoints {
			return &Checkpoints{
				Trainer: r, Folder: folder, Every: 5, Resume: true, Progress: io.Discard,
			}
		}
		require.Equal(t, steps[:at], stepsOf(t, wrap(rounds(t, newLine(), folder)), at))
		if at%2 == 0 { // the process was killed after its last whole checkpoint, that of Every
			require.NoError(t, os.RemoveAll(checkpoint(folder, at)))
		}
		from := at
		if at%2 == 0 {
			from = at / 5 * 5
			if from == at {
				from -= 5
			}
		}
		r := rounds(t, again, folder)
		data, asked := r.Data, 0
		r.Data = func(ctx context.Context, round int) (dataset.Dataset, error) {
			asked++
			return data(ctx, round)
		}
		require.Equal(t, steps[from:], stepsOf(t, wrap(r), 0), "after %d", at)
		require.Equal(t, l.vector(), again.vector())
		if from > 0 {
			require.Equal(t, 3-((at-1)/4+1), asked, "what was made is not made again, after %d", at)
		}
	}
}

// Data that is not what was trained on is refused, and so is another number of updates.
func TestRoundsRefuse(t *testing.T) {
	folder := t.TempDir()
	r := rounds(t, newLine(), folder)
	stepsOf(t, r, 5)
	state, err := r.State(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2.0, state.Values["round"])
	state.Tensors = clone(state.Tensors)

	fewer := rounds(t, newLine(), folder)
	fewer.Tuner.Updates = 5
	require.ErrorContains(t, fewer.Restore(t.Context(), state), "with 5 updates a round it is 1")
	other := state
	other.Values = map[string]float64{"round": 2, "round data": 1}
	err = rounds(t, newLine(), folder).Restore(t.Context(), other)
	require.ErrorContains(t, err, "is not the data that was trained on")
	tensors := filepath.Join(folder, "rounds", "2", "data", roundTensors)
	text, err := os.ReadFile(tensors)
	require.NoError(t, err)
	text[len(text)-1] ^= 1
	require.NoError(t, os.WriteFile(tensors, text, 0o600))
	err = rounds(t, newLine(), folder).Restore(t.Context(), state)
	require.ErrorContains(t, err, "is not what was written")

	broken := rounds(t, newLine(), t.TempDir())
	failure := errors.New("no pictures today")
	broken.Data = func(context.Context, int) (dataset.Dataset, error) { return nil, failure }
	for _, err := range broken.Steps(t.Context()) {
		require.ErrorIs(t, err, failure)
		require.ErrorContains(t, err, "finetune: round 1: ")
	}
	_, err = (&Rounds{}).State(t.Context())
	require.ErrorContains(t, err, "no Tuner, no Data or no Folder")
}
