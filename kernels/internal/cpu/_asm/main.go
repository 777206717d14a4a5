// Command _asm writes the assembly of package cpu to the folder that it is given, one file for each
// family of functions.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

// families are the files NAME_amd64.s, and the function that writes each.
var families = map[string]func(*build.Context){
	"activation": activation,
	"adamw":      adamw,
	"attention":  attention,
	"conv":       conv,
	"gemm":       gemm,
	"layernorm":  layerNorms,
	"bfloat16":   bfloat16,
	"gemm_bf16":  gemmBF16,
	"norm":       norms,
	"probe":      probe,
	"softmax":    softmax,
	"winograd":   winograd,
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: _asm FOLDER")
	}
	for name, write := range families {
		if err := generate(filepath.Join(os.Args[1], name+"_amd64.s"), write); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
	}
}

// generate writes one file. The package has the Go declarations of the functions, with the same
// signatures.
func generate(path string, write func(*build.Context)) error {
	c := build.NewContext()
	c.ConstraintExpr("amd64,!purego")
	write(c)
	f, err := c.Result()
	if err != nil {
		return err
	}
	if err := pass.Compile.Execute(f); err != nil {
		return err
	}
	config := printer.Config{Name: "go generate ./kernels/internal/cpu"}
	text, err := printer.NewGoAsm(config).Print(f)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o666)
}
