package lint

import "strings"

const (
	// below are the kernels and what lies below them, kerneltest excepted.
	below = "kernels kernels/nn kernels/optim"
	// inner are the internal packages that are not for tests alone.
	inner = "internal/file internal/hub internal/picture internal/rng internal/split " +
		"internal/text internal/weights"
	// private are the packages that nobody outside the module can import.
	private = "internal/... kernels/internal/... diffusion/internal/... reward/internal/..."
	// anything is every package of the module.
	anything = "*"
)

// house says of each package which packages of the module it may import. Paths are relative to the
// module's root. A path that ends in /... stands for all the packages under it.
var house = Policy{
	Imports: map[string]string{
		".":                "",
		"internal/rng":     "",
		"internal/file":    "",
		"internal/hub":     "",
		"internal/split":   "",
		"internal/picture": "internal/file",
		"internal/text":    "internal/file",
		"internal/lint":    "",

		"internal/file/filetest": "internal/file",
		"internal/memory":        "",

		"kernels": "kernels/internal/cpu kernels/internal/cuda internal/rng",
		"kernels/cuda": "kernels kernels/internal/cuda kernels/internal/cuda/images " +
			"kernels/internal/cuda/primitive",
		"kernels/cuda/cudatest":     "kernels kernels/internal/cudatest",
		"kernels/cuda/internal/...": "kernels/internal/cuda/src",
		"kernels/internal/cpu":      "",
		"kernels/internal/cuda":     "",
		"kernels/internal/cuda/src": "",
		"kernels/internal/cudatest": "kernels kernels/internal/cuda kernels/internal/cuda/src",
		"kernels/optim":             "kernels kernels/internal/cpu kernels/internal/cuda",
		"kernels/kerneltest":        "kernels kernels/internal/cudatest internal/rng",
		"internal/weights":          "kernels internal/file internal/text",
		"kernels/nn":                "kernels internal/weights internal/rng",
		"internal/golden":           "internal/weights kernels/nn",

		"kernels/internal/cuda/images":          "",
		"kernels/internal/cuda/images/generate": "kernels/internal/cuda/src",
		"kernels/internal/cuda/mutate":          "",
		"kernels/internal/cuda/primitive":       "kernels/internal/cuda",

		"dataset": "internal/rng internal/picture internal/file internal/split " +
			"internal/text",
		"dataset/feedback": "dataset internal/file internal/picture internal/text",
		"dataset/shapes":   "dataset internal/rng internal/picture",

		"clip":           "kernels kernels/nn clip/tokenizer " + inner,
		"clip/tokenizer": "internal/file internal/text",

		"diffusion":               "dataset kernels kernels/nn " + inner,
		"diffusion/unet":          "diffusion kernels kernels/nn " + inner,
		"diffusion/vae":           "kernels kernels/nn " + inner,
		"diffusion/diffusiontest": "diffusion",
		// Names of files, which adapters have too.
		"diffusion/internal/original": "diffusion/unet",
		"diffusion/lora": "diffusion diffusion/internal/original diffusion/unet clip " +
			below + " " + inner,
		"diffusion/pipeline": "diffusion diffusion/internal/original diffusion/unet " +
			"diffusion/vae clip clip/tokenizer dataset " + below + " " + inner,

		"reward/measure": "",
		// What the pages for raters share.
		"reward/internal/page": "dataset/feedback",
		"reward/label": "reward/internal/page dataset dataset/feedback " +
			"reward/measure reward/alignment",
		"reward/study": "reward/internal/page dataset dataset/feedback reward/measure " +
			"finetune/report internal/picture",
		// It stands in for people in tests, and knows of a study what its pages send.
		"reward/study/studytest": "dataset dataset/shapes",
		"reward":                 "dataset reward/measure internal/file internal/picture",
		"reward/alignment": "finetune finetune/report reward reward/measure dataset clip " +
			below + " " + inner,

		"reward/evaluate": "reward reward/measure finetune/report dataset diffusion/pipeline " +
			"internal/file",

		"finetune/report": "internal/file internal/hub internal/picture",

		// The trainer is handed latents and conditions: it knows no encoder and no pipeline.
		"finetune": "finetune/report dataset reward reward/measure diffusion " +
			below + " " + inner,

		// It has the flags of programs that tune a UNet, or pairs of it, and judges what they make.
		"finetune/command": "finetune finetune/report dataset diffusion diffusion/lora " +
			"diffusion/pipeline diffusion/unet clip reward reward/alignment reward/evaluate " +
			"kernels kernels/cuda kernels/nn kernels/optim internal/file internal/memory",

		// Nothing else imports examples.
		"examples/...": anything,
	},
	// Tests may import these as well.
	Tests: "internal/file/filetest internal/golden kernels/kerneltest " +
		"kernels/internal/cudatest kernels/cuda/cudatest diffusion/diffusiontest " +
		"reward/study/studytest examples/tiny",
	// Single imports beside those of the lines above, each with the reason.
	Exceptions: []Exception{
		{
			From: "kernels/nn",
			To:   "kernels/internal/cpu",
			For:  "merging a low-rank pair is a product",
		},
		{
			From: "kernels/internal/cuda",
			To:   "kernels/internal/cpu",
			Test: true,
			For:  "the processor's kernels define what a GPU's compute",
		},
		{
			From: "kernels/internal/cuda",
			To:   "kernels/internal/cuda/primitive",
			Test: true,
			For:  "the emulation is held to what primitives gave",
		},
		{From: "reward", To: "internal/rng", For: "Shuffled draws a permutation"},
		{From: "diffusion/unet", To: "dataset", Test: true, For: "conditions are made in tensors"},
		{
			From: "kernels/internal/cuda/mutate",
			To:   "kernels/internal/cuda/src",
			Test: true,
			For:  "its table has all families of kernels",
		},
		{
			From: "kernels/internal/cuda/images",
			To:   "kernels/internal/cuda/src",
			Test: true,
			For:  "images are held to the sources that they are made of",
		},
		{
			From: "kernels",
			To:   "kernels/optim",
			Test: true,
			For:  "the machine's tests run whole training steps",
		},
		{From: "kernels/nn", To: "kernels/optim", Test: true, For: "its example trains a model"},
		{
			From: "diffusion/unet",
			To:   "kernels/optim",
			Test: true,
			For:  "its example trains a network",
		},
		{
			From: "diffusion/vae",
			To:   "kernels/optim",
			Test: true,
			For:  "its example trains a network",
		},
		{
			From: "diffusion",
			To:   "diffusion/unet",
			Test: true,
			For:  "samplers are held to diffusers' paths on a network of its own",
		},
		{
			From: "diffusion/lora",
			To:   "diffusion/pipeline",
			Test: true,
			For:  "adapters are held to diffusers' on whole pipelines",
		},
		{
			From: "reward/evaluate",
			To:   "kernels/nn",
			Test: true,
			For:  "models that are compared differ in their weights",
		},
		{
			From: "reward/study",
			To:   "dataset/shapes",
			Test: true,
			For:  "a stand-in for raters knows that world's prompts",
		},
		{
			From: "finetune",
			To:   "diffusion/lora",
			Test: true,
			For:  "training of adapters is held to peft's",
		},
		{
			From: "finetune",
			To:   "clip",
			Test: true,
			For:  "an adapter's file has parts for the text encoder",
		},
		{
			From: "finetune",
			To:   "diffusion/unet",
			Test: true,
			For:  "training is held to PyTorch's losses on diffusers' network",
		},
	},
}

