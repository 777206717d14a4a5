// Primitives are what kernels are made of and a device may do in another way than its emulation:
// the functions of tile.cuh that have two bodies, and functions of CUDA's own. Each has a tiny
// kernel here. Package primitive has their inputs, and what they give.
#include "tile.cuh"

constexpr int kPrimitiveThreads = 256;

// A Primitive is the parameter of all of them. out, a, b and c are as each kernel says. n is how
// many values there are, if the kernel asks for it.
struct Primitive {
  void *out;
  const void *a, *b, *c;
  u64 big;
  int n, flag;
  float x;
};

#define PRIMITIVE(name) KERNEL(primitive_##name, Primitive, kPrimitiveThreads, 1)

// EACH defines out[i] = f(i), one value a thread. Out is the type of the value.
#define EACH(name, Out, expression)                                     \
  PRIMITIVE(name) {                                                     \
    const int i = (int)(blockIdx.x * kPrimitiveThreads + threadIdx.x);  \
    if (i >= p.n) return;                                               \
    ((Out *)p.out)[i] = (expression);                                   \
  }
#define A(T) (((const T *)p.a)[i])
#define B(T) (((const T *)p.b)[i])
#define C(T) (((const T *)p.c)[i])

// The parameter's fields, the grid, and the place of a thread in it.
PRIMITIVE(launch) {
  const u32 block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  u32 *out = (u32 *)p.out + (block * blockDim.x + threadIdx.x) * 4;
  out[0] = blockIdx.x << 20 | blockIdx.y << 10 | blockIdx.z;
  out[1] = gridDim.x << 20 | gridDim.y << 10 | gridDim.z;
  out[2] = blockDim.x << 16 | threadIdx.x;
  out[3] = (u32)p.big ^ (u32)(p.big >> 32) ^ (u32)p.n ^ (u32)p.flag << 8 ^ bits_of(p.x);
}

// 64 threads copy two groups of 16 bytes each. Some of the copies are of zeros. The first group is
// read when it is there, and the second after that, each by other threads than those that copied.
PRIMITIVE(copy16) {
  SHARED(memory);
  const int i = (int)threadIdx.x;
  Vector *shared = (Vector *)memory;
  copy16(shared + i, (const Vector *)p.a + i, i % 3 != 1);
  copy_commit();
  copy16(shared + 64 + i, (const Vector *)p.a + (i ^ 5), i % 5 != 2);
  copy_commit();
  copy_wait<1>();
  sync_block();
  ((Vector *)p.out)[i] = shared[i ^ 1];
  copy_wait<0>();
  sync_block();
  ((Vector *)p.out)[64 + i] = shared[64 + 63 - i];
}

// load is one of the loads of 8×8 matrices. Lanes point at rows that are 48 bytes apart, in some
// order.
template <int N, class Load>
TILE void load_rows(const Primitive &p, bf16 *shared, Load load) {
  constexpr int Stride = 24;
  const int lane = (int)threadIdx.x;
  for (int k = 0; k < 8; k++) shared[lane * Stride + k] = ((const bf16 *)p.a)[lane * 8 + k];
  sync_warp();
  u32 r[N];
  load(r, shared + (lane * 5 + 3) % 32 * Stride);
  for (int k = 0; k < N; k++) ((u32 *)p.out)[lane * N + k] = r[k];
}

#define LOADS(name, n)                                                                  \
  PRIMITIVE(name) {                                                                     \
    SHARED(memory);                                                                     \
    load_rows<n>(p, (bf16 *)memory, [](u32(&r)[n], const bf16 *row) { name(r, row); }); \
  }
LOADS(load2, 2)
LOADS(load2t, 2)
LOADS(load4, 4)
LOADS(load4t, 4)

// multiply multiplies the matrices of problem blockIdx.x: a is 16×8 words and row-major, b is 8
// columns of 8 words, and c, which is added, is 16×8. Where a lane's operands stand in them is
// PTX's table. A word is two values of bf16, or one of tf32.
template <class Multiply>
TILE void multiply(const Primitive &p, Multiply multiply) {
  const int lane = (int)threadIdx.x, g = lane / 4, t = lane % 4;
  const u32 *a = (const u32 *)p.a + blockIdx.x * 128, *b = (const u32 *)p.b + blockIdx.x * 64;
  const u32 x[4] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t + 4]};
  const float *c = (const float *)p.c + blockIdx.x * 128 + 2 * t;
  float d[4] = {c[g * 8], c[g * 8 + 1], c[(g + 8) * 8], c[(g + 8) * 8 + 1]};
  multiply(d, x, b[g * 8 + t], b[g * 8 + t + 4]);
  float *out = (float *)p.out + blockIdx.x * 128 + 2 * t;
  out[g * 8] = d[0], out[g * 8 + 1] = d[1];
  out[(g + 8) * 8] = d[2], out[(g + 8) * 8 + 1] = d[3];
}

#define MULTIPLIES(name)                                                                      \
  PRIMITIVE(name) {                                                                           \
    multiply(p, [](float(&d)[4], const u32(&a)[4], u32 b0, u32 b1) { name(d, a, b0, b1); }); \
  }
MULTIPLIES(mma)
MULTIPLIES(mma_tf32)

// Conversions between float32 and bf16.
EACH(pack, u32, pack(A(float), B(float)))
EACH(widen, float, widen(A(bf16)))

