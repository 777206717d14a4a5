//go:build unix

// Command mutate shows that the tests of a family of CUDA kernels see mistakes. It makes mistakes
// in the sources, one at a time: it drops each barrier, wait and guard, is off by one in each
// comparison, transposes or swaps each fragment, subtracts where an index is a sum. Each mutant is
// compiled for the emulation and given to the family's tests, in the plain build first, then with
// each sanitizer. It is told who saw it:
//
//	values     a test compared with its definition
//	order      orders of threads or blocks differ in their bits
//	address    the address or the undefined behaviour sanitizer
//	race       the thread sanitizer
//	emulation  the emulation's own checks, a deadlock among them
//	crash      a signal
//	time       it does not come to an end
//
// Mutants that no test sees are listed in survivors.txt with the reason, which is that they compute
// the same. It exits with 1 if a mutant survives that is not listed, or a listed one is seen.
//
//	go run ./kernels/internal/cuda/mutate [flags] FAMILY...
//
// A family's own headers are part of it. It needs g++ on x86-64, and a few seconds a mutant.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A family is what is mutated together, and the tests that must see it.
type family struct {
	run   string   // the tests; those whose names begin with the family's are not said
	files []string // beside the .cu file
	with  []string // families whose kernels the tests need too
}

// one are the families whose kernels do the operations of an epilogue one by one.
var one = []string{"activation", "elementwise", "move"}

var families = map[string]family{
	"activation": {run: "^Test(Activations|GEGLU)", files: []string{"activation.cuh"}},
	"adamw":      {run: "^Test(AdamW|ClipFactor|Blend|CheckFinite)"},
	"attention": {
		run:   "^TestAttention(Sizes)?$",
		files: []string{"attention.cuh"},
		with:  []string{"attention_grad"},
	},
	"attention_f32":  {run: "^TestAttentionFloat32"},
	"attention_grad": {run: "^TestAttention(Sizes)?$", with: []string{"attention"}},
	"conv_bf16":      {run: "^Test(|Epilogue)ConvBF16", with: append(one, "gemm_bf16")},
	"conv_f32":       {run: "^Test(|Epilogue)ConvFloat32", with: append(one, "gemm_f32")},
	"elementwise": {
		run:   "^Test(Elementwise|SignOfNaN|LossGradients|Fill|Conversions)",
		files: []string{"elements.cuh"},
	},
	"gemm_bf16": {
		run:   "^Test(|Epilogue)(Gemm|Conv)BF16",
		files: []string{"product_bf16.cuh", "epilogue.cuh"},
		with:  append(one, "conv_bf16"),
	},
	"gemm_f32": {
		run:   "^Test(|Epilogue)GemmFloat32",
		files: []string{"product_f32.cuh"},
		with:  one,
	},
	"loss": {
		run:  "^Test(MSEAndL1|SoftmaxCrossEntropy|WrongTargets)",
		with: []string{"reduce"},
	},
	"move":      {run: "^Test(Middle|CopyRows)"},
	"primitive": {run: "^TestPrimitives"},
	"reduce": {
		run:   "^Test(Sum|ColumnSums|L2Normalize|MSEAndL1)",
		files: []string{"reduce.cuh"},
		with:  []string{"loss"},
	},
	"resample": {run: "^Test(UpsampleNearest|AveragePool|LargeImages)"},
	"table": {
		run:   "^Test(GatherRows|Scatter|WrongIndices|TimestepEmbedding)",
		files: []string{"index.cuh"},
		with:  []string{"elementwise"},
	},
}

// find returns a family as it is known, or by its name.
func find(name string) family {
	f := families[name]
	if f.run == "" {
		f.run = "^Test" + strings.ToUpper(name[:1]) + name[1:]
	}
	f.files = append([]string{name + ".cu"}, f.files...)
	return f
}

// pkg is the package of the tests.
const pkg = "kernels/internal/cuda"

