package examples_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/weights"
)

// The commands of README.md, from prompts to an evaluation, are run as they stand there, with small
// numbers added, on the miniature and on a folder of diffusers'. Each program reads what those
// before it wrote. With the build tag nvidia they compute on a GPU.
func TestREADMEsCommands(t *testing.T) {
	programs := t.TempDir()
	to := programs + string(filepath.Separator)
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", buildTags, "-o", to,
		"./generate", "./label", "./reward", "./finetune", "./evaluate", "./study")
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)

	t.Run("miniature", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.CopyFS(filepath.Join(dir, "MODEL"), tiny.FS()))
		prompts := []string{"two green circles", "one red star", "three hearts on the beach"}
		chain(t, programs, dir, prompts, []string{"a blue square", "two stars"}, judged)
	})
	t.Run("sd1", func(t *testing.T) {
		dir := t.TempDir()
		model := os.DirFS("../testdata/golden/sd1")
		require.NoError(t, os.CopyFS(filepath.Join(dir, "MODEL"), model))
		prompts := []string{"a dog", "two green dogs", "a cat in the city"}
		chain(t, programs, dir, prompts, []string{"a red car", "three cats"}, byBrightness)
	})
}

// small are flags that make programs quick.
var small = map[string]string{
	"generate": "-n 4 -steps 2 -guidance 2 -batch 8",
	"reward":   "-hidden 16",
	"finetune": "-steps 2 -batch 2 -lr 1e-3",
	"evaluate": "-steps 2 -guidance 2 -batch 8 -n 2",
	"label":    "-addr 127.0.0.1:0",
	"study":    "-addr 127.0.0.1:0 -raters 1",
}

// pages are programs that serve pages, and what people do there.
var pages = map[string]func(t *testing.T, base string, labels map[string]dataset.Label){
	"label": labelled, "study": studied,
}

// chain runs README.md's commands in a folder that holds MODEL.
func chain(
	t *testing.T, programs, dir string, prompts, unseen []string,
	label func(*testing.T, []dataset.Sample),
) {
	require.NoError(t, os.Rename(filepath.Join(dir, "MODEL", "clip"), filepath.Join(dir, "CLIP")))
	for name, lines := range map[string][]string{"PROMPTS": prompts, "UNSEEN": unseen} {
		text := strings.Join(lines, "\n")
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	captioned(t, filepath.Join(dir, "PAIRS"))
	before := unet(t, filepath.Join(dir, "MODEL"))

	file := filepath.Join(dir, "runs", "pictures", "samples.jsonl")
	labels := map[string]dataset.Label{}
	ran := map[string]bool{}
	for _, line := range commands(t) {
		program, args, _ := strings.Cut(strings.TrimPrefix(line, "go run ./examples/"), " ")
		if program == "label" {
			samples := samplesOf(t, file)
			require.Len(t, samples, 4*len(prompts))
			label(t, samples)
			for _, s := range samples {
				labels[s.ID] = s.Label
			}
		}
		ran[program] = true
		c := exec.CommandContext(t.Context(), filepath.Join(programs, program),
			strings.Fields(args+" "+small[program])...)
		if program != "study" {
			c.Args = append(c.Args, strings.Fields(machineFlags)...)
		}
		c.Dir = dir
		if people := pages[program]; people != nil && !strings.Contains(line, "-report") {
			commandtest.Serve(t, c, func(base string) { people(t, base, labels) })
			continue
		}
		said, err := c.CombinedOutput()
		require.NoError(t, err, "%s: %s", line, said)
	}
	require.Len(t, ran, 6)

	var learned struct{ Train, Test struct{ Good, Bad int } }
	decode(t, filepath.Join(dir, "runs", "reward", "report.json"), &learned)
	count := map[dataset.Label]int{}
	for _, l := range labels {
		count[l]++
	}
	require.Equal(t, count[dataset.Good], learned.Train.Good+learned.Test.Good)
	require.Equal(t, count[dataset.Bad], learned.Train.Bad+learned.Test.Bad)

	var tuning struct {
		SHA256 struct{ Samples, UNet string }
	}
	decode(t, filepath.Join(dir, "runs", "tuning", "config.json"), &tuning)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(read(t, file))), tuning.SHA256.Samples)
	require.Equal(t, before, tuning.SHA256.UNet)
	require.Equal(t, before, unet(t, filepath.Join(dir, "MODEL")), "the base was changed")
	after := unet(t, filepath.Join(dir, "runs", "tuning", "tuned"))
	require.NotEqual(t, before, after)

	var evaluated struct {
		Prompts     int
		Arms        []struct{ Name, UNet string }
		Differences []struct {
			Arm, From string
			Reward    *struct{ Mean, Low, High float64 }
		}
	}
	evaluation := filepath.Join(dir, "runs", "evaluation")
	decode(t, filepath.Join(evaluation, "report.json"), &evaluated)
	require.Equal(t, len(unseen), evaluated.Prompts)
	require.Len(t, evaluated.Arms, 3)
	require.Equal(t, before, evaluated.Arms[0].UNet)
	require.Equal(t, after, evaluated.Arms[1].UNet)
	require.Equal(t, "best_of_2", evaluated.Arms[2].Name)
	require.Equal(t, "tuned", evaluated.Differences[0].Arm)
	require.NotZero(t, evaluated.Differences[0].Reward.Mean)
	for _, arm := range evaluated.Arms {
		samples := samplesOf(t, filepath.Join(evaluation, arm.Name, "samples.jsonl"))
		require.Len(t, samples, 2*len(unseen))
	}
	require.FileExists(t, filepath.Join(evaluation, "report.html"))

	var compared struct{ Pairs int }
	decode(t, filepath.Join(dir, "runs", "study", "report.json"), &compared)
	require.Equal(t, len(unseen), compared.Pairs)
	require.FileExists(t, filepath.Join(dir, "runs", "study", "report.html"))
}

