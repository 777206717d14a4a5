// The update of parameters: AdamW, moving averages, the norm of all gradients and what clips it,
// and the watch for values that are not finite.
#include "elements.cuh"
#include "reduce.cuh"

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
  int wide;  // whether p, m, v, g and copy are multiples of 16
};

// update is the step of one parameter. Products that are added are fused, here by name, so that all
// compilers do the same.
TILE void update(const Step &s, float factor, float &p, float &m, float &v, float g) {
  g *= factor;
  m = fmaf(s.one_minus1, g, s.beta1 * m);
  v = fmaf(s.one_minus2 * g, g, s.beta2 * v);
  p = fmaf(s.keep, p, -(s.rate * m / fmaf(sqrtf(v), s.unbias, s.eps)));
}

TILE void store(bf16 *to, const float (&x)[1]) { put(to, x[0]); }
TILE void store(bf16 *to, const float (&x)[4]) {
  *(u64 *)to = pack(x[0], x[1]) | (u64)pack(x[2], x[3]) << 32;
}

// update_units updates the parameters of whole units. If the factor is not a number, nothing
// changes.
template <class Raw>
TILE void update_units(const Update &p, const Step &s, float factor) {
  constexpr int Width = sizeof(Raw) / sizeof(float);
  Raw x[kElementBatch], m[kElementBatch], v[kElementBatch], g[kElementBatch];
  batch(
      p.n / Width,
      [&](int b, u64 i) {
        x[b] = ((const Raw *)p.p)[i];
        m[b] = ((const Raw *)p.m)[i];
        v[b] = ((const Raw *)p.v)[i];
        g[b] = ((const Raw *)p.g)[i];
      },
      [&](int b, u64 i) {
        if (factor != factor) return;
        float x1[Width], m1[Width], v1[Width], g1[Width];
        unpack(x[b], x1);
        unpack(m[b], m1);
        unpack(v[b], v1);
        unpack(g[b], g1);
        UNROLL
        for (int k = 0; k < Width; k++) update(s, factor, x1[k], m1[k], v1[k], g1[k]);
        repack(((Raw *)p.p)[i], x1);
        repack(((Raw *)p.m)[i], m1);
        repack(((Raw *)p.v)[i], v1);
        if (p.copy) store(p.copy + i * Width, x1);
      });
}

// adamw_f32 moves 28 bytes for each parameter, and 2 more for the copy.
KERNEL(adamw_f32, Update, kElementThreads, 3) {
  const Step s = *p.step;
  const float factor = p.factor ? *p.factor : 1;
  if (!p.wide) {
    update_units<float>(p, s, factor);
    return;
  }
  update_units<Vector>(p, s, factor);
  const u64 i = p.n / 4 * 4 + threadIdx.x;  // behind the last whole unit
  if (blockIdx.x > 0 || i >= p.n || factor != factor) return;
  update(s, factor, p.p[i], p.m[i], p.v[i], p.g[i]);
  if (p.copy) put(p.copy + i, p.p[i]);
}

// A Blend is dst[i] = x[i] + a·(y[i] − x[i]) for i < n. a is in memory, as it may change with the
// step. dst is x.
struct Blend {
  float *dst;
  const float *x, *y, *a;
  u64 n;
  int wide;
};

KERNEL(blend_f32, Blend, kElementThreads, 6) {
  const float a = *p.a;
  elements<float, 2>(p, [&](float x, float y, u64) { return fmaf(a, y - x, x); });
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
  int wide;  // whether x is a multiple of 16
};

// is_finite looks at the exponent. All of its bits are 1 in a value that is not finite.
TILE bool is_finite(float x) { return (bits_of(x) & 0x7f800000) != 0x7f800000; }

template <class T, class Raw>
TILE bool finite_units(const Watch &p) {
  constexpr int Width = sizeof(Raw) / sizeof(T);
  Raw x[kElementBatch];
  bool all = true;
  batch(
      p.n / Width, [&](int b, u64 i) { x[b] = ((const Raw *)p.x)[i]; },
      [&](int b, u64) {
        float x1[Width];
        unpack(x[b], x1);
        UNROLL
        for (int k = 0; k < Width; k++) all &= is_finite(x1[k]);
      });
  return all;
}

template <class T>
TILE void watch(const Watch &p) {
  bool all = p.wide ? finite_units<T, Vector>(p) : finite_units<T, T>(p);
  constexpr int Width = 16 / sizeof(T);
  const u64 i = p.n / Width * Width + threadIdx.x;  // behind the last whole unit
  if (p.wide && blockIdx.x == 0 && i < p.n) all &= is_finite(get((const T *)p.x + i));
  if (!all) claim(p.flag, p.number);
}

KERNEL(watch_f32, Watch, kElementThreads, 6) { watch<float>(p); }
KERNEL(watch_bf16, Watch, kElementThreads, 6) { watch<bf16>(p); }
