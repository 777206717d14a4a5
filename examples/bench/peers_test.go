package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/cases"
)

// Each line is as a program prints it.
var printed = map[string]string{
	"torch_ops-1t": `
linear fwd   4096x320->2560 fp32                    30.00 ms      224 GFLOP/s
linear dgrad 77x768->1280 bf16                       1.50 ms      101 GFLOP/s
conv3x3 wgrad 960->320@64 fp32 nhwc                110.00 ms      206 GFLOP/s
attention fwd 4096x77 d=40 fp32                      3.00 ms      134 GFLOP/s
attention bwd 4096x77 d=40 fp32 (5 products)         7.00 ms      144 GFLOP/s`,
	"sd15_torch": `
step 0 fwd 3.0000 bwd 9.0000 opt 1.0000 total 13.0000 s  0.077 img/s
MEDIAN total 34.9000 fwd 10.1000 bwd 23.8000 opt 1.0000 {'device': 'cpu', 'dtype': 'fp32', ` +
		`'batch': 2, 'latent': 64, 'steps': 3, 'opt': 'adamw', 'ckpt': False, 'cl': False, ` +
		`'compile': False, 'fwd': False, 'threads': 2, 'prof': False}
MEDIAN total 5.2800 fwd 5.2800 bwd 0.0000 opt 0.0000 {'device': 'cpu', 'dtype': 'bf16', ` +
		`'batch': 1, 'latent': 64, 'steps': 3, 'opt': 'none', 'ckpt': False, 'cl': False, ` +
		`'compile': False, 'fwd': True, 'threads': 0, 'prof': False}`,
	"gemm": `
# core=SkylakeX config=OpenBLAS
fp32 2T NT  4096x 2560x  320 med   200.0 GF/s best   210.0  eff-vs-probe  90.1%  probe  222.0
fp32 1T TN  2560x  320x 4096 med   100.0 GF/s best   110.0  eff-vs-probe  90.1%  probe  111.0`,
	"dn": `
nhwc/direct bf16 bwd_d     2T 320->320@64 k3 s2          med   400.0 GF/s best   410.0` +
		` eff  96.1% probe  222.0 n=7 disc=0 t=4.719ms brgconv:avx512_core_bf16
matmul f32 (W packed)      2T 4096x2560x320              med   210.0 GF/s best   220.0
dnnl_sgemm NT 2T 4096x2560x320 med   205.0 GF/s best   210.0 eff  92.1% n=7 disc=0`,
	"diffusers-bf16": `
UNet evaluation: median 2.10 s of 5
guided step: median 3.90 s of 5
VAE decode 3.60 s, peak memory 6.1 GiB
step 0: 9.00 s, peak memory 3.9 GiB
step 1: 5.50 s, peak memory 3.9 GiB
step 2: 5.40 s, peak memory 3.9 GiB
step 3: 5.30 s, peak memory 3.9 GiB
ViT-L/14, batch 8: 0.350 s an image, 463 GFLOP/s, peak memory 3.1 GiB`,
}

// Times that programs print are put beside ours of the same shape, precision and threads.
func TestPeers(t *testing.T) {
	dir := t.TempDir()
	for name, text := range printed {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".txt"), []byte(text), 0o666))
	}
	all, err := readPeers(dir)
	require.NoError(t, err)
	ours := map[string]bool{}
	for _, c := range append(cases.Operations(1), append(cases.Models(1), cases.Models(8)...)...) {
		ours[c.Name] = true
	}
	seconds := map[string]float64{}
	for _, p := range all {
		require.True(t, ours[p.cases[0]] || ours[p.cases[len(p.cases)-1]], p.cases)
		for _, c := range p.cases {
			one := cases.Result{Name: c, Precision: p.precision, Threads: p.threads}
			require.True(t, p.times(one))
			one.Threads++
			require.False(t, p.times(one))
			seconds[p.name+"|"+identity(cases.Result{
				Name: c, Precision: p.precision, Threads: p.threads,
			})] = math.Round(1e6*p.seconds) / 1e6
		}
	}
	cores := runtime.NumCPU()
	at := func(name string, precision string, threads int) string {
		return identity(cases.Result{Name: name, Precision: precision, Threads: threads})
	}
	const single, half = "float32", "bfloat16"
	require.Equal(t, map[string]float64{
		"PyTorch linear (torch_ops-1t)|" +
			at("linear/320→2560/tokens=4096/batch=1/forward", single, 1): 0.03,
		"PyTorch linear (torch_ops-1t)|" +
			at("linear/768→1280/tokens=77/batch=1/input", half, 1): 0.0015,
		"PyTorch convolution nhwc (torch_ops-1t)|" +
			at("conv/960→320/side=64/kernel=3/stride=1/batch=1/weight", single, 1): 0.11,
		"PyTorch attention (torch_ops-1t)|" +
			at("attention/d=40/queries=4096/keys=77/batch=1/forward", single, 1): 0.003,
		"PyTorch attention (torch_ops-1t)|" +
			at("attention/d=40/queries=4096/keys=77/batch=1/forward+backward", single, 1): 0.01,
		"PyTorch model (sd15_torch)|" + at("sd15/step/batch=2", single, 2):             34.9,
		"PyTorch model (sd15_torch)|" + at("sd15/step/batch=1+1", single, 2):           34.9,
		"PyTorch model (sd15_torch)|" + at("sd15/evaluation/batch=1", half, cores):     5.28,
		"CBLAS (gemm)|" + at("linear/320→2560/tokens=4096/batch=1/forward", single, 2): 0.033554,
		"CBLAS (gemm)|" + at("linear/320→2560/tokens=4096/batch=1/weight", single, 1):  0.067109,
		"oneDNN convolution nhwc/direct (dn)|" +
			at("conv/320→320/side=64/kernel=3/stride=2/batch=1/input", half, 2): 0.004719,
		"oneDNN packed matmul (dn)|" +
			at("linear/320→2560/tokens=4096/batch=1/forward", single, 2): 0.031957,
		"dnnl_sgemm (dn)|" +
			at("linear/320→2560/tokens=4096/batch=1/forward", single, 2): 0.032736,
		"diffusers (diffusers-bf16)|" + at("sd15/evaluation/batch=1", half, cores):     2.1,
		"diffusers (diffusers-bf16)|" + at("sd15/evaluation/batch=2", half, cores):     3.9,
		"diffusers (diffusers-bf16)|" + at("VAE/decode/batch=1", half, cores):          3.6,
		"peft (diffusers-bf16)|" + at("sd15/LoRA step/batch=1", half, cores):           5.4,
		"transformers (diffusers-bf16)|" + at("ViT-L14/pictures/batch=8", half, cores): 2.8,
	}, seconds)

	var out strings.Builder
	r := reached("linear/320→2560/tokens=4096/batch=1/forward", 0.8)
	r.Median = 0.03
	require.NoError(t, (&printer{w: &out, peers: all}).print(r))
	require.Contains(t, out.String(), "CBLAS (gemm)")
	require.Contains(t, out.String(), "33.55ms 1.12 times as long")
	require.NotContains(t, out.String(), "torch_ops-1t", "it had one thread")
}
