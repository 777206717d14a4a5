// Products of matrices of bf16: see product_bf16.cuh.
#include "product_bf16.cuh"

using namespace product_bf16;

// The letters say whether A and B are transposed, n or t.
using A = Matrix<true, true>;
using At = Matrix<false, true>;
using B = Matrix<false, false>;
using Bt = Matrix<true, false>;
GEMMS(gemm_nn, A, B)
GEMMS(gemm_nt, A, Bt)
GEMMS(gemm_tn, At, B)
GEMMS(gemm_tt, At, Bt)

namespace product_bf16 {

// A Sum is C[m,n], of parts that are partial values apart.
struct Sum {
  const float *from;
  Output out;
  int m, parts;
};

}  // namespace product_bf16

// gemm_sum adds the parts of a product that was cut along K, in their order. A thread adds 8 values
// of a row.
KERNEL(gemm_sum_bf16, Sum, kGemmThreads, 8) {
  const u32 units = (p.out.n + 7) / 8;
  const u64 i = (u64)blockIdx.x * kGemmThreads + threadIdx.x;
  const int row = (int)(i / units), column = (int)(i % units) * 8;
  if (row >= p.m) return;
  const bool whole = p.out.n % 8 == 0;
  const float *from = p.from + (u64)row * p.out.n + column;
  float sum[8];
  UNROLL
  for (int e = 0; e < 8; e++) sum[e] = 0;
  for (int part = 0; part < p.parts; part++) {
    float x[8];
    load8(x, from + part * p.out.partial, whole, p.out.n - column);
    UNROLL
    for (int e = 0; e < 8; e++) sum[e] += x[e];
  }
  Store{p.out, 0}(row, column, sum);
}
