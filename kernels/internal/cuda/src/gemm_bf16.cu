// Products of matrices of bf16: see product_bf16.cuh.
#include "product_bf16.cuh"

using namespace product_bf16;

// The letters say whether A and B are transposed, n or t. Functions are applied where B is a
// layer's weights as they are.
using A = Matrix<true, true>;
using At = Matrix<false, true>;
using B = Matrix<false, false>;
using Bt = Matrix<true, false>;
GEMMS(gemm_nn, A, B, false)
GEMMS(gemm_nt, A, Bt, true)
GEMMS(gemm_tn, At, B, false)
GEMMS(gemm_tt, At, Bt, false)

namespace product_bf16 {

// A Sum is C[m,n], of parts that are partial values apart.
struct Sum {
  const float *from;
  Output out;
  int m, parts;
};

// add_parts adds up 8 values of a row, or the first n of them. It reads several parts at once, so
// as not to wait for each.
template <bool Whole>
TILE void add_parts(float (&sum)[8], const float *from, const Sum &p, int n) {
  constexpr int kAtOnce = 4;
  UNROLL
  for (int e = 0; e < 8; e++) sum[e] = 0;
  for (int part = 0; part < p.parts; part += kAtOnce) {
    float x[kAtOnce][8];
    UNROLL
    for (int i = 0; i < kAtOnce; i++)
      load_row(x[i], from + min(part + i, p.parts - 1) * p.out.partial, Whole, n);
    UNROLL
    for (int i = 0; i < kAtOnce; i++) {
      UNROLL
      for (int e = 0; e < 8; e++) sum[e] += part + i < p.parts ? x[i][e] : 0;
    }
  }
}

}  // namespace product_bf16

// gemm_sum adds the parts of a product that was cut along K, in their order. A thread adds 8 values
// of a row, and for GEGLU their gates too.
KERNEL(gemm_sum_bf16, Sum, kGemmThreads, 8) {
  const Store<true> finish{p.out, 0};
  const int half = p.out.epilogue.half, units = ((finish.gates() ? half : p.out.n) + 7) / 8;
  const int i = (int)blockIdx.x * kGemmThreads + (int)threadIdx.x;
  const int row = i / units, column = i % units * 8;
  if (row >= p.m) return;
  const float *from = p.from + (u64)row * p.out.n + column;
  float sum[8];
  if (finish.gates()) {
    float gate[8];
    add_parts<true>(sum, from, p, 8);
    add_parts<true>(gate, from + half, p, 8);
    finish(row, column, sum, gate);
    return;
  }
  const auto ahead = finish.ahead(row, column);
  if (p.out.n % 8 == 0)
    add_parts<true>(sum, from, p, 8);
  else
    add_parts<false>(sum, from, p, p.out.n - column);
  finish(row, column, sum, ahead);
}
