package reward

import (
	"context"
	"errors"
	"image"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
)

// rewarded are samples of one prompt with the rewards given.
func rewarded(rewards ...float64) (samples []dataset.Sample) {
	for _, r := range rewards {
		samples = append(samples, dataset.Sample{Prompt: "a", Reward: &r})
	}
	return samples
}

func TestTransforms(t *testing.T) {
	rewards := []float64{0.2, 1, 0.6}
	e := math.E
	first := func(dataset.Sample) string { return "" }
	for name, c := range map[string]struct {
		t    Transform
		want []float64
	}{
		"raw":         {Raw, rewards},
		"minmax":      {MinMax, []float64{0, 1, 0.5}},
		"standardize": {Standardize, []float64{-math.Sqrt(1.5), math.Sqrt(1.5), 0}},
		// σ² is 2·0.4²/3
		"threshold": {Threshold(0.6), []float64{0, 1, 1}},
		"softmax": {Softmax(0.4), []float64{3 / (1 + e*e + e), 3 * e * e / (1 + e*e + e),
			3 * e / (1 + e*e + e)}},
		"shift":      {Shift(-0.5), []float64{0, 0.5, 0.1}},
		"baseline":   {Baseline(0.25), []float64{0.05 / 0.6, 0.85 / 0.6, 0.45 / 0.6}},
		"constant":   {Constant(0.3), []float64{0.3, 0.3, 0.3}},
		"equal":      {Equal, []float64{0.6, 0.6, 0.6}},
		"per prompt": {PerPrompt(MinMax), []float64{0, 1, 0.5}},
		"balanced":   {Balanced(Raw, first), rewards},
		"shuffled":   {Shuffled(Constant(2), 1), []float64{2, 2, 2}},
	} {
		samples := rewarded(rewards...)
		got, err := c.t(samples)
		require.NoError(t, err, name)
		require.InDeltaSlice(t, c.want, got, 1e-12, name)
		require.Equal(t, rewarded(rewards...), samples, name)
		_, err = c.t(rewarded(1, math.NaN(), 0))
		require.ErrorContains(t, err, "(a) is NaN", name)
		_, err = c.t(append(samples, dataset.Sample{ID: "7", Prompt: "b"}))
		require.ErrorContains(t, err, `sample "7" (b) has no reward`, name)
		none, err := c.t(nil)
		require.NoError(t, err, name)
		require.Empty(t, none, name)
	}
	_, err := MinMax(rewarded(2, 2))
	require.ErrorContains(t, err, "all are 2")
	_, err = Baseline(1)(rewarded(rewards...))
	require.ErrorContains(t, err, "a share of 1 of the mean is not in [0,1)")
	_, err = Baseline(0.5)(rewarded(1, -1))
	require.ErrorContains(t, err, "the mean of 2 rewards is 0, not above 0")
	_, err = Softmax(0)(rewarded(rewards...))
	require.ErrorContains(t, err, "temperature 0")
	large, err := Softmax(1e-3)(rewarded(1000, 999))
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{2, 0}, large, 1e-12)
	_, err = Shift(math.Inf(1))(rewarded(1))
	require.ErrorContains(t, err, "(reward 1) is +Inf")
	same, err := Standardize(rewarded(0.1, 0.1, 0.1)) // whose mean is not 0.1 when it is rounded
	require.NoError(t, err)
	require.Equal(t, []float64{0, 0, 0}, same)
}

// Advantages are those within each prompt's samples, wherever these lie.
func TestPerPrompt(t *testing.T) {
	samples := rewarded(1, 10, 3, 20, 2, 5) // a: 1, 3, 2; b: 10, 20; c: 5
	for i, prompt := range "ababac" {
		samples[i].Prompt = string(prompt)
	}
	got, err := PerPrompt(Standardize)(samples)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{-math.Sqrt(1.5), -1, math.Sqrt(1.5), 1, 0, 0}, got, 1e-12)
	_, err = PerPrompt(MinMax)(samples)
	require.ErrorContains(t, err, `all are 5 (among the 1 samples of "c")`)
}

// Within a key weights are as the rewards are, and every key counts the same; one without any
// reward stays out.
func TestBalanced(t *testing.T) {
	rewards := []float64{
		0.5, 0.1, 0.75, 0,
		0.5, 0.3, 0.25, 0,
	}
	samples := rewarded(rewards...)
	for i := range samples {
		samples[i].Prompt = "abcd"[i%4 : i%4+1]
	}
	prompt := func(s dataset.Sample) string { return s.Prompt }
	got, err := Balanced(Raw, prompt)(samples)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{ // 2.4 over 4 keys are 0.6 each
		0.3, 0.15, 0.45, 0,
		0.3, 0.45, 0.15, 0,
	}, got, 1e-15)
	alike, err := Balanced(Equal, prompt)(samples)
	require.NoError(t, err)
	require.InDeltaSlice(t, slices.Repeat([]float64{0.3}, 8), alike, 1e-15)
	_, err = Balanced(Standardize, prompt)(samples)
	require.ErrorContains(t, err, "below 0")
}

