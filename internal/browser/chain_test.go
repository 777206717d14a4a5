package browser

import (
	"bufio"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/examples/tiny"
)

// The commands from prompts to a study, as examples/README.md has them, on the miniature: people
// label in a browser, a reward is learned of what they say, the model is tuned, and people compare
// both models blind. What is quick is set here.
func TestChain(t *testing.T) {
	b := newTab(t, window(1280, 800))
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	programs, dir := t.TempDir(), t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", programs+"/",
		"./examples/generate", "./examples/label", "./examples/reward", "./examples/finetune",
		"./examples/evaluate", "./examples/study")
	build.Dir = root
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)

	require.NoError(t, os.CopyFS(filepath.Join(dir, "MODEL"), tiny.FS()))
	require.NoError(t, os.Rename(filepath.Join(dir, "MODEL", "clip"), filepath.Join(dir, "CLIP")))
	write(t, filepath.Join(dir, "PROMPTS"), "two green circles\none red star\na blue square\n")
	write(t, filepath.Join(dir, "UNSEEN"), "a blue heart\ntwo stars\n")
	captions(t, filepath.Join(dir, "PAIRS"))
	quick := map[string]string{
		"generate": "-n 4 -steps 8 -guidance 2 -batch 12",
		"label":    "-addr localhost:0",
		"reward":   "-hidden 16",
		"finetune": "-steps 2 -batch 2",
		"evaluate": "-steps 2 -guidance 2 -batch 8 -n 2",
		"study":    "-addr localhost:0 -raters 1",
	}
	said, err = os.ReadFile(filepath.Join(root, "examples", "README.md"))
	require.NoError(t, err)
	_, block, _ := strings.Cut(string(said), "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	block = strings.ReplaceAll(block, "\\\n", " ")
	served := 0
	for line := range strings.Lines(block) {
		name, args, _ := strings.Cut(strings.TrimPrefix(line, "go run ./examples/"), " ")
		c := exec.CommandContext(t.Context(), filepath.Join(programs, name),
			strings.Fields(args+" "+quick[name])...)
		c.Dir = dir
		switch {
		case name == "label":
			served++
			open(t, b, c, "Anna", func() { labelAll(b, filepath.Join(dir, "runs", "pictures")) })
		case name == "study" && !strings.Contains(args, "-report"):
			served++
			open(t, b, c, "Anna", func() { studyAll(b) })
		default:
			said, err := c.CombinedOutput()
			require.NoError(t, err, "%s%s", line, said)
		}
	}
	require.Equal(t, 2, served)

	store, err := feedback.Open(t.Context(), feedback.Config{
		Path: filepath.Join(dir, "runs", "study.db"),
	})
	require.NoError(t, err)
	defer store.Close()
	votes, err := store.StandingVotes(t.Context(), "study")
	require.NoError(t, err)
	assert.Len(t, votes, 2*2, "two prompts, and two questions of each")
	for _, report := range []string{"reward", "tuning", "evaluation", "study"} {
		b.run(chromedp.Navigate("file://" + filepath.Join(dir, "runs", report, "report.html")))
		b.until(`document.querySelector("h1")`)
		b.shoot("chain-" + report)
	}
}

// open starts a program that serves pages, enters them under a name, and interrupts the program
// when do has been done. The program must then end well.
func open(t *testing.T, b *tab, c *exec.Cmd, name string, do func()) {
	t.Helper()
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		_, address, found := strings.Cut(lines.Text(), "http://")
		if !found || strings.Contains(address, "#") {
			continue
		}
		b.run(chromedp.Navigate("http://" + address))
		b.until(`document.getElementById("name")`)
		b.run(chromedp.SendKeys("#name", name+"\r", chromedp.ByQuery))
		b.until(`location.pathname === "/"`)
		do()
		require.NoError(t, c.Process.Signal(os.Interrupt))
	}
	require.NoError(t, c.Wait())
}

// labelAll labels the pictures of a folder as the judge of shapes does, by keyboard.
func labelAll(b *tab, folder string) {
	b.t.Helper()
	samples, err := dataset.Collect(b.t.Context(), dataset.Folder{Path: folder, Images: true})
	require.NoError(b.t, err)
	labels := map[string]dataset.Label{}
	good := 0
	for i, s := range samples {
		labels[s.ID], err = shapes.Rater{}.Label(s)
		require.NoError(b.t, err)
		if i < 2 { // one of each there has to be
			labels[s.ID] = []dataset.Label{dataset.Good, dataset.Bad}[i]
		}
		if labels[s.ID] == dataset.Good {
			good++
		}
	}
	require.Len(b.t, labels, 12)
	b.t.Logf("%d of 12 pictures are good", good)
	before := ""
	for range labels {
		b.until(fmt.Sprintf("%s && %s !== %q", shownNow, now, before))
		if before == "" {
			b.shoot("chain-label")
		}
		before = b.text(now)
		require.Contains(b.t, labels, before)
		keyboard(b, labels[before].String())
	}
	b.until(`document.getElementById("nothing-text").textContent.startsWith("Everything")`)
	b.until(`document.getElementById("network").textContent === "All is kept."`)
}

// studyAll prefers the left.
func studyAll(b *tab) {
	b.t.Helper()
	loaded := `[...document.querySelectorAll("#stage img")].filter((i) => i.complete).length === 8`
	for i := range 4 {
		b.until(loaded + fmt.Sprintf(` && document.getElementById("progress").textContent.
			includes("%d of 4")`, i))
		if i == 0 {
			b.shoot("chain-study-page")
		}
		b.press(kb.ArrowLeft)
	}
	b.until(`document.getElementById("nothing-text").textContent.startsWith("Everything")`)
	b.until(`document.getElementById("network").textContent === "All is kept."`)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
}

// captions makes a folder of pictures with their captions beside them.
func captions(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.Mkdir(dir, 0o755))
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(5, 8))
	require.NoError(t, err)
	for i, s := range samples {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i, ".png")))
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, s.Image))
		require.NoError(t, f.Close())
		write(t, filepath.Join(dir, fmt.Sprint(i, ".txt")), s.Prompt)
	}
}
