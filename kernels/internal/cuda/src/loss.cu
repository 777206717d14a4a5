// Losses: values, which stay in device memory, and the gradient of the cross entropy.
#include "index.cuh"
#include "reduce.cuh"

// A Differences is Σ_n weight[n] · Σ_i f(x[n,i], y[n,i]) for x and y [samples,size]. weight may be
// null, for ones. Each of pieces blocks of a sample writes a partial sum, with its weight.
struct Differences {
  const float *x, *y, *weight;
  double *partials;
  u64 size;
  int pieces;
  int aligned;  // whether x and y, and all samples in them, are multiples of 16
};

template <class F>
TILE void differences(const Differences &p, double *memory, F f) {
  const u64 sample = blockIdx.x / p.pieces;
  const int piece = blockIdx.x % p.pieces;
  const u64 at = sample * p.size;
  double sum = thread_sum<float>(p.x + at, p.y + at, p.size,
                                 (u64)piece * kReduceThreads + threadIdx.x,
                                 (u64)p.pieces * kReduceThreads, p.aligned, f);
  sum = block_sum<kReduceThreads>(sum, memory);
  if (threadIdx.x == 0) p.partials[blockIdx.x] = p.weight ? p.weight[sample] * sum : sum;
}

KERNEL(mse_f32, Differences, kReduceThreads, 4) {
  SHARED(memory);
  differences(p, (double *)memory, [](float x, float y) {
    const double d = (double)x - y;
    return d * d;
  });
}

KERNEL(l1_f32, Differences, kReduceThreads, 4) {
  SHARED(memory);
  differences(p, (double *)memory, [](float x, float y) { return fabs((double)x - y); });
}

// A CrossEntropy is −log softmax(logits[n])[target[n]], with a weight, of logits [rows,classes].
// weight may be null. dout and dlogits are for the gradient. A block has a row: there are few.
struct CrossEntropy {
  double *partials;
  float *dlogits;
  const float *logits, *target, *weight, *dout;
  double otherwise;  // the weight of every row if weight is null
  int classes;
};

constexpr int kClassThreads = 128;

// log_sum is log Σ exp of a row in double, in all threads of the block. memory is shared, for a
// double for each warp. A value that is not a number makes the result none either.
TILE double log_sum(const float *row, int classes, double *memory) {
  float top = minus_infinity();
  for (int j = threadIdx.x; j < classes; j += kClassThreads) top = fmaxf(top, row[j]);
  UNROLL
  for (int lanes = 16; lanes > 0; lanes /= 2) top = fmaxf(top, shuffle_xor(top, lanes));
  if (threadIdx.x % 32 == 0) memory[threadIdx.x / 32] = top;
  sync_block();
  UNROLL
  for (int i = 0; i < kClassThreads / 32; i++) top = fmaxf(top, (float)memory[i]);
  sync_block();
  double sum = 0;
  for (int j = threadIdx.x; j < classes; j += kClassThreads) sum += exp((double)row[j] - top);
  return top + log(block_sum<kClassThreads>(sum, memory));
}

KERNEL(cross_entropy_f32, CrossEntropy, kClassThreads, 4) {
  SHARED(memory);
  const float *row = p.logits + (u64)blockIdx.x * p.classes;
  const double log = log_sum(row, p.classes, (double *)memory);
  if (threadIdx.x > 0) return;
  const double weight = p.weight ? p.weight[blockIdx.x] : p.otherwise;
  const int target = index_of(p.target[blockIdx.x], p.classes);
  p.partials[blockIdx.x] = weight * (log - (target < 0 ? not_a_number() : row[target]));
}

KERNEL(cross_entropy_grad_f32, CrossEntropy, kClassThreads, 4) {
  SHARED(memory);
  const u64 at = (u64)blockIdx.x * p.classes;
  const float *row = p.logits + at;
  const double log = log_sum(row, p.classes, (double *)memory);
  const int target = index_of(p.target[blockIdx.x], p.classes);
  double weight = p.weight ? p.weight[blockIdx.x] : p.otherwise;
  weight *= target < 0 ? not_a_number() : *p.dout;
  for (int j = threadIdx.x; j < p.classes; j += kClassThreads)
    p.dlogits[at + j] = (float)(weight * (exp(row[j] - log) - (j == target)));
}
