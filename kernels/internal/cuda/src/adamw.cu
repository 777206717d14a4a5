// The update of parameters: AdamW, moving averages, the norm of all gradients and what clips it,
// and the watch for values that are not finite.
#include "reduce.cuh"

constexpr int kUpdateThreads = 256;

// A Step is the numbers of one AdamW step, which are the same for all parameters.
struct Step {
  float keep;  // 1 − lr·decay: the part of a parameter that weight decay leaves
  float beta1, beta2;
  float one_minus1;  // 1 − β₁
  float one_minus2;  // 1 − β₂
  float rate;        // lr / (1 − β₁ᵗ)
  float unbias;      // 1 / √(1 − β₂ᵗ)
  float eps;
};

// An Update is an AdamW step of n parameters p with the moments m and v and the gradients g. step
// and factor are in memory so that a recorded launch can have new ones.
struct Update {
  float *p, *m, *v;
  const float *g;
  bf16 *copy;  // also gets the parameters, if it is not null
  const Step *step;
  const float *factor;  // of the gradients; null is 1
  u64 n;
  int aligned;  // whether p, m, v, g and copy are multiples of 16
};

// update is the step of one parameter. Products that are added are fused, here by name, so that all
// compilers do the same.
TILE void update(const Step &s, float factor, float &p, float &m, float &v, float g) {
  g *= factor;
  m = fmaf(s.one_minus1, g, s.beta1 * m);
  v = fmaf(s.one_minus2 * g, g, s.beta2 * v);
  p = fmaf(s.keep, p, -(s.rate * m / fmaf(sqrtf(v), s.unbias, s.eps)));
}

// A thread has four parameters at a time: 28 bytes for each parameter, and 2 more for the copy, in
// accesses of 16 and 8. If the factor is not a number, nothing changes.
KERNEL(adamw_f32, Update, kUpdateThreads, 4) {
  const Step s = *p.step;
  const float factor = p.factor ? *p.factor : 1;
  if (factor != factor) return;
  const u64 first = (u64)blockIdx.x * kUpdateThreads + threadIdx.x;
  const u64 step = (u64)gridDim.x * kUpdateThreads, vectors = p.aligned ? p.n / 4 : 0;
  for (u64 i = first; i < vectors; i += step) {
    float x[4], m[4], v[4], g[4];
    unpack(((const Vector *)p.p)[i], x);
    unpack(((const Vector *)p.m)[i], m);
    unpack(((const Vector *)p.v)[i], v);
    unpack(((const Vector *)p.g)[i], g);
    UNROLL
    for (int k = 0; k < 4; k++) update(s, factor, x[k], m[k], v[k], g[k]);
    ((Vector *)p.p)[i] = packed(x);
    ((Vector *)p.m)[i] = packed(m);
    ((Vector *)p.v)[i] = packed(v);
    if (p.copy) ((u64 *)p.copy)[i] = pack(x[0], x[1]) | (u64)pack(x[2], x[3]) << 32;
  }
  for (u64 i = vectors * 4 + first; i < p.n; i += step) {
    update(s, factor, p.p[i], p.m[i], p.v[i], p.g[i]);
    if (p.copy) p.copy[i] = narrow(p.p[i]);
  }
}

// A Blend is dst[i] += a·(x[i] − dst[i]) for i < n. a is in memory, as it may change with the step.
struct Blend {
  float *dst;
  const float *x, *a;
  u64 n;
  int aligned;  // whether dst and x are multiples of 16
};

KERNEL(blend_f32, Blend, kUpdateThreads, 4) {
  const float a = *p.a;
  const u64 first = (u64)blockIdx.x * kUpdateThreads + threadIdx.x;
  const u64 step = (u64)gridDim.x * kUpdateThreads, vectors = p.aligned ? p.n / 4 : 0;
  for (u64 i = first; i < vectors; i += step) {
    float x[4], y[4];
    unpack(((const Vector *)p.dst)[i], y);
    unpack(((const Vector *)p.x)[i], x);
    UNROLL
    for (int k = 0; k < 4; k++) y[k] = fmaf(a, x[k] - y[k], y[k]);
    ((Vector *)p.dst)[i] = packed(y);
  }
  for (u64 i = vectors * 4 + first; i < p.n; i += step)
    p.dst[i] = fmaf(a, p.x[i] - p.dst[i], p.dst[i]);
}

// A Squares is Σ x[i]² over i < n. Each block writes a partial sum.
struct Squares {
  const float *x;
  double *partials;
  u64 n;
  int aligned;  // whether x is a multiple of 16
};

KERNEL(sum_squares_f32, Squares, kReduceThreads, 4) {
  SHARED(memory);
  double sum = thread_sum<float>(p.x, nullptr, p.n,
                                 (u64)blockIdx.x * kReduceThreads + threadIdx.x,
                                 (u64)gridDim.x * kReduceThreads, p.aligned,
                                 [](float x, float) { return (double)x * x; });
  sum = block_sum<kReduceThreads>(sum, (double *)memory);
  if (threadIdx.x == 0) p.partials[blockIdx.x] = sum;
}

// A Clip is the norm √Σ squares[i] over i < n, and the factor that makes it at most most. If the
// norm is not finite, the factor is not a number.
struct Clip {
  float *dst;  // the factor, and the norm
  const double *squares;
  u64 n;
  double most;
};

constexpr int kClipThreads = 1024;

// One block adds up all partial sums of all gradients, which are some ten thousands.
KERNEL(clip_f32, Clip, kClipThreads, 1) {
  SHARED(memory);
  const double sum = thread_sum_of_doubles(p.squares, p.n, threadIdx.x, kClipThreads);
  const double norm = sqrt(block_sum<kClipThreads>(sum, (double *)memory));
  if (threadIdx.x > 0) return;
  const double factor = p.most / (norm + 1e-6);
  p.dst[0] = norm - norm != 0 ? float_of(0x7fc00000) : factor < 1 ? (float)factor : 1;
  p.dst[1] = (float)norm;
}

// A Watch makes *flag number, if it is 0 and a value of x is infinite or not a number.
struct Watch {
  u32 *flag;
  const void *x;
  u64 n;
  int number;
  int aligned;  // whether x is a multiple of 16
};

// watch looks at the exponents. All of their bits are 1 in a value that is not finite.
template <class T>
TILE void watch(const Watch &p) {
  constexpr int Width = 16 / sizeof(T);
  const u64 first = (u64)blockIdx.x * kUpdateThreads + threadIdx.x;
  const u64 step = (u64)gridDim.x * kUpdateThreads, vectors = p.aligned ? p.n / Width : 0;
  bool found = false;
  auto look = [&](float x) { found |= (bits_of(x) & 0x7f800000) == 0x7f800000; };
  for (u64 i = first; i < vectors; i += step) {
    float x[Width];
    unpack(((const Vector *)p.x)[i], x);
    UNROLL
    for (int k = 0; k < Width; k++) look(x[k]);
  }
  for (u64 i = vectors * Width + first; i < p.n; i += step) look(get((const T *)p.x + i));
  if (found) claim(p.flag, p.number);
}

KERNEL(watch_f32, Watch, kUpdateThreads, 4) { watch<float>(p); }
KERNEL(watch_bf16, Watch, kUpdateThreads, 4) { watch<bf16>(p); }