// A Runner gives sources to tests.
type Runner struct {
	ctx      context.Context
	root     string // of the module
	work     string // a folder
	cache    string // of what is compiled
	binary   string // the tests
	run      string // which of them
	builds   []string
	families []string                 // that are compiled
	limits   map[string]time.Duration // of the processor's time, by build
	used     time.Duration            // of it by the last tests and what they started
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("mutate: ")
	root := flag.String("C", ".", "root of the module")
	list := flag.Bool("list", false, "list the mutants and run nothing")
	only := flag.String("only", "", "only mutants whose line or mutation match this expression")
	run := flag.String("run", "", "the tests, an expression (default: the family's)")
	with := flag.String("with", "", "other families that the tests need, separated by commas")
	file := flag.String("file", "", "mutate this file (default: all of the family)")
	cache := flag.String("cache", "", "folder to keep in what the sources without a mistake are "+
		"compiled to, for one run at a time (default: it is not kept)")
	builds := flag.String("builds", "plain,address,thread", "builds to try, in order")
	nice := flag.Int("nice", 10, "priority that is given up")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, *nice); err != nil {
		log.Print(err)
	}
	dir, err := filepath.Abs(*root)
	if err != nil {
		log.Fatal(err)
	}
	listed, err := readSurvivors(filepath.Join(dir, pkg, "mutate", "survivors.txt"))
	if err != nil {
		log.Fatal(err)
	}
	work, err := os.MkdirTemp("", "kudos-mutate-")
	if err != nil {
		log.Fatal(err)
	}
	filter, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	// An interrupted run ends what it has started.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := &Runner{
		ctx:  ctx,
		root: dir, work: work, builds: strings.Split(*builds, ","),
		cache:  work,
		binary: filepath.Join(work, "cuda.test"), limits: make(map[string]time.Duration),
	}
	if *cache != "" {
		if r.cache, err = filepath.Abs(*cache); err != nil {
			log.Fatal(err)
		}
	}
	status := 0
	for _, name := range flag.Args() {
		f := find(name)
		if *run != "" {
			f.run = *run
		}
		if *with != "" {
			f.with = strings.Split(*with, ",")
		}
		if *file != "" {
			f.files = []string{*file}
		}
		r.run, r.families = f.run, append([]string{name}, f.with...)
		ok, err := r.family(name, f.files, filter, listed, *list)
		if err != nil {
			log.Print(err)
		}
		if !ok {
			status = 1
		}
	}
	os.RemoveAll(work)
	os.Exit(status)
}

// family tries the mutants of a family's files. It reports whether all is as it is listed.
func (r *Runner) family(
	family string, files []string, filter *regexp.Regexp, listed survivors, list bool,
) (bool, error) {
	ok := true
	counts := make(map[string]int)
	began := false
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(r.root, pkg, "src", file))
		if err != nil {
			return false, err
		}
		for _, m := range mutants(string(text)) {
			if !filter.MatchString(m.Key()) {
				continue
			}
			if list {
				fmt.Printf("%s:%d: %s\n", file, m.Number, m.Mutation)
				continue
			}
			if !began {
				if err := r.begin(family); err != nil {
					return false, err
				}
				began = true
			}
			begin := time.Now()
			seen, message, err := r.try(file, m.Text)
			if err != nil {
				return false, err
			}
			counts[seen]++
			reason, is := listed[file][m.Key()]
			fmt.Printf("%s:%d: %-9s %s (%.0f s)\n", file, m.Number, seen, m.Mutation,
				time.Since(begin).Seconds())
			switch {
			case seen == survived && is:
				fmt.Printf("\tas listed: %s\n", reason)
			case seen == survived:
				ok = false
				fmt.Printf("NOT SEEN. If it computes the same, survivors.txt needs:\n\n%s\n",
					entry(file, m, "the reason"))
			case is:
				ok = false
				fmt.Printf("SEEN, though survivors.txt lists it: %s\n", message)
			case seen != invalid:
				fmt.Printf("\t%s\n", message)
			}
		}
	}
	if !list {
		fmt.Printf("%s: %v\n", family, counts)
	}
	return ok, nil
}

// begin builds the tests and runs them on the sources as they are. They must pass.
func (r *Runner) begin(family string) error {
	cmd := exec.Command("go", "test", "-c", "-o", r.binary, "./"+pkg)
	cmd.Dir = r.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	sources := filepath.Join(r.work, "src")
	if err := os.RemoveAll(sources); err != nil {
		return err
	}
	if err := os.MkdirAll(sources, 0o755); err != nil {
		return err
	}
	var names []string
	for _, pattern := range []string{"*.h", "*.cuh"} {
		found, err := filepath.Glob(filepath.Join(r.root, pkg, "src", pattern))
		if err != nil {
			return err
		}
		names = append(names, found...)
	}
	for _, f := range append([]string{"emulate"}, r.families...) {
		names = append(names, filepath.Join(r.root, pkg, "src", f+".cu"))
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(sources, filepath.Base(name)), b, 0o644); err != nil {
			return err
		}
	}
	began := time.Now()
	for _, build := range r.builds {
		r.limits[build] = time.Hour
		seen, out, err := r.test(build)
		if err != nil {
			return err
		}
		if seen != survived {
			return fmt.Errorf("%s: the tests %s fail without a mistake, in the %s build:\n%s",
				family, r.run, build, out)
		}
		if !strings.Contains(out, "--- PASS") || strings.Contains(out, "--- SKIP") {
			return fmt.Errorf("%s: there are no tests %s, or they skip:\n%s", family, r.run, out)
		}
		r.limits[build] = 20*time.Second + 2*r.used // the least that is clearly too long
	}
	fmt.Printf("%s: the tests pass in %.0f s\n", family, time.Since(began).Seconds())
	return nil
}

