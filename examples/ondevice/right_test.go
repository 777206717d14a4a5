package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda"
	"github.com/kudos-ml/kudos/kernels/cuda/cudatest"
)

// The test's binary is the program too, which starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "right" {
		main()
	}
	os.Exit(m.Run())
}

// some are checks of all families that an emulation makes in a moment.
const some = `^(primitives|elementwise/add/odd|activation/(gelu|geglu)|loss/mse|move/concat/4|` +
	`reduce/mean/1|table/(embedding|gather)/5|resample/upsample/5|norm/group/1x2|norm/layer/320|` +
	`linear/5x7|conv/2x9|attention/(8|40)/2 heads, 33|adamw/clipped)`

func chosen(t *testing.T, only string) []check {
	t.Helper()
	o := options{only: only}
	all, err := o.choose(checks())
	require.NoError(t, err)
	return all
}

// reported has checks made as right does, but in this process, on a device that each process opens.
func reported(t *testing.T, all []check, s supervisor, open func() kernels.Device) *report {
	t.Helper()
	r := new(report)
	s.checks = all
	s.progress = io.Discard
	s.done = r.add
	s.start = func(first int) (*process, error) {
		events, out := io.Pipe()
		ended := make(chan error, 2)
		go func() {
			err := serve(open(), all, first, out)
			out.Close()
			ended <- err
		}()
		stop := func() {
			events.Close()
			ended <- nil
		}
		return &process{events, stop, func() error { return <-ended }}, nil
	}
	if s.each == 0 {
		s.each = time.Hour
	}
	if s.until.IsZero() {
		s.until = time.Now().Add(time.Hour)
	}
	s.run()
	r.end(io.Discard)
	return r
}

// The emulation is right.
func TestRight(t *testing.T) {
	d := cudatest.Open(t)
	all := chosen(t, some)
	recorded, err := os.ReadFile("../../kernels/internal/cuda/primitive/recorded.json")
	require.NoError(t, err)
	r := reported(t, all, supervisor{}, func() kernels.Device { return d })
	for _, c := range r.Checks {
		require.True(t, c.Right, "%s: %s", c.Name, c.Wrong)
		require.NotEmpty(t, c.Kernels, c.Name)
	}
	require.True(t, r.Right)
	require.Len(t, r.Checks, len(all))
	require.Greater(t, len(r.Launched), 80)
	if r.Primitives.Seen == "emulation" { // then it is what it would be replaced with
		file := filepath.Join(t.TempDir(), "recorded.json")
		require.NoError(t, writeRecord(file, r.Primitives.Record))
		again, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, len(recorded), len(again))
	}
}

// A broken device changes the launches that it is given, and leaves some out.
type broken struct {
	kernels.Device
	change func(l *kernels.Launch) (leave bool)
}

func (b broken) Compile(launches []kernels.Launch) (kernels.Runner, error) {
	var all []kernels.Launch
	for _, l := range launches {
		if !b.change(&l) {
			all = append(all, l)
		}
	}
	return b.Device.Compile(all)
}

// What a device does in a wrong way is seen.
func TestRightSeesMistakes(t *testing.T) {
	d := cudatest.Open(t)
	swap := func(of, by string) func(l *kernels.Launch) bool {
		return func(l *kernels.Launch) bool {
			if l.Kernel == of {
				l.Kernel = by
			}
			return false
		}
	}
	for _, c := range []struct {
		name, only string
		change     func(l *kernels.Launch) bool
	}{
		{"sums", "elementwise/add/odd/float32", swap("add_f32", "mul_f32")},
		{"a gradient", "activation/gelu/float32", swap("gelu_grad_f32", "quickgelu_grad_f32")},
		{"a block", "linear/65x33 to 129/bfloat16", func(l *kernels.Launch) bool {
			l.Grid[0] = max(1, l.Grid[0]-1)
			return false
		}},
		{"a kernel", "norm/layer/320/bfloat16", func(l *kernels.Launch) bool {
			return l.Kernel == "norm_param_gradient"
		}},
		{"a load", "primitives", swap("primitive_load4t", "primitive_load4")},
		{"a product", "primitives", swap("primitive_mma", "primitive_mma_tf32")},
		{"a function", "primitives", swap("primitive_exp", "primitive_power2")},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := chosen(t, "^"+c.only+"$")
			require.Len(t, all, 1)
			r := all[0].perform(broken{d, c.change})
			require.False(t, r.Right)
			require.NotEmpty(t, r.Wrong)
			t.Log(strings.SplitN(r.Wrong, "\n", 2)[0])
		})
	}
}

