package customtrainer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/reward"

	// What the programs import, so that whoever can run this test has all that building them needs.
	_ "github.com/kudos-ml/kudos/finetune"
	_ "github.com/kudos-ml/kudos/reward/evaluate"
)

// program reads a program of this folder.
func program(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(name, "main.go"))
	require.NoError(t, err)
	return string(text)
}

// bin is where TestPrograms builds the programs.
var bin string

// built is the path of a program.
func built(name string) string { return filepath.Join(bin, name) }

// Programs are built in a module outside the repository, which has nothing but its public packages,
// and do what they promise. They are built at once, since that takes longer than some of them.
func TestPrograms(t *testing.T) {
	programs := map[string]func(t *testing.T){
		"terms":    testTerms,
		"trainer":  testTrainer,
		"tune":     testTune,
		"denoiser": testDenoiser,
		"judge":    testJudge,
		"compare":  testCompare,
		"prefer":   testPrefer,
		"policy":   testPolicy,
	}
	dir := commandtest.Module(t, "../..")
	for name := range programs {
		commandtest.Copy(t, filepath.Join(dir, name), filepath.Join(name, "main.go"))
	}
	readme := filepath.Join(dir, "readme")
	require.NoError(t, os.Mkdir(readme, 0o755))
	source, says := readmeProgram(t)
	require.NoError(t, os.WriteFile(filepath.Join(readme, "main.go"), []byte(source), 0o644))
	bin = filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	commandtest.Build(t, dir, "-o", bin+string(filepath.Separator), "./...")
	for name, test := range programs {
		t.Run(name, test)
	}
	t.Run("readme", func(t *testing.T) { testReadme(t, source, says) })
}

// lines counts the lines of a program that are neither blank nor comments.
func lines(source string) (n int) {
	for line := range strings.Lines(source) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	return n
}

type metric struct {
	Loss  float64
	Terms map[string]float64
}

// train runs a program and returns what it wrote down.
func train(t *testing.T, binary string) (folder string, progress string, metrics []metric) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "run")
	out, err := exec.CommandContext(t.Context(), binary, folder).CombinedOutput()
	require.NoError(t, err, string(out))
	text, err := os.ReadFile(filepath.Join(folder, "metrics.jsonl"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		m := metric{Loss: math.NaN()}
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		metrics = append(metrics, m)
	}
	text, err = os.ReadFile(filepath.Join(folder, "report.json"))
	require.NoError(t, err)
	var r struct{ Steps, Of int }
	require.NoError(t, json.Unmarshal(text, &r))
	require.Equal(t, []int{len(metrics), len(metrics)}, []int{r.Steps, r.Of})
	return folder, string(out), metrics
}

// falls checks that the mean loss of the last quarter of the steps is at most a part of the
// first's.
func falls(t *testing.T, metrics []metric, part float64) {
	t.Helper()
	mean := func(ms []metric) (sum float64) {
		for _, m := range ms {
			sum += m.Loss / float64(len(ms))
		}
		return sum
	}
	k := len(metrics) / 4
	first, last := mean(metrics[:k]), mean(metrics[len(metrics)-k:])
	// NaN fails.
	require.True(t, last <= part*first, "the loss was %v first and %v last", first, last)
	require.Positive(t, last)
}