func TestWeigh(t *testing.T) {
	samples := rewarded(1, 2, 3)
	got, err := dataset.Collect(t.Context(), Weigh(dataset.FromSlice(samples), MinMax))
	require.NoError(t, err)
	for i, s := range got {
		require.Equal(t, float64(i)/2, *s.Reward)
		require.Equal(t, float64(i+1), *samples[i].Reward, "the samples' own rewards changed")
	}
	calls := 0
	counted := Weigh(dataset.FromSlice(samples), func(s []dataset.Sample) ([]float64, error) {
		calls++
		return Raw(s)
	})
	require.Zero(t, calls, "nothing is computed before it is ranged over")
	for range counted.All(t.Context()) {
		break
	}
	require.Equal(t, 1, calls)
	_, err = dataset.Collect(t.Context(), Weigh(dataset.FromSlice(samples[:1]), MinMax))
	require.ErrorContains(t, err, "all are 1")
	short := func([]dataset.Sample) ([]float64, error) { return nil, nil }
	_, err = dataset.Collect(t.Context(), Weigh(dataset.FromSlice(samples), Shuffled(short, 1)))
	require.ErrorContains(t, err, "0 weights for 3 samples")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = dataset.Collect(ctx, Weigh(dataset.FromSlice(samples), Raw))
	require.ErrorIs(t, err, context.Canceled)
}

func TestShuffledKeepsTheWeightsAndMovesThem(t *testing.T) {
	var rewards []float64
	for i := range 100 {
		rewards = append(rewards, float64(i))
	}
	got, err := Shuffled(Shift(1), 1)(rewarded(rewards...))
	require.NoError(t, err)
	again, err := Shuffled(Shift(1), 1)(rewarded(rewards...))
	require.NoError(t, err)
	other, err := Shuffled(Shift(1), 2)(rewarded(rewards...))
	require.NoError(t, err)
	require.Equal(t, got, again)
	require.NotEqual(t, got, other)
	stayed := 0
	for i, w := range got {
		if w == rewards[i]+1 {
			stayed++
		}
	}
	require.Less(t, stayed, 10)
	slices.Sort(got)
	require.Equal(t, 1.0, got[0])
	require.Equal(t, 100.0, got[99])
	require.Len(t, slices.Compact(got), 100)
}

// byID scores a sample by the number that is its ID, and notes how many it was asked for at once.
type byID struct{ asked []int }

func (m *byID) Score(_ context.Context, samples []dataset.Sample) ([]float64, error) {
	m.asked = append(m.asked, len(samples))
	var scores []float64
	for _, s := range samples {
		v, err := strconv.ParseFloat(s.ID, 64)
		if err != nil {
			return nil, err
		}
		scores = append(scores, v)
	}
	return scores, nil
}

func numbered(prompts string, ids ...string) (samples []dataset.Sample) {
	for i, id := range ids {
		samples = append(samples, dataset.Sample{ID: id, Prompt: string(prompts[i])})
	}
	return samples
}

func TestBestOf(t *testing.T) {
	best, err := BestOf(t.Context(), &byID{},
		numbered("ababaabb", "1", "3", "7", "5", "9", "9.0", "4", "2"), 2)
	require.NoError(t, err)
	got := ""
	for _, s := range best {
		got += s.Prompt + s.ID + " "
		require.Equal(t, s.ID, strconv.Itoa(int(*s.Reward)))
	}
	require.Equal(t, "a7 b5 a9 b4 ", got)
	_, err = BestOf(t.Context(), &byID{}, numbered("aaa", "1", "2", "3"), 2)
	require.ErrorContains(t, err, `1 samples left over of prompt "a"`)
	_, err = BestOf(t.Context(), &byID{}, nil, 0)
	require.ErrorContains(t, err, "best of 0")
}

// Of every two that follow one another; nothing is asked for that nobody wants.
func TestBest(t *testing.T) {
	m := &byID{}
	d := Best(dataset.FromSlice(numbered("aaaabb", "1", "3", "7", "5", "9", "4")), m, 2)
	for s, err := range d.All(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, "3", s.ID)
		break
	}
	require.Equal(t, []int{2}, m.asked)
	got, err := dataset.Collect(t.Context(), d)
	require.NoError(t, err)
	require.Len(t, got, 3)
	for i, id := range []string{"3", "7", "9"} {
		require.Equal(t, id, got[i].ID)
		require.Equal(t, id, strconv.Itoa(int(*got[i].Reward)))
	}
	_, err = dataset.Collect(t.Context(), Best(d, m, 2))
	require.ErrorContains(t, err, `1 samples left over of prompt "b"`)
	_, err = dataset.Collect(t.Context(), Best(dataset.FromSlice(numbered("ab", "1", "2")), m, 2))
	require.ErrorContains(t, err, "left over of prompt")
	_, err = dataset.Collect(t.Context(), Best(d, m, 0))
	require.ErrorContains(t, err, "best of 0")
}

// angles is an Encoder whose features lie in a plane: a picture's at its width in degrees, a
// prompt's at its length.
type angles struct{ asked int }