// A lost device is of no use after a kernel.
type lost struct {
	kernels.Device
	after string
	dead  *bool
}

var errLost = errors.New("an illegal memory access")

func (l lost) Alloc(n int64) (kernels.DeviceMemory, error) {
	if *l.dead {
		return nil, errLost
	}
	return l.Device.Alloc(n)
}

func (l lost) Compile(launches []kernels.Launch) (kernels.Runner, error) {
	for _, of := range launches {
		*l.dead = *l.dead || of.Kernel == l.after
	}
	if *l.dead {
		return nil, errLost
	}
	return l.Device.Compile(launches)
}

// Each process that is lost costs the check that it was at.
func TestRightGoesOn(t *testing.T) {
	d := cudatest.Open(t)
	opened := 0
	all := chosen(t, "^activation/(silu|gelu|relu)/float32$")
	r := reported(t, all, supervisor{}, func() kernels.Device {
		opened++
		return lost{d, "gelu_f32", new(bool)}
	})
	require.Equal(t, 2, opened)
	require.False(t, r.Right)
	require.Len(t, r.Checks, 3)
	for _, c := range r.Checks {
		require.Equal(t, c.Name != "activation/gelu/float32", c.Right, c.Name)
	}
	require.Contains(t, r.Checks[1].Wrong, errLost.Error())
}

// A check that does not end is given up, and the next ones are made.
func TestRightGivesUp(t *testing.T) {
	forever := make(chan bool)
	defer close(forever)
	made := func(kernels.Device) outcome { return outcome{} }
	all := []check{
		{name: "first", run: made},
		{name: "endless", run: func(kernels.Device) outcome { <-forever; return outcome{} }},
		{name: "last", run: made},
	}
	open := func() kernels.Device { return dry{} }
	r := reported(t, all, supervisor{each: 100 * time.Millisecond}, open)
	require.Len(t, r.Checks, 3)
	require.Equal(t, "it did not end in 100ms", r.Checks[1].Wrong)
	require.True(t, r.Checks[2].Right)
	require.False(t, r.Right)

	// At the end of time, it and what follows are left out.
	until := time.Now().Add(100 * time.Millisecond)
	r = reported(t, all, supervisor{until: until}, open)
	require.Equal(t, []string{"endless", "last"}, r.LeftOut)
	require.True(t, r.Checks[0].Right)
	require.False(t, r.Right)
}

// Processes that end before their time are errors, and they are not started forever.
func TestRightDies(t *testing.T) {
	started := 0
	s := supervisor{
		checks: []check{{name: "1"}, {name: "2"}, {name: "3"}, {name: "4"}, {name: "5"}},
		each:   time.Hour, until: time.Now().Add(time.Hour), progress: io.Discard,
		start: func(int) (*process, error) {
			started++
			return &process{
				events: strings.NewReader("a line that is none\n"),
				stop:   func() {}, wait: func() error { return errLost },
			}, nil
		},
	}
	var r report
	s.done = r.add
	s.run()
	require.Len(t, r.Checks, 5)
	for i, c := range r.Checks {
		want := "the process ended: " + errLost.Error()
		if i >= mostIdle {
			want = "no process begins with it"
		}
		require.Equal(t, want, c.Wrong)
	}
	require.Equal(t, mostIdle, started)
}

func TestCompare(t *testing.T) {
	exact := tolerance{each: 1e-6, together: 1e-6}
	nan := float32(0)
	nan /= nan
	for _, c := range []struct {
		got, want []float32
		right     bool
	}{
		{[]float32{1, 2}, []float32{1, 2}, true},
		{[]float32{1, 2.00001}, []float32{1, 2}, false},
		{[]float32{1, nan}, []float32{1, 2}, false},
		{[]float32{1, 2}, []float32{1, nan}, false},
		{[]float32{0, 0}, []float32{0, 0}, true},
		{[]float32{1}, []float32{1, 2}, false},
	} {
		_, wrong := exact.compare(c.got, c.want)
		require.Equal(t, c.right, wrong == "", "%v %v: %s", c.got, c.want, wrong)
	}
}