const (
	survived = "survived"
	invalid  = "invalid" // it does not compile
)

// try puts a text in the place of a file and says what sees it in which words.
func (r *Runner) try(file, text string) (seen, message string, err error) {
	name := filepath.Join(r.work, "src", file)
	was, err := os.ReadFile(name)
	if err != nil {
		return "", "", err
	}
	before, err := r.cached()
	if err != nil {
		return "", "", err
	}
	defer func() {
		if e := os.WriteFile(name, was, 0o644); e != nil && err == nil {
			err = e
		}
		after, _ := r.cached() // what a mutant was compiled to is not needed again
		for _, f := range after {
			if !slices.Contains(before, f) {
				os.Remove(f)
			}
		}
	}()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return "", "", err
	}
	for _, build := range r.builds {
		seen, out, err := r.test(build)
		if err != nil {
			return "", "", err
		}
		if seen != survived {
			return seen, said(out), nil
		}
	}
	return survived, "", nil
}

// cached are the files of the cache of compiled sources.
func (r *Runner) cached() ([]string, error) {
	return filepath.Glob(filepath.Join(r.cache, "kudos", "emulation", "*"))
}

// test runs the tests in a build. It says what fails, and returns what they wrote.
func (r *Runner) test(build string) (seen, out string, err error) {
	// The limit is of the processor's time, in seconds, for each process that is started. So a
	// machine that has more to do makes nothing fail.
	limit := int(r.limits[build].Seconds()) + 1
	cmd := exec.CommandContext(r.ctx, "sh", "-c", `ulimit -t "$0"; exec "$@"`, fmt.Sprint(limit),
		r.binary, "-test.run", r.run, "-test.failfast", "-test.v", "-test.timeout", "0")
	cmd.Dir = filepath.Join(r.root, pkg)
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+r.cache, "KUDOS_CUDA_BUILD="+build,
		"KUDOS_CUDA_SOURCES="+filepath.Join(r.work, "src"))
	// What is interrupted ends with all that the tests have started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	b, err := cmd.CombinedOutput()
	if r.ctx.Err() != nil {
		return "", "", r.ctx.Err()
	}
	if cmd.ProcessState != nil {
		r.used = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if err == nil {
		return survived, string(b), nil
	}
	if _, failed := err.(*exec.ExitError); !failed {
		return "", "", fmt.Errorf("%s: %w", cmd, err)
	}
	seen = classify(string(b))
	if seen == "crash" && r.used.Seconds() >= float64(limit) {
		seen = "time"
	}
	return seen, string(b), nil
}

// signs are what the output of tests has for each of those who see a mutant, the first that it has.
var signs = []struct {
	seen string
	text *regexp.Regexp
}{
	{invalid, regexp.MustCompile(`cudatest: .*g\+\+(?s:.*)error: .*`)},
	{"address", regexp.MustCompile(`ERROR: AddressSanitizer: .*|.*runtime error: .*`)},
	{"race", regexp.MustCompile(`WARNING: ThreadSanitizer: .*`)},
	{"emulation", regexp.MustCompile(`emulation: deadlock.*`)},
	{"emulation", regexp.MustCompile(`emulation: .*`)},
	{"order", regexp.MustCompile(`operand \d+, value \d+: .* in order .*`)},
	{"crash", regexp.MustCompile(`the emulated device: .*`)},
	{"values", regexp.MustCompile(`\w+_test\.go:\d+: .*`)},
}

// classify returns who sees a mutant.
func classify(out string) string {
	for _, s := range signs {
		if s.text.MatchString(out) {
			return s.seen
		}
	}
	return "values"
}

// said returns the words in which a mutant is seen.
func said(out string) string {
	const most = 160
	for _, s := range signs {
		// What a test logged before it failed stands in front of the words.
		if all := s.text.FindAllString(out, -1); all != nil {
			m := all[0]
			if s.seen == "values" {
				m = all[len(all)-1]
			}
			if len(m) > most {
				m = m[:most] + "…"
			}
			return strings.TrimSpace(strings.ReplaceAll(m, "\n", " "))
		}
	}
	return strings.TrimSpace(out[:min(len(out), most)])
}