// labelled says of every picture what labels has, as a rater's page would.
func labelled(t *testing.T, base string, labels map[string]dataset.Label) {
	rater := enter(t, base)
	type answer struct {
		ID, Picture, Label string
	}
	for said := 0; said < len(labels); {
		var got struct{ Next []struct{ ID string } }
		rater.ask(t, "GET", "/next?n=5", nil, &got)
		require.NotEmpty(t, got.Next)
		var answers []answer
		for _, p := range got.Next {
			require.Contains(t, labels, p.ID)
			answers = append(answers, answer{"answer to " + p.ID, p.ID, labels[p.ID].String()})
		}
		var kept struct{ Done []string }
		rater.ask(t, "POST", "/answers", map[string]any{"answers": answers}, &kept)
		require.Len(t, kept.Done, len(answers))
		said += len(answers)
	}
}

// studied prefers the left side of whatever is asked.
func studied(t *testing.T, base string, _ map[string]dataset.Label) {
	rater := enter(t, base)
	type answer struct {
		ID, Pair, Question, Choice string
	}
	for {
		var got struct {
			Next []struct{ Pair, Question string }
		}
		rater.ask(t, "GET", "/next?alignment=5&fidelity=5", nil, &got)
		if len(got.Next) == 0 {
			return
		}
		var answers []answer
		for _, q := range got.Next {
			answers = append(answers, answer{q.Question + q.Pair, q.Pair, q.Question, "left"})
		}
		var kept struct{ Done []string }
		rater.ask(t, "POST", "/votes", map[string]any{"answers": answers}, &kept)
		require.Len(t, kept.Done, len(answers))
	}
}

// A visitor has entered pages under a name.
type visitor struct {
	base   string
	client http.Client
}

func enter(t *testing.T, base string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	v := &visitor{base: base, client: http.Client{Jar: jar}}
	v.ask(t, "POST", "/enter", map[string]string{"name": "Anna"}, nil)
	return v
}

// ask sends JSON, unless it is nil, and reads the answer into to, unless that is.
func (v *visitor) ask(t *testing.T, method, path string, sent, to any) {
	t.Helper()
	var body bytes.Buffer
	if sent != nil {
		require.NoError(t, json.NewEncoder(&body).Encode(sent))
	}
	r, err := http.NewRequestWithContext(t.Context(), method, v.base+path, &body)
	require.NoError(t, err)
	w, err := v.client.Do(r)
	require.NoError(t, err)
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, w.StatusCode, "%s", text)
	if to != nil {
		require.NoError(t, json.Unmarshal(text, to))
	}
}

// commands are the lines of README.md's only block in sh. A line that ends in \ goes on in the
// next.
func commands(t *testing.T) []string {
	_, after, ok := strings.Cut(string(read(t, "README.md")), "```sh\n")
	require.True(t, ok)
	block, rest, ok := strings.Cut(after, "```")
	require.True(t, ok)
	require.NotContains(t, rest, "```sh")
	block = strings.ReplaceAll(block, "\\\n", " ")
	return strings.Split(strings.TrimSpace(block), "\n")
}

// captioned makes a folder of pictures with their captions beside them.
func captioned(t *testing.T, dir string) {
	require.NoError(t, os.Mkdir(dir, 0o755))
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(5, 8))
	require.NoError(t, err)
	for i, s := range samples {
		name := filepath.Join(dir, fmt.Sprint(i))
		f, err := os.Create(name + ".png")
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, s.Image))
		require.NoError(t, f.Close())
		require.NoError(t, os.WriteFile(name+".txt", []byte(s.Prompt), 0o644))
	}
}

// judged labels as the judge of shapes does; one picture of each label is given, since after two
// steps hardly any is good.
func judged(t *testing.T, samples []dataset.Sample) {
	for i, s := range samples {
		var err error
		samples[i].Label, err = shapes.Rater{}.Label(s)
		require.NoError(t, err)
	}
	samples[0].Label, samples[1].Label = dataset.Good, dataset.Bad
}

// byBrightness labels the brighter half of the pictures good: those of weights that nobody trained
// show nothing.
func byBrightness(t *testing.T, samples []dataset.Sample) {
	sums := make([]int, len(samples))
	for i, s := range samples {
		for _, v := range picture.FromImage(s.Image).Pix {
			sums[i] += int(v)
		}
	}
	middle := slices.Sorted(slices.Values(sums))[len(sums)/2]
	for i, sum := range sums {
		samples[i].Label = dataset.Bad
		if sum >= middle {
			samples[i].Label = dataset.Good
		}
	}
}

func samplesOf(t *testing.T, file string) []dataset.Sample {
	t.Helper()
	samples, err := dataset.Collect(t.Context(), dataset.File{Path: file, Images: true})
	require.NoError(t, err)
	return samples
}

// unet is the hash of a pipeline folder's.
func unet(t *testing.T, dir string) string {
	t.Helper()
	p, err := pipeline.Load(dir)
	require.NoError(t, err)
	return weights.Hash(p.UNet)
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return text
}

func decode(t *testing.T, file string, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(read(t, file), v))
}
