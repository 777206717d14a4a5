package images

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda/src"
)

// command is what to type when a test here fails.
const command = "go generate ./kernels/internal/cuda/images"

// A product is kernels that multiply matrices, as a regular expression, with how many instructions
// of the device's code do so.
type product struct {
	kernels string
	hmma    int
	why     string
}

// products are all kernels that multiply matrices. An instruction multiplies 16×16 and 16×8 values.
// The number of them follows from the tiles: nothing is left out and nothing is computed twice.
func products() []product {
	all := []product{
		// A warp's tile, by a step of 32 along K. See gemm in product_bf16.cuh.
		{`(gemm|conv)_\w+_128x128_bf16`, 64 / 16 * 64 / 8 * 32 / 16, "a warp computes 64×64"},
		{`(gemm|conv)_\w+_128x64_bf16`, 64 / 16 * 32 / 8 * 32 / 16, "a warp computes 64×32"},
		{
			`(gemm|conv)_\w+_(64x64|elements)_bf16`, 32 / 16 * 32 / 8 * 32 / 16,
			"a warp computes 32×32",
		},
		// An instruction of tf32 multiplies 16×8 and 8×8 values.
		{`primitive_mma(_tf32)?`, 1, "it is one product"},
	}
	for d := 8; d <= 256; d += 8 {
		if d <= 160 || d%64 == 0 { // the sizes of heads that there are
			all = append(all, attention(d)...)
		}
	}
	return all
}

// attention returns the kernels for heads of size d. Their tiles are those of Forward in
// attention.cu and of GradKeys and GradQueries in attention_grad.cu. The code is there twice, for
// tiles of which all is seen and for others.
func attention(d int) []product {
	depth := (d + 15) / 16 * 16
	// choose returns the value for the first size that d is not above.
	choose := func(choices ...[2]int) int {
		for _, c := range choices {
			if d <= c[0] {
				return c[1]
			}
		}
		panic("no choice")
	}
	const any = 256
	rows := choose([2]int{128, 2}, [2]int{any, 1}) // in 16s, of a warp
	keys := choose([2]int{96, 64}, [2]int{127, 32}, [2]int{128, 16}, [2]int{any, 32})
	forward := rows * (keys/8*depth/16 + keys/16*d/8)

	// The gradients take 16 columns at a time, one or two times in the code.
	rows = choose([2]int{64, 2}, [2]int{any, 1})
	columns := choose([2]int{64, 64}, [2]int{128, 32}, [2]int{any, 16})
	times := 1
	if d <= 48 || rows == 1 && d <= 112 {
		times = 2
	}
	width := choose([2]int{160, d}, [2]int{any, d / 2})
	gradKeys := min(times, columns/16) * rows * (2*2*depth/16 + 2*width/8)

	rows = choose([2]int{96, 2}, [2]int{any, 1})
	times = 1
	if d <= 80 || rows == 1 {
		times = 2
	}
	gradQueries := min(times, columns/16) * rows * (2*2*depth/16 + d/8)
	return []product{
		{fmt.Sprintf("attention_%d_bf16", d), 2 * forward, "Q·Kᵀ and P·V"},
		{
			fmt.Sprintf("attention_grad_keys_%d_bf16", d), 2 * gradKeys,
			"K·Qᵀ, V·dOᵀ, Pᵀ·dO and dSᵀ·Q",
		},
		{
			fmt.Sprintf("attention_grad_queries_%d_bf16", d), 2 * gradQueries,
			"Q·Kᵀ, dO·Vᵀ and dS·K",
		},
	}
}

// unbuilt are names that seem to be built from parts, but are not, with the reason.
var unbuilt = map[string]string{
	"gather_f32_f32":   "the second type is there if the types differ",
	"gather_bf16_f32":  "bf16 is never widened",
	"gather_bf16_bf16": "the second type is there if the types differ",
}

// local are kernels that may have arrays in local memory, with the reason.
var local = map[string]string{}

// limit is how many bytes all images may take, compressed: every program that uses them has them.
const limit = 8 << 20

func TestSize(t *testing.T) {
	total := 0
	err := fs.WalkDir(data, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += int(info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if total > limit {
		t.Errorf("the images take %d bytes, more than %d", total, limit)
	}
}

// A kernel or a header that changed needs new images.
func TestSums(t *testing.T) {
	sum := func(b []byte, err error) string {
		if err != nil {
			t.Error(err)
		}
		h := sha256.Sum256(b)
		return hex.EncodeToString(h[:])
	}
	want := make(map[string]string)
	for _, tool := range []string{"requirements.txt", "nvrtc.py"} {
		want["generate/"+tool] = sum(os.ReadFile("generate/" + tool))
	}
	for _, family := range src.Families() {
		parts, err := src.Parts(family)
		if err != nil {
			t.Fatal(err)
		}
		hash, err := src.Sum(family)
		if err != nil {
			t.Fatal(err)
		}
		want[strings.Join(parts, " ")] = hash
		for _, kind := range []string{"compute_80.ptx", "sm_80.cubin", "sm_90a.cubin"} {
			name := family + "." + kind
			want[name] = sum(read(name))
		}
	}
	text, err := data.ReadFile("data/SUMS")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if hash, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			got[name] = hash
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: this is not what SUMS has. To make the images: %s", name, command)
		}
	}
	for name := range got {
		if want[name] == "" {
			t.Errorf("SUMS has %s, which is of no family. To make the images: %s", name, command)
		}
	}
	files, err := fs.Glob(data, "data/*.gz")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if want[strings.TrimSuffix(path.Base(f), ".gz")] == "" {
			t.Errorf("%s is of no family. To remove it: %s", f, command)
		}
	}
}

