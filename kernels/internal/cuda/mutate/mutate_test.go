//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda/src"
)

func TestMutants(t *testing.T) {
	const text = `// if (a) return;
#include "tile.cuh"
#if defined(__CUDACC__)
TILE void f() { sync_block(); }
#else
TILE void f() { sync_warp(); }
#endif
constexpr int kRows = kDepth < 64 ? 2 : 1;
KERNEL(k, Params, 128, 2) {
  for (int i = threadIdx.x; i < p.n; i += 128) {
    if (i % 2 == 0 && p.skip(i)) continue;
    copy16(to + place<A, p.b>(i), x->from, i < p.valid);
  }
  copy_commit();
  copy_wait<kStages - 2>();
  sync_block();  // it is there
  UNROLL
  for (int r = 0; r < 4; r++) {
    load4t(f, shared);
    mma(d[r], a, f[0],
        f[1]);
  }
  if (p.out) put(p.out, p.bias ? x : y);
  copy_commit();
  copy_commit();
}
`
	want := []string{
		"6: without `sync_warp();`: TILE void f() { ; }",
		"10: `i < p.n` is `i <= p.n`: for (int i = threadIdx.x; i <= p.n; i += 128) {",
		"11: without `if (i % 2 == 0 && p.skip(i)) continue;`: ;",
		"11: `% 2 == 0 && p.skip(i` is `% 2 == 0 || p.skip(i`: " +
			"if (i % 2 == 0 || p.skip(i)) continue;",
		"12: copies also if not `i < p.valid`: " +
			"copy16(to + place<A, p.b>(i), x->from, true);",
		"12: `from, i < p.valid` is `from, i <= p.valid`: " +
			"copy16(to + place<A, p.b>(i), x->from, i <= p.valid);",
		"12: `copy16(to + place<A` is `copy16(to - place<A`: " +
			"copy16(to - place<A, p.b>(i), x->from, i < p.valid);",
		"14: without `copy_commit();`: ;",
		"15: without `copy_wait<kStages - 2>();`: ;",
		"15: `copy_wait<kStages - 2>()` is `copy_wait<(kStages - 2) + 1>()`: " +
			"copy_wait<(kStages - 2) + 1>();",
		"16: without `sync_block();`: ;  // it is there",
		"19: `load4t(f, shared` is `load4(f, shared`: load4(f, shared);",
		"20: `f[0]` and `f[1]` are swapped: mma(d[r], a, f[1], f[0]);",
		"23: `if (p.out)` is always: if (true) put(p.out, p.bias ? x : y);",
		"23: `put(p.out, p.bias ? x : y)` is `put(p.out, true ? x : y)`: " +
			"if (p.out) put(p.out, true ? x : y);",
		"24: without `copy_commit();` (number 2): ;",
		"25: without `copy_commit();` (number 3): ;",
	}
	var got []string
	for _, m := range mutants(text) {
		line := strings.TrimSpace(strings.Split(m.Text, "\n")[m.Number-1])
		got = append(got, fmt.Sprintf("%d: %s: %s", m.Number, m.Mutation, line))
		if was := strings.TrimSpace(strings.Split(text, "\n")[m.Number-1]); m.Line != was {
			t.Errorf("line %d is %q, not %q", m.Number, m.Line, was)
		}
	}
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("mutant %d is\n%s\nnot\n%s", i, g, w)
		}
	}
}

func TestClassify(t *testing.T) {
	for out, want := range map[string]string{
		"cudatest: /usr/bin/g++ -c x: exit status 1\nx.cu:3: error: no f":  invalid,
		"x.cu:26:45: runtime error: reference binding to null pointer":     "address",
		"==1==ERROR: AddressSanitizer: use-after-poison":                   "address",
		"WARNING: ThreadSanitizer: data race (pid=1)":                      "race",
		"emulation: nobody can go on:\nemulation: deadlock (kernel f)":     "emulation",
		"emulation: cp.async: 0x1 is not in shared memory":                 "emulation",
		"check.go:61: operand 0, value 3: 1 in order 1 of the plain build": "order",
		"check.go:80: the emulated device: EOF":                            "crash",
		"x_test.go:56: value 1 is NaN, not 1.288719":                       "values",
		"panic: index out of range":                                        "values",
	} {
		if got := classify(out); got != want {
			t.Errorf("%q is seen by %s, not %s", out, got, want)
		}
	}
}

func TestSurvivors(t *testing.T) {
	a := Mutant{Mutation: "without `sync_warp();`", Line: "sync_warp();  // a: b"}
	b := Mutant{Mutation: "`i < n` is `i <= n` (number 2)", Line: "if (i < n)"}
	text := "# A comment.\n\n" + entry("x.cu", a, "It is\n\tthe same.") + "\n" +
		entry("y.cu", b, "Nobody reads it.")
	got, err := parseSurvivors(text)
	if err != nil {
		t.Fatal(err)
	}
	if r := got["x.cu"][a.Key()]; r != "It is the same." {
		t.Errorf("the reason is %q", r)
	}
	if r := got["y.cu"][b.Key()]; r != "Nobody reads it." {
		t.Errorf("the reason is %q", r)
	}
	for _, wrong := range []string{
		"no file\n",
		"x.cu: mutation\n\tline\n",
		"x.cu: mutation\n\tline\n\treason\nx.cu: mutation\n\tline\n\treason\n",
	} {
		if _, err := parseSurvivors(wrong); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
}

// What the list says survives is a mutant of the sources as they are.
func TestListedMutantsExist(t *testing.T) {
	listed, err := readSurvivors("survivors.txt")
	if err != nil {
		t.Fatal(err)
	}
	for file, keys := range listed {
		text, err := os.ReadFile(filepath.Join("..", "src", file))
		if err != nil {
			t.Error(err)
			continue
		}
		all := mutants(string(text))
		for key := range keys {
			if !slices.ContainsFunc(all, func(m Mutant) bool { return m.Key() == key }) {
				t.Errorf("survivors.txt lists what is no mutant of %s: %s", file, key)
			}
		}
	}
}

// Every file of kernels is of a family that has tests.
func TestFamilies(t *testing.T) {
	const sources = "../src"
	var tests []string
	files, err := filepath.Glob("../*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllSubmatch(text, -1) {
			tests = append(tests, string(m[1]))
		}
	}
	covered := map[string]bool{"tile.cuh": true}
	for _, name := range src.Families() {
		f := find(name)
		if !slices.ContainsFunc(tests, regexp.MustCompile(f.run).MatchString) {
			t.Errorf("family %s has no tests %s: say which in the table of families", name, f.run)
		}
		for _, file := range f.files {
			covered[file] = true
			if _, err := os.Stat(filepath.Join(sources, file)); err != nil {
				t.Error(err)
			}
		}
	}
	for name := range families {
		if !slices.Contains(src.Families(), name) {
			t.Errorf("the table of families has %s, which is none", name)
		}
	}
	headers, err := filepath.Glob(filepath.Join(sources, "*.cuh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		if !covered[filepath.Base(h)] {
			t.Errorf("%s is of no family: name it in the table of families", filepath.Base(h))
		}
	}
}