func (a *angles) row(degrees int) []float32 {
	sin, cos := math.Sincos(float64(degrees) * math.Pi / 180)
	return []float32{float32(3 * cos), float32(3 * sin)} // not of length 1
}

func (a *angles) ImageFeatures(_ context.Context, pictures []image.Image) (*tensor.Dense, error) {
	var v []float32
	for _, p := range pictures {
		v = append(v, a.row(p.Bounds().Dx())...)
	}
	return tensor.New(tensor.WithShape(len(pictures), 2), tensor.WithBacking(v)), nil
}

func (a *angles) TextFeatures(_ context.Context, prompts []string) (*tensor.Dense, error) {
	a.asked += len(prompts)
	var v []float32
	for _, p := range prompts {
		v = append(v, a.row(len(p))...)
	}
	return tensor.New(tensor.WithShape(len(prompts), 2), tensor.WithBacking(v)), nil
}

func TestCLIP(t *testing.T) {
	picture := func(width int) image.Image { return image.NewGray(image.Rect(0, 0, width, 1)) }
	e := &angles{}
	samples := []dataset.Sample{
		{Prompt: strings.Repeat("x", 30), Image: picture(30)}, {Prompt: strings.Repeat("x", 30),
			Image: picture(90)},
		{Prompt: strings.Repeat("x", 10), Image: picture(100)}, {Prompt: "x", Image: picture(181)},
	}
	got, err := CLIP(e).Score(t.Context(), samples)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{1, 0.5, 0, -1}, got, 1e-6)
	require.Equal(t, 3, e.asked, "each prompt is encoded once")
	none, err := CLIP(e).Score(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
	samples[1].Image = nil
	_, err = CLIP(e).Score(t.Context(), samples)
	require.ErrorContains(t, err, "has no picture")
}

func TestSumAndBatched(t *testing.T) {
	samples := numbered("aaaaa", "1", "2", "3", "4", "5")
	m := &byID{}
	scores, err := Sum(Weighted{Batched(m, 2), 2}, Weighted{&byID{}, -0.5}).Score(t.Context(),
		samples)
	require.NoError(t, err)
	require.Equal(t, []float64{1.5, 3, 4.5, 6, 7.5}, scores)
	require.Equal(t, []int{2, 2, 1}, m.asked)
	_, err = Batched(m, 0).Score(t.Context(), samples)
	require.Error(t, err)
}

func TestScored(t *testing.T) {
	m := &byID{}
	got, err := dataset.Collect(t.Context(),
		Scored(dataset.FromSlice(numbered("aaa", "1", "2", "3")), m, 2))
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, m.asked)
	for i, s := range got {
		require.Equal(t, float64(i+1), *s.Reward)
	}
	_, err = dataset.Collect(t.Context(), Scored(dataset.FromSlice(numbered("a", "x")), m, 2))
	require.ErrorIs(t, err, strconv.ErrSyntax)
	for range Scored(dataset.FromSlice(numbered("aaa", "1", "2", "3")), m, 2).All(t.Context()) {
		break
	}
}

// A model that breaks its contract is found out.
func TestModelsAreHeldToTheirContract(t *testing.T) {
	short := Func(func(context.Context, []dataset.Sample) ([]float64, error) {
		return []float64{1}, nil
	})
	nan := Func(func(_ context.Context, s []dataset.Sample) ([]float64, error) {
		return slices.Repeat([]float64{math.NaN()}, len(s)), nil
	})
	broken := errors.New("broken")
	fails := Func(func(context.Context, []dataset.Sample) ([]float64, error) { return nil, broken })
	samples := numbered("aa", "1", "2")
	for m, want := range map[*Func]string{
		&short: "1 scores for 2 samples", &nan: `"1" (a) NaN`, &fails: "broken",
	} {
		_, err := Sum(Weighted{*m, 1}).Score(t.Context(), samples)
		require.ErrorContains(t, err, want)
		_, err = Batched(*m, 2).Score(t.Context(), samples)
		require.ErrorContains(t, err, want)
		_, err = BestOf(t.Context(), *m, samples, 2)
		require.ErrorContains(t, err, want)
		_, err = dataset.Collect(t.Context(), Scored(dataset.FromSlice(samples), *m, 2))
		require.ErrorContains(t, err, want)
	}
}

// Give asks once for all samples, and gives nothing after an error.
func TestGive(t *testing.T) {
	samples := rewarded(3, 4)
	calls := 0
	m := Func(func(_ context.Context, of []dataset.Sample) ([]float64, error) {
		calls++
		return []float64{10 * *of[0].Reward, 10 * *of[1].Reward}, nil
	})
	require.NoError(t, Give(t.Context(), m, samples))
	require.Equal(t, 1, calls)
	require.Equal(t, []float64{30, 40}, []float64{*samples[0].Reward, *samples[1].Reward})
	wrong := Func(func(context.Context, []dataset.Sample) ([]float64, error) {
		return []float64{1}, nil
	})
	require.Error(t, Give(t.Context(), wrong, samples))
	require.Equal(t, 30.0, *samples[0].Reward)
}
