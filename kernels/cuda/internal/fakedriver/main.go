// Command fakedriver tests package kernels/cuda where there is no GPU, on a CUDA driver whose
// devices are the emulation of package kernels/internal/cudatest.
//
//	go run ./kernels/cuda/internal/fakedriver
//
// in the module's root vets the package and runs its tests, with the headers of CUDA 12 and of CUDA
// 13. With arguments it runs a command that finds the driver, with the headers of CUDA 12:
//
//	go run ./kernels/cuda/internal/fakedriver go test -tags nvidia ./kernels/cuda
//
// It needs Linux on x86-64, g++, and, the first time, python3 with pip: the headers are wheels of
// NVIDIA's on PyPI, of 3 MB. What is fetched and compiled is kept in the user's cache.
//
// driver.cu is the driver, and says what it holds its callers to.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// staticcheck is what .ci/run has.
const staticcheck = "honnef.co/go/tools/cmd/staticcheck@v0.8.2"

// tested are the packages that have code for the build tag.
const tested = "./kernels/cuda/..."

func main() {
	log.SetFlags(0)
	log.SetPrefix("fakedriver: ")
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		log.Fatal("the emulation is for Linux on x86-64")
	}
	if len(os.Args) > 1 {
		env, err := environment(cuda12)
		if err == nil {
			err = command(env, os.Args[1:]...)
		}
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			os.Exit(exit.ExitCode())
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	begin := time.Now()
	for _, h := range []headers{cuda12, cuda13} {
		if err := check(h); err != nil {
			log.Fatalf("with the headers of %s: %v", h.wheel, err)
		}
	}
	fmt.Printf("passed in %.0f s\n", time.Since(begin).Seconds())
}

// check vets and tests with headers.
func check(h headers) error {
	env, err := environment(h)
	if err != nil {
		return err
	}
	commands := [][]string{
		{"go", "vet", "-tags", tag, tested},
		{"go", "test", "-tags", tag, tested},
	}
	if h.old() { // Go's side is the same with all headers
		commands = append(commands,
			[]string{"go", "run", staticcheck, "-tags", tag, tested},
			[]string{"go", "test", "-race", "-tags", tag, tested})
	}
	for _, c := range commands {
		fmt.Println(c)
		if err := command(env, c...); err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
	}
	return nil
}

// tag is the build tag of kernels/cuda.
const tag = "nvidia"

// environment returns what a command needs beside the environment to compile with headers and to
// find the driver. To link, it finds another library, which is the same for all drivers: so the go
// command compiles cgo packages once.
func environment(h headers) ([]string, error) {
	include, err := h.fetch()
	if err != nil {
		return nil, err
	}
	old, err := cuda12.fetch() // names all calls that gorgonia.org/cu makes
	if err != nil {
		return nil, err
	}
	library, driver, err := build(old)
	if err != nil {
		return nil, err
	}
	flags := "-g -O2"
	if !h.old() {
		flags += " -I" + shim()
	}
	const path = "LD_LIBRARY_PATH"
	if more, ok := os.LookupEnv(path); ok {
		driver += ":" + more
	}
	return append(os.Environ(), "CGO_ENABLED=1", "CGO_CFLAGS="+flags+" -I"+include,
		"CGO_LDFLAGS=-L"+library, path+"="+driver), nil
}

func command(env []string, args ...string) error {
	c := exec.Command(args[0], args[1:]...)
	c.Env = env
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	return c.Run()
}