// The kernels that Go code starts are those of the images.
func TestNames(t *testing.T) {
	patterns, err := kernelNames("..")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, k := range Kernels() {
		names[k.Name] = true
	}
	started := make(map[string]bool)
	for _, p := range patterns {
		r := regexp.MustCompile("^" + p + "$")
		if r.MatchString("_") {
			t.Errorf("which kernels are named by %s is not to be seen in the source", p)
		}
		found := false
		for name := range names {
			if r.MatchString(name) {
				found, started[name] = true, true
			}
		}
		if !found && unbuilt[p] == "" {
			t.Errorf("kernels/internal/cuda starts %s, which is in no image", p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !started[name] {
			t.Errorf("nothing in kernels/internal/cuda starts kernel %s", name)
		}
	}
}

func TestResources(t *testing.T) {
	counts := make(map[string][]int)
	for _, k := range Kernels() {
		if k.Spill > 0 {
			t.Errorf("%s spills %d bytes on %s", k.Name, k.Spill, k.Architecture)
		}
		accesses := k.Stack + k.Instructions["STL"] + k.Instructions["LDL"]
		if accesses > 0 && local[k.Name] == "" {
			t.Errorf("%s has %d bytes of local memory on %s, %d writes and %d reads in its code",
				k.Name, k.Stack, k.Architecture, k.Instructions["STL"], k.Instructions["LDL"])
		}
		counts[k.Name] = append(counts[k.Name], k.Instructions["HMMA"])
	}
	for name, c := range counts {
		if len(c) != 2 {
			t.Errorf("%s is there for %d architectures, not 2", name, len(c))
		}
	}
	known := make(map[string]bool)
	for _, p := range products() {
		r := regexp.MustCompile("^(" + p.kernels + ")$")
		found := false
		for name, c := range counts {
			if !r.MatchString(name) {
				continue
			}
			found, known[name] = true, true
			if !slices.Equal(c, []int{p.hmma, p.hmma}) {
				t.Errorf("%s has %d HMMA on sm_80 and sm_90a, not %d each: %s",
					name, c, p.hmma, p.why)
			}
		}
		if !found {
			t.Errorf("there is no kernel %s", p.kernels)
		}
	}
	for name, c := range counts {
		if !known[name] && slices.Max(c) > 0 {
			t.Errorf("%s has %d HMMA, and is not among the products of this test", name, c)
		}
	}
}

// Images hold the kernels that they say they do, in the form that they say.
func TestFor(t *testing.T) {
	if _, err := For(75); err == nil {
		t.Error("there are images for compute capability 7.5")
	}
	for capability, architecture := range map[int]string{
		80: "sm_80", 86: "sm_80", 89: "sm_80", 90: "sm_90a", 100: "compute_80", 120: "compute_80",
	} {
		all, err := For(capability)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != len(src.Families()) {
			t.Errorf("%d: %d images of %d families", capability, len(all), len(src.Families()))
		}
		for _, image := range all {
			if image.Architecture != architecture {
				t.Errorf("%d: %s is for %s", capability, image.Name, image.Architecture)
			}
			var got []string
			if architecture == "compute_80" {
				got = entries(image.Bytes)
				if image.Bytes[len(image.Bytes)-1] != 0 {
					t.Errorf("%s: PTX does not end in a zero byte", image.Name)
				}
			} else {
				got = symbols(image.Bytes)
				if !strings.HasPrefix(string(image.Bytes), "\x7fELF") {
					t.Errorf("%s is no cubin", image.Name)
				}
			}
			if !slices.Equal(got, image.Kernels) {
				t.Errorf("%d: image %s has kernels %q, not %q",
					capability, image.Name, got, image.Kernels)
			}
		}
	}
}

// entries returns the kernels of PTX, sorted.
func entries(ptx []byte) (names []string) {
	for _, m := range regexp.MustCompile(`\.entry (\w+)\(`).FindAllSubmatch(ptx, -1) {
		names = append(names, string(m[1]))
	}
	slices.Sort(names)
	return names
}

// symbols returns the kernels of a cubin, sorted: what its sections of code are named after.
// Package elf does not take NVIDIA's version of the format.
func symbols(cubin []byte) (names []string) {
	for _, m := range regexp.MustCompile(`\x00\.text\.(\w+)`).FindAllSubmatch(cubin, -1) {
		names = append(names, string(m[1]))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// What is in a namespace without a name is named by the path of the file that is compiled. Then no
// other folder makes the same bits.
func TestNoPathsInNames(t *testing.T) {
	names, err := fs.Glob(src.Files, "*.cu*")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(src.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "namespace {") {
			t.Errorf("%s has a namespace without a name", name)
		}
	}
}