// forbidden are imports that only a few packages may have.
var forbidden = []Ban{
	{
		Import: "C",
		In:     "kernels/cuda",
		Tests:  true,
		Why:    "everything else builds without a C compiler",
	},
	{
		Import: "gorgonia.org/cu/...",
		In:     "kernels/cuda",
		Tests:  true,
		Why:    "it ends a process that finds no CUDA driver",
	},
	{
		Import: "math/rand",
		Tests:  true,
		Why: "draws are named by seed, stream, step and sample: " +
			"internal/rng, or math/rand/v2 with a source",
	},
	{
		Import: "gonum.org/v1/gonum/blas/...",
		Tests:  true,
		Why:    "products are kernels/internal/cpu's",
	},
	{
		Import: "unsafe",
		In:     "kernels kernels/internal/cpu kernels/cuda internal/weights internal/memory",
		Why:    "memory is reinterpreted there, or Windows asked for it, and nowhere else",
	},
	{
		Import: "modernc.org/sqlite/...",
		In:     "dataset/feedback",
		Tests:  true,
		Why:    "it is large: programs without a store of labels do without",
	},
	{
		Import: "testing/...",
		In:     testSupport,
		Why:    "programs would get the flags of go test",
	},
	{
		Import: "github.com/stretchr/testify/...",
		In:     testSupport,
		Why:    "it is for tests",
	},
	{
		Import: "pgregory.net/rapid",
		In:     testSupport,
		Why:    "it is for tests",
	},
	{
		Import: "flag",
		In: "examples/... finetune/report finetune/command diffusion/pipeline " +
			"kernels/internal/cuda/images/generate kernels/internal/cuda/mutate " + testSupport,
		Why: "a library has no command line",
	},
	{
		Import: "github.com/alecthomas/kong",
		In:     "examples/...",
		Why:    "a library has no command line",
	},
}

// width is what fits into a window beside another. The programs of customtrainer are held to few
// lines instead.
var width = Width{Most: 100, Except: "examples/customtrainer/..."}

// testSupport are packages that exist for tests.
const testSupport = "kernels/kerneltest kernels/internal/cudatest kernels/cuda/cudatest " +
	"diffusion/diffusiontest reward/study/studytest internal/golden " +
	"internal/file/filetest examples/internal/command/commandtest"

// covers reports whether a list of paths, separated by spaces, holds a path. One that ends in /...
// holds itself and all that is under it.
func covers(list, path string) bool {
	for e := range strings.FieldsSeq(list) {
		prefix, tree := strings.CutSuffix(e, "/...")
		if e == anything || prefix == path || tree && strings.HasPrefix(path, prefix+"/") {
			return true
		}
	}
	return false
}

// disk are the packages that change the disk in their own way: the one that others do it by, and
// tools for whoever works on kudos.
const disk = "internal/file kernels/... examples/internal/... examples/ondevice " + testSupport