// A unit of 16 bytes is loaded, taken apart, put together, and stored.
PRIMITIVE(vector_f32) {
  const int i = (int)threadIdx.x;
  float x[4];
  unpack(((const Vector *)p.a)[i], x);
  ((Vector *)p.out)[i ^ 1] = packed(x);
}
PRIMITIVE(vector_bf16) {
  const int i = (int)threadIdx.x;
  float x[8];
  unpack(((const Vector *)p.a)[i], x);
  ((Vector *)p.out)[i ^ 1] = packed(x);
}

// Approximate functions.
EACH(power2, float, power2(A(float)))
EACH(log2, float, log2_(A(float)))
EACH(reciprocal, float, reciprocal(A(float)))
EACH(exp, float, expf(A(float)))
EACH(log, float, logf(A(float)))
EACH(log1p, float, log1pf(A(float)))
EACH(exp_f64, double, exp(A(double)))

// Functions that IEEE 754 defines to the last bit.
EACH(add, float, A(float) + B(float))
EACH(mul, float, A(float) * B(float))
EACH(fma, float, fmaf(A(float), B(float), C(float)))
EACH(div, float, A(float) / B(float))
EACH(sqrt, float, sqrtf(A(float)))
EACH(max, float, fmaxf(A(float), B(float)))
EACH(abs, float, fabsf(A(float)))
EACH(add_f64, double, A(double) + B(double))
EACH(mul_f64, double, A(double) * B(double))
EACH(div_f64, double, A(double) / B(double))
EACH(sqrt_f64, double, sqrt(A(double)))
EACH(floor_f64, double, floor(A(double)))
EACH(abs_f64, double, fabs(A(double)))

// Conversions between types.
EACH(float_of_f64, float, (float)A(double))
EACH(f64_of_float, double, (double)A(float))
EACH(float_of_int, float, (float)A(int))
EACH(float_of_u64, float, (float)A(u64))
EACH(int_of_float, int, (int)A(float))
EACH(high, u64, high(A(u64), B(u64)))

// A warp's lanes exchange values, by each power of two.
template <class T>
TILE void exchange_all(const Primitive &p) {
  const int lane = (int)threadIdx.x;
  T x = ((const T *)p.a)[lane];
  UNROLL
  for (int k = 0; k < 5; k++) ((T *)p.out)[k * 32 + lane] = shuffle_xor(x, 1 << k);
}
PRIMITIVE(shuffle) { exchange_all<float>(p); }
PRIMITIVE(shuffle_f64) { exchange_all<double>(p); }

// Sums, whose order is defined.
PRIMITIVE(warp_sum) {
  const int i = (int)threadIdx.x;
  ((float *)p.out)[i] = warp_sum(((const float *)p.a)[i]);
}
PRIMITIVE(warp_sum_f64) {
  const int i = (int)threadIdx.x;
  ((double *)p.out)[i] = warp_sum(((const double *)p.a)[i]);
}
PRIMITIVE(block_sum) {
  SHARED(memory);
  const int i = (int)threadIdx.x;
  const double x = ((const double *)p.a)[i];
  const double sum = block_sum<kPrimitiveThreads>(x, (double *)memory);
  ((double *)p.out)[i] = sum - block_sum<kPrimitiveThreads>(4 * x, (double *)memory);
}

// Barriers: values go round through shared memory.
PRIMITIVE(sync_block) {
  SHARED(memory);
  u32 *shared = (u32 *)memory;
  const u32 i = threadIdx.x;
  u32 x = ((const u32 *)p.a)[i];
  for (int k = 0; k < 16; k++) {
    shared[i] = x;
    sync_block();
    x = shared[(i * 5 + 37) % kPrimitiveThreads] * 2654435761u + i;
    sync_block();
  }
  ((u32 *)p.out)[i] = x;
}
PRIMITIVE(sync_warp) {
  SHARED(memory);
  u32 *shared = (u32 *)memory + threadIdx.x / 32 * 32;
  const u32 i = threadIdx.x % 32;
  u32 x = ((const u32 *)p.a)[threadIdx.x];
  for (int k = 0; k < 16; k++) {
    shared[i] = x;
    sync_warp();
    x = shared[(i * 5 + 7) % 32] * 2654435761u + i;
    sync_warp();
  }
  ((u32 *)p.out)[threadIdx.x] = x;
}

// n words of shared memory are filled, and read by other threads.
PRIMITIVE(shared_memory) {
  SHARED(memory);
  u32 *shared = (u32 *)memory;
  const int i = (int)threadIdx.x;
  for (int k = i; k < p.n; k += kPrimitiveThreads) shared[k] = (u32)k * 2654435761u;
  sync_block();
  u32 x = 0;
  for (int k = i; k < p.n; k += kPrimitiveThreads) x = x * 31 + shared[p.n - 1 - k];
  ((u32 *)p.out)[i] = x;
}

// Atomic operations on memory. What they leave does not depend on their order.
PRIMITIVE(claim) {
  const u32 i = threadIdx.x;
  if (i < 64) ((u32 *)p.out)[i] = i < 32 ? 0 : ((const u32 *)p.a)[i];
  sync_block();
  claim((u32 *)p.out + i % 64, i % 64 + 1);
}
PRIMITIVE(add_atomically) {
  const u32 i = threadIdx.x;
  if (i < 64) ((float *)p.out)[i] = 0;
  sync_block();
  add_atomically((float *)p.out + i % 64, ((const float *)p.a)[i]);
}