func testTerms(t *testing.T) {
	source := program(t, "terms")
	require.Less(t, lines(source), 60)
	folder, progress, metrics := train(t, built("terms"))
	require.Len(t, metrics, 40)
	falls(t, metrics, 0.9)
	require.Zero(t, metrics[0].Terms["near"], "nothing is tuned yet")
	for _, m := range metrics[1:] {
		require.Positive(t, m.Terms["near"])
		require.InDelta(t, m.Loss, m.Terms["near"]+m.Terms["reward"], 1e-5)
	}
	require.Contains(t, progress, "training: 40 in ")
	page, err := os.ReadFile(filepath.Join(folder, "report.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "<td>near</td>")
}

func testTrainer(t *testing.T) {
	folder, progress, metrics := train(t, built("trainer"))
	require.Len(t, metrics, 1000)
	falls(t, metrics, 0.5)
	require.Contains(t, progress, "points: 1000 in ")
	config, err := os.ReadFile(filepath.Join(folder, "config.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"updates":1000}`, string(config))
	page, err := os.ReadFile(filepath.Join(folder, "report.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "1000 of 1000 updates")
}

// run runs a program that is built outside and has less than so many lines, and returns what it
// says.
func run(t *testing.T, name string, most int, arguments ...string) string {
	t.Helper()
	source := program(t, name)
	require.Less(t, lines(source), most)
	require.NotContains(t, source, "kudos/internal/")
	out, err := exec.CommandContext(t.Context(), built(name), arguments...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// number is what a program said behind a name.
func number(t *testing.T, out, name string) float64 {
	t.Helper()
	_, rest, ok := strings.Cut(out, name)
	require.True(t, ok, "no %q in %s", name, out)
	var v float64
	_, err := fmt.Sscan(strings.TrimSuffix(strings.Fields(rest)[0], ","), &v)
	require.NoError(t, err)
	return v
}

// same holds two folders of pictures that WriteFolder wrote to one another, in their order. Their
// names and their notes have the model's name, so it is the pixels that are compared.
func same(t *testing.T, a, b string) {
	t.Helper()
	read := func(dir string) (pictures []image.Image) {
		folder := dataset.Folder{Path: dir, Images: true}
		samples, err := dataset.Collect(t.Context(), folder)
		require.NoError(t, err)
		require.NotEmpty(t, samples)
		for _, s := range samples {
			pictures = append(pictures, s.Image)
		}
		return pictures
	}
	require.True(t, reflect.DeepEqual(read(a), read(b)), "the pictures differ")
}

// Tuned by a reward, the model and the adapter have more of it, and are the same when they are
// loaded.
func testTune(t *testing.T) {
	folder := t.TempDir()
	out := run(t, "tune", 60, folder)
	for _, of := range []string{"model", "adapter"} {
		require.Greater(t, number(t, out, of+" tuned: "), number(t, out, "before: "))
		require.Equal(t, number(t, out, of+" tuned: "), number(t, out, of+" loaded: "))
	}
	same(t, filepath.Join(folder, "model tuned"), filepath.Join(folder, "model loaded"))
}

// A network of one's own learns, and makes the same pictures when it is loaded.
func testDenoiser(t *testing.T) {
	folder := t.TempDir()
	out := run(t, "denoiser", 60, folder)
	require.Less(t, number(t, out, "update 148: loss "), 0.8*number(t, out, "update 1: loss "))
	same(t, filepath.Join(folder, "trained"), filepath.Join(folder, "loaded"))
}

// A reward that is learned from labels tells good pictures from bad ones of prompts that it has not
// seen.
func testJudge(t *testing.T) {
	folder, labels := t.TempDir(), t.TempDir()
	pictures := tiny.Pretraining(3, 400)
	rated := dataset.Map(pictures, func(_ context.Context, s dataset.Sample) (dataset.Sample, error) {
		var err error
		s.Label, err = shapes.Rater{}.Label(s)
		return s, err
	})
	_, err := dataset.WriteFolder(t.Context(), labels, rated)
	require.NoError(t, err)
	out := run(t, "judge", 60, filepath.Join(labels, "samples.jsonl"), folder)
	require.Greater(t, number(t, out, "AUC "), 0.7)
	require.Contains(t, out, "best of four: 2\n")
	var weights []float64
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "weight of ") {
			weights = append(weights, number(t, line, ": "))
		}
	}
	require.Len(t, weights, 8)
	for i := 0; i < 8; i += 4 {
		sum := weights[i] + weights[i+1] + weights[i+2] + weights[i+3]
		require.InDelta(t, 4, sum, 0.01, "a prompt's mean is 1")
	}
}

// Guidance makes pictures follow their prompts, which an interval tells from chance.
func testCompare(t *testing.T) {
	out := run(t, "compare", 60)
	require.Positive(t, number(t, out, "difference +"))
	require.Contains(t, out, " of 32 pairs")
	require.Contains(t, out, "[+0.")
}

// continued runs a program to its middle, and once more in two processes of which the first stops
// early; both must come to the same bits. Then the first goes on to the end. It returns what the
// steps were.
func continued(t *testing.T, name, early, middle, end string) (folder string, steps []stepLine) {
	t.Helper()
	once, twice := t.TempDir(), t.TempDir()
	run := func(arguments ...string) {
		out, err := exec.CommandContext(t.Context(), built(name), arguments...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	run(once, middle)
	run(twice, early)
	run(twice, middle)
	read := func(folder string) (network []byte, steps []stepLine) {
		file := filepath.Join(folder, "unet", "diffusion_pytorch_model.safetensors")
		network, err := os.ReadFile(file)
		require.NoError(t, err)
		text, err := os.ReadFile(filepath.Join(folder, "metrics.jsonl"))
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			s := stepLine{Loss: math.NaN()}
			require.NoError(t, json.Unmarshal([]byte(line), &s))
			steps = append(steps, s)
		}
		return network, steps
	}
	network, steps := read(once)
	again, theirs := read(twice)
	require.Equal(t, steps, theirs)
	require.True(t, bytes.Equal(network, again), "the network differs")
	require.Equal(t, middle, fmt.Sprint(len(steps)))
	run(once, end)
	_, steps = read(once)
	require.Equal(t, end, fmt.Sprint(len(steps)))
	return once, steps
}

type stepLine struct {
	Loss    float64
	Metrics map[string]float64
}

// Tuned by what its judge prefers, the network tells good from bad better than its reference does,
// which is a loss of ln 2.
func testPrefer(t *testing.T) {
	source := program(t, "prefer")
	require.LessOrEqual(t, lines(source), 80)
	folder, steps := continued(t, "prefer", "2", "4", "24")
	require.InDelta(t, math.Ln2, steps[0].Loss, 1e-6, "nothing is tuned yet")
	var last float64
	for _, s := range steps[16:] {
		last += s.Loss / 8
	}
	require.True(t, last < 0.8*math.Ln2, "the loss is %v", last)

	// The other way round the loss would fall as well, and the judge like the pictures less.
	base, err := pipeline.LoadFS(tiny.FS())
	require.NoError(t, err)
	tuned, err := unet.Load(filepath.Join(folder, "unet"))
	require.NoError(t, err)
	prompts, err := shapes.Grammar().Draw("preferences", 1, 8)
	require.NoError(t, err)
	liked := func(p *pipeline.Pipeline) (sum float64) {
		request := pipeline.Request{Prompts: prompts, PerPrompt: 4, Steps: 8, Guidance: 2, Seed: 1}
		scored := reward.Scored(p.Generate(request), shapes.Rater{}, 16)
		samples, err := dataset.Collect(t.Context(), scored)
		require.NoError(t, err)
		for _, s := range samples {
			sum += *s.Reward
		}
		return sum
	}
	require.Greater(t, liked(base.With("tuned", tuned)), liked(base))
}

// The reward rises. What is counted is the trainer: what it imports and tunes is beside it.
func testPolicy(t *testing.T) {
	source := program(t, "policy")
	_, trainer, ok := strings.Cut(source, "\n)\n")
	require.True(t, ok)
	trainer, _, ok = strings.Cut(trainer, "// redness is the reward")
	require.True(t, ok)
	require.LessOrEqual(t, lines(trainer), 80)
	_, steps := continued(t, "policy", "1", "2", "8")
	mean := func(steps []stepLine) (sum float64) {
		for _, s := range steps {
			sum += s.Metrics["reward"] / float64(len(steps))
		}
		return sum
	}
	first, last := mean(steps[:2]), mean(steps[5:])
	require.True(t, last > first+0.1, "the reward was %v first and %v last", first, last)
}

// readmeProgram returns README's program, and what README says that it prints.
func readmeProgram(t *testing.T) (source, says string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "## In 30 lines\n")
	_, rest, ok := strings.Cut(string(text), "```go\n")
	require.True(t, ok)
	source, rest, ok = strings.Cut(rest, "```\n")
	require.True(t, ok)
	_, rest, _ = strings.Cut(rest, "```text\n")
	says, _, ok = strings.Cut(rest, "```\n")
	require.True(t, ok)
	return source, says
}

// README's program prints what README says, digits aside: they depend on the processor's rounding.
// The model that it saves can be loaded.
func testReadme(t *testing.T, source, says string) {
	require.Equal(t, 30, lines(source))
	run := exec.CommandContext(t.Context(), built("readme"))
	run.Dir = t.TempDir()
	out, err := run.CombinedOutput()
	require.NoError(t, err, string(out))
	digits := regexp.MustCompile(`0\.\d+`)
	require.Equal(t, digits.ReplaceAllString(says, "x"), digits.ReplaceAllString(string(out), "x"))

	base, err := pipeline.LoadFS(tiny.FS())
	require.NoError(t, err)
	tuned, err := pipeline.Load(filepath.Join(run.Dir, "tuned"))
	require.NoError(t, err)
	require.NotEqual(t, nn.Hash(base.UNet), nn.Hash(tuned.UNet), "the UNet is tuned")
	require.Equal(t, nn.Hash(base.Text), nn.Hash(tuned.Text))
	require.Equal(t, nn.Hash(base.VAE), nn.Hash(tuned.VAE))
}
