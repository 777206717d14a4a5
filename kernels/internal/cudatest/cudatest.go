// Package cudatest runs CUDA kernels on the CPU, for tests where there is no GPU.
//
// A [Device] is a process that has the kernels of package src, compiled by g++ against the
// emulation in emu.h. Three builds see different mistakes: [Plain] is fast, [Address] sees accesses
// outside of the memory that a launch names, and [Thread] sees what no barrier orders. A mistake
// ends the process, never the test binary. The test fails with what the process said.
//
// The orders in which the threads of a block go on are part of the test: see [Orders].
//
// Executables are kept in the user's cache, by the hash of what they are made of.
package cudatest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// A Build is how the emulation is compiled.
type Build string

const (
	// Plain is for values.
	Plain Build = "plain"
	// Address has g++'s address and undefined behaviour sanitizers.
	Address Build = "address"
	// Thread has g++'s thread sanitizer.
	Thread Build = "thread"
)

// Builds are all builds, or the one that the environment variable KUDOS_CUDA_BUILD names, which is
// for mutation.
var Builds = builds(os.Getenv("KUDOS_CUDA_BUILD"))

func builds(only string) []Build {
	if only != "" {
		return []Build{Build(only)}
	}
	return []Build{Plain, Address, Thread}
}

// flags are what a build adds to g++'s command line.
func (b Build) flags() []string {
	switch b {
	case Address:
		return []string{"-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"}
	case Thread:
		return []string{"-O1", "-g", "-fsanitize=thread"}
	}
	return []string{"-O2"}
}

// Orders are the orders that a kernel is to be run in. In order 0 the first thread that can go on
// does so, in 1 the last, and in the others any.
var Orders = []int{0, 1, 4, 5}

// A Device is an emulated GPU. It is for one goroutine.
type Device struct {
	// Order is the order of the next launches.
	Order int

	t      testing.TB // fails if the device does
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	in     *bufio.Writer
	out    *bufio.Reader
	stderr bytes.Buffer
	failed bool
}

// Open starts an emulated device, which ends with the test. It skips the test where the emulation
// cannot be compiled.
func Open(t testing.TB, b Build) *Device {
	t.Helper()
	exe := executable(t, b)
	d := start(t, exe)
	t.Cleanup(func() {
		d.stdin.Close()
		d.cmd.Wait()
	})
	return d
}

// start starts an emulated device, which ends with the process at the latest.
func start(t testing.TB, exe string) *Device {
	t.Helper()
	d := &Device{t: t, cmd: exec.Command(exe)}
	d.cmd.Stderr = &d.stderr
	d.cmd.Env = append(os.Environ(),
		"ASAN_OPTIONS=detect_leaks=0", "TSAN_OPTIONS=halt_on_error=1:report_signal_unsafe=0")
	in, err := d.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.stdin = in
	d.in, d.out = bufio.NewWriterSize(in, 1<<16), bufio.NewReaderSize(out, 1<<16)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// shared are devices that tests of one binary share, one after another: to start one takes longer
// than most tests.
var shared = make(map[Build]*Device)

// use hands the shared device of a build to the test. If the device fails, the next test gets a new
// one.
func use(t testing.TB, b Build) *Device {
	t.Helper()
	exe := executable(t, b)
	d := shared[b]
	if d == nil || d.failed {
		d = start(t, exe)
		shared[b] = d
	}
	d.t = t
	return d
}

// Alloc returns the address of so many bytes of memory. They hold NaNs of any type.
func (d *Device) Alloc(size int) uint64 {
	d.t.Helper()
	d.send('a', uint64(size))
	var b [8]byte
	d.receive(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// Free frees what Alloc returned.
func (d *Device) Free(address uint64) {
	d.t.Helper()
	d.send('f', address)
}

// Write copies to memory of the device.
func (d *Device) Write(address uint64, from []byte) {
	d.t.Helper()
	d.send('w', address, uint64(len(from)), from)
}

// Read copies from memory of the device. All launches are done then.
func (d *Device) Read(to []byte, address uint64) {
	d.t.Helper()
	d.send('r', address, uint64(len(to)))
	d.receive(to)
}

// Run runs launches, one after another.
func (d *Device) Run(launches []cuda.Launch) {
	d.t.Helper()
	for _, l := range launches {
		d.send('l', uint32(len(l.Kernel)), []byte(l.Kernel),
			uint32(l.Grid[0]), uint32(l.Grid[1]), uint32(l.Grid[2]), uint32(l.Threads),
			uint32(l.Shared), uint32(d.Order), uint32(len(l.Params)), l.Params,
			uint32(len(l.Touches)))
		for _, s := range l.Touches {
			written := uint32(0)
			if s.Written {
				written = 1
			}
			d.put(s.Address, uint64(s.Bytes), written)
		}
	}
}

// send begins a command.
func (d *Device) send(command byte, fields ...any) {
	d.t.Helper()
	if err := d.in.WriteByte(command); err != nil {
		d.fail(err)
	}
	d.put(fields...)
}

// put writes fields. What cannot be written shows when an answer is missing.
func (d *Device) put(fields ...any) {
	for _, f := range fields {
		switch f := f.(type) {
		case []byte:
			d.in.Write(f)
		default:
			binary.Write(d.in, binary.LittleEndian, f)
		}
	}
}

// receive reads an answer.
func (d *Device) receive(to []byte) {
	d.t.Helper()
	err := d.in.Flush()
	if err == nil {
		_, err = io.ReadFull(d.out, to)
	}
	if err != nil {
		d.fail(err)
	}
}

// fail fails the test with what the process said before it ended.
func (d *Device) fail(err error) {
	d.t.Helper()
	d.failed = true
	d.stdin.Close()
	d.cmd.Wait()
	d.t.Fatalf("the emulated device: %v\n%s", err, d.stderr.Bytes())
}

// programs are the executables by build. Each is compiled once in a test binary.
var programs sync.Map

// executable returns the emulation's executable, or skips the test.
func executable(t testing.TB, b Build) string {
	t.Helper()
	gxx, why := compiler()
	if why != "" {
		t.Skip(why)
	}
	once, _ := programs.LoadOrStore(b, sync.OnceValues(func() (string, error) {
		return compile(gxx, b)
	}))
	exe, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// compiler returns the path of g++, or says why kernels are not tested.
func compiler() (gxx, why string) {
	gxx, err := exec.LookPath("g++")
	if runtime.GOARCH != "amd64" || runtime.GOOS == "windows" || err != nil {
		return "", "CUDA kernels are not tested: they are emulated with g++ on x86-64 " +
			"(apt-get install g++)"
	}
	return gxx, ""
}