// What a report says is not right makes it so.
func TestReportIsWrong(t *testing.T) {
	for name, r := range map[string]report{
		"check":     {Checks: []result{{Name: "a"}}},
		"kernel":    {Never: []unlaunched{{Kernel: "a"}}},
		"left out":  {LeftOut: []string{"a"}},
		"sanitizer": {Sanitizer: sanitized{Tools: []tool{{Name: "memcheck"}}}},
	} {
		r.end(io.Discard)
		require.False(t, r.Right, name)
	}
	r := report{
		Checks: []result{{Right: true}, {LeftOut: absent}},
		Never:  []unlaunched{{"a", "nothing needs it"}},
	}
	r.end(io.Discard)
	require.True(t, r.Right)
	file := filepath.Join(t.TempDir(), "right.json")
	require.NoError(t, r.save(file, nil))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, json.Valid(text))
}

func TestSanitizersLogs(t *testing.T) {
	const header = "========= COMPUTE-SANITIZER\n"
	for _, c := range []struct {
		log    string
		inTime bool
		ended  error
		right  bool
		errors int
	}{
		{header + "========= ERROR SUMMARY: 0 errors\n", true, nil, true, 0},
		{header + "========= ERROR SUMMARY: 3 errors\n", true, nil, false, 3},
		{
			header + "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n",
			true, nil, true, 0,
		},
		{
			header + "========= RACECHECK SUMMARY: 2 hazards displayed (1 errors, 1 warnings)\n",
			true, nil, false, 2,
		},
		{header, true, nil, false, 0},
		{header + "========= ERROR SUMMARY: 0 errors\n", true, errLost, false, 0},
		{header, false, errLost, true, 0},
		{header + "========= Invalid __global__ read of size 4 bytes\n", false, errLost, false, 1},
	} {
		var x tool
		x.judge([]byte(c.log), c.inTime, c.ended)
		require.Equal(t, c.right, x.Right, c.log)
		require.Equal(t, c.errors, x.Errors, c.log)
	}
	x := tool{}
	x.count(strings.NewReader(`noise
{"Begin":"a"}
{"Result":{"name":"a","right":true}}
{"Result":{"name":"b","wrong":"no"}}
`))
	x.judge([]byte(header+"========= ERROR SUMMARY: 0 errors\n"), true, nil)
	require.Equal(t, 2, x.Checks)
	require.Equal(t, "b: no", x.Wrong)
}

// Processes count checks in one order.
func TestNamesAreUnique(t *testing.T) {
	var names []string
	for _, c := range checks() {
		names = append(names, c.name)
	}
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(names))), len(names))
	for i, c := range checks() {
		require.Equal(t, names[i], c.name)
	}
}

func TestNever(t *testing.T) {
	all := []string{"add_f32", "gemm_tt_large_f32", "attention_48_bf16", "mul_f32"}
	r := report{Launched: []string{"add_f32"}, Device: device{Name: "Emulated GPU 0"}}
	r.never(all)
	require.Equal(t, []unlaunched{
		{"gemm_tt_large_f32", transposed}, {"attention_48_bf16", absent}, {Kernel: "mul_f32"},
	}, r.Never)
	r = report{}
	r.never(all[2:3])
	require.Equal(t, []unlaunched{{Kernel: "attention_48_bf16"}}, r.Never)
	r = report{LeftOut: []string{"mul"}}
	r.never(all[3:])
	require.Equal(t, []unlaunched{{"mul_f32", outOfTime}}, r.Never)
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		want int
	}{
		{"", 2}, {"-help", 0}, {"wrong", 2}, {"right -help", 0}, {"right -no", 2},
		{"right and", 2}, {"right -run (", 2}, {"right -run nothing", 2},
	} {
		var progress bytes.Buffer
		require.Equal(t, c.want, run(strings.Fields(c.args), io.Discard, &progress), c.args)
		require.NotEmpty(t, progress.String())
		if !strings.HasPrefix(c.args, "right") {
			require.Contains(t, progress.String(), cuda.NotRun())
		}
	}
	require.True(t, regexp.MustCompile(some).MatchString("primitives"))
}
