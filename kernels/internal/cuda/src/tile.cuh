// tile.cuh has what a kernel needs beyond C++: asynchronous copies, fragments and products of
// matrices, barriers, shuffles, conversions. On a device they are PTX. Compiled by g++ they are
// emulated, from the same definitions (PTX ISA 8.8; §9.7.14 for the fragments).
#pragma once

typedef unsigned short bf16;  // the bits of a bfloat16
typedef unsigned int u32;
typedef unsigned long long u64;

// A kernel has one parameter, a struct. KERNEL(name, Params, threads, blocks) { ... p.x ... }
// defines one. blocks is how many blocks share a multiprocessor at least.
#if defined(__CUDACC__)
#define TILE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
#define KERNEL(name, Params, threads, blocks)                    \
  extern "C" __global__ void __launch_bounds__(threads, blocks) \
      name(const __grid_constant__ Params p)
#define SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#else
#include "emu.h"
#define __global__
#define __device__
#define __forceinline__ inline
#define TILE inline
#define UNROLL _Pragma("GCC unroll 1")
#define ROLLED UNROLL
#define KERNEL(name, Params, threads, blocks)                           \
  static void name(const Params &);                                     \
  static emu::Register name##_registered{                               \
      #name, sizeof(Params), [](const void *p) { name(*(const Params *)p); }}; \
  static void name(const Params &p)
#define SHARED(name) unsigned char *name = emu::self->worker->shared
#endif

// A Vector is 16 bytes that are moved at once.
struct alignas(16) Vector {
  u32 word[4];
};

#if defined(__CUDACC__)

TILE u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// copy16 begins to copy 16 bytes to shared memory, or zeros where valid is false. from is a legal
// address in any case.
TILE void copy16(void *to, const void *from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}

// copy_commit closes a group of copies. copy_wait waits for all groups but the last N.
TILE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
TILE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

TILE void sync_block() { __syncthreads(); }
TILE void sync_warp() { __syncwarp(); }

// load4 loads four 8×8 matrices of bf16 whose rows the lanes point at: lanes 0 to 7 at those of the
// first, and so on. load4t transposes them.
TILE void load4(u32 (&r)[4], const bf16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
TILE void load4t(u32 (&r)[4], const bf16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
TILE void load2(u32 (&r)[2], const bf16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
TILE void load2t(u32 (&r)[2], const bf16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}

// mma is d += a·b of 16×16 and 16×8 bf16, with float32 sums.
TILE void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// mma_tf32 is d += a·b of 16×8 and 8×8 tf32, with float32 sums.
TILE void mma_tf32(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

TILE float float_of(u32 bits) { return __uint_as_float(bits); }
TILE u32 bits_of(float x) { return __float_as_uint(x); }

// pack is the bf16 bits of lo and, above them, of hi, rounded to nearest even.
TILE u32 pack(float lo, float hi) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}

// power2 and log2_ are 2^x and log₂ x to about 2 units in the last place.
TILE float power2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
TILE float log2_(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// shuffle_xor is the x of the lane whose number differs in the bits of lanes, a power of two.
TILE float shuffle_xor(float x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }
TILE double shuffle_xor(double x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }

TILE void add_atomically(float *to, float x) { atomicAdd(to, x); }

// reciprocal is 1/x to 1 unit in the last place. Subnormal values are 0.
TILE float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// high is the upper half of the product of two numbers.
TILE u64 high(u64 a, u64 b) { return __umul64hi(a, b); }

// claim makes *at value, in one step, if it is 0.
TILE void claim(u32 *at, u32 value) { atomicCAS(at, 0u, value); }

#else  // emulated

TILE void copy16(void *to, const void *from, bool valid) {
  emu::copy_async(to, from, 16, valid ? 16 : 0);
}
TILE void copy_commit() { emu::commit_async(); }
template <int N>
TILE void copy_wait() {
  emu::wait_async(N);
}

TILE void sync_block() { emu::barrier(0, 0); }
TILE void sync_warp() { emu::sync_warp(); }

EMU_RAW inline float float_of(u32 bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
EMU_RAW inline u32 bits_of(float f) {
  u32 bits;
  memcpy(&bits, &f, 4);
  return bits;
}

// A Matrices is a lane's part in loading 8×8 matrices: the row that it points at, and its share of
// all of them.
struct Matrices {
  bf16 row[8];
  u32 *r;
};

template <int N, bool Transposed>
EMU_RAW void load_all(void **of) {
  for (int lane = 0; lane < 32; lane++)
    for (int m = 0; m < N; m++) {
      auto at = [&](int row, int col)
                    EMU_RAW { return ((Matrices *)of[8 * m + row])->row[col]; };
      int i = lane / 4, j = lane % 4 * 2;
      u32 lo = Transposed ? at(j, i) : at(i, j), hi = Transposed ? at(j + 1, i) : at(i, j + 1);
      ((Matrices *)of[lane])->r[m] = lo | hi << 16;
    }
}

template <int N, bool Transposed>
void load(u32 *r, const bf16 *row) {
  Matrices m;
  m.r = r;
  if (emu::self->lane < 8 * N) {
    if ((size_t)row % 16) emu::die("ldmatrix: %p is not aligned to 16 bytes", (const void *)row);
    for (int i = 0; i < 8; i++) m.row[i] = row[i];
  }
  emu::collective(Transposed ? "ldmatrix.trans" : "ldmatrix", &m, load_all<N, Transposed>);
}
TILE void load4(u32 (&r)[4], const bf16 *row) { load<4, false>(r, row); }
TILE void load4t(u32 (&r)[4], const bf16 *row) { load<4, true>(r, row); }
TILE void load2(u32 (&r)[2], const bf16 *row) { load<2, false>(r, row); }
TILE void load2t(u32 (&r)[2], const bf16 *row) { load<2, true>(r, row); }

// A Product is a lane's operands of mma.
struct Product {
  float *d;
  const u32 *a;
  u32 b[2];
};

// product multiplies. Where a lane's operands stand in the matrices is PTX's table: lane/4 is the
// group, and lane%4 the place in it.
template <bool Tf32>
EMU_RAW void product(void **of) {
  constexpr int K = Tf32 ? 8 : 16;
  float a[16][K], b[8][K];
  for (int lane = 0; lane < 32; lane++) {
    Product &p = *(Product *)of[lane];
    int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {
      int row = g + i % 2 * 8, col = Tf32 ? t + i / 2 * 4 : 2 * t + i / 2 * 8;
      if (Tf32) {
        a[row][col] = float_of(p.a[i] & 0xffffe000);
      } else {
        a[row][col] = float_of(p.a[i] << 16);
        a[row][col + 1] = float_of(p.a[i] & 0xffff0000);
      }
    }
    for (int i = 0; i < 2; i++) {
      int col = Tf32 ? t + i * 4 : 2 * t + i * 8;
      if (Tf32) {
        b[g][col] = float_of(p.b[i] & 0xffffe000);
      } else {
        b[g][col] = float_of(p.b[i] << 16);
        b[g][col + 1] = float_of(p.b[i] & 0xffff0000);
      }
    }
  }
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 4; i++) {
      int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
      float sum = 0;
      for (int k = 0; k < K; k++) sum += a[row][k] * b[col][k];
      ((Product *)of[lane])->d[i] += sum;
    }
}
TILE void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  Product p{d, a, {b0, b1}};
  emu::collective("mma.m16n8k16", &p, product<false>);
}
TILE void mma_tf32(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  Product p{d, a, {b0, b1}};
  emu::collective("mma.m16n8k8.tf32", &p, product<true>);
}

TILE u32 rounded(float x) {  // to bf16, to nearest even
  u32 b = bits_of(x);
  return x != x ? 0x7fff : (b + 0x7fff + (b >> 16 & 1)) >> 16;
}
TILE u32 pack(float lo, float hi) { return rounded(lo) | rounded(hi) << 16; }
TILE float power2(float x) { return exp2f(x); }
TILE float log2_(float x) { return log2f(x); }

template <class T, int Lanes>
EMU_RAW void exchange(void **of) {
  T all[32];
  for (int i = 0; i < 32; i++) all[i] = *(T *)of[i];
  for (int i = 0; i < 32; i++) *(T *)of[i] = all[i ^ Lanes];
}
template <class T>
T shuffle_xor_of(T x, int lanes) {
  void (*const by[])(void **) = {exchange<T, 1>, exchange<T, 2>, exchange<T, 4>, exchange<T, 8>,
                                 exchange<T, 16>};
  emu::collective("shfl.xor", &x, by[__builtin_ctz(lanes)]);
  return x;
}
TILE float shuffle_xor(float x, int lanes) { return shuffle_xor_of(x, lanes); }
TILE double shuffle_xor(double x, int lanes) { return shuffle_xor_of(x, lanes); }

TILE void add_atomically(float *to, float x) {
  u32 old = __atomic_load_n((u32 *)to, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n((u32 *)to, &old, bits_of(float_of(old) + x), true,
                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

TILE float reciprocal(float x) { return 1 / x; }
TILE u64 high(u64 a, u64 b) { return (u64)((unsigned __int128)a * b >> 64); }

TILE void claim(u32 *at, u32 value) {
  u32 none = 0;
  __atomic_compare_exchange_n(at, &none, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

#endif

TILE float minus_infinity() { return float_of(0xff800000); }

// widen is the value of bf16 bits. narrow rounds to them.
TILE float widen(bf16 bits) { return float_of((u32)bits << 16); }
TILE bf16 narrow(float x) { return (bf16)pack(x, 0); }

// get and put read and write a value of either type as a float32.
TILE float get(const float *p) { return *p; }
TILE float get(const bf16 *p) { return widen(*p); }
TILE void put(float *p, float x) { *p = x; }
TILE void put(bf16 *p, float x) { *p = narrow(x); }

// unpack is the 4 float32 or 8 bf16 values of a vector. packed is the vector of values, which are
// rounded if they are bf16.
TILE void unpack(const Vector &v, float (&x)[4]) {
  UNROLL
  for (int i = 0; i < 4; i++) x[i] = float_of(v.word[i]);
}
TILE void unpack(const Vector &v, float (&x)[8]) {
  UNROLL
  for (int i = 0; i < 4; i++) {
    x[2 * i] = float_of(v.word[i] << 16);
    x[2 * i + 1] = float_of(v.word[i] & 0xffff0000);
  }
}
TILE Vector packed(const float (&x)[4]) {
  return {{bits_of(x[0]), bits_of(x[1]), bits_of(x[2]), bits_of(x[3])}};
}
TILE Vector packed(const float (&x)[8]) {
  return {{pack(x[0], x[1]), pack(x[2], x[3]), pack(x[4], x[5]), pack(x[6], x[7])}};
}

// warp_sum is the sum of x over the lanes of the warp, in each of them.
template <class T>
TILE T warp_sum(T x) {
  UNROLL
  for (int lanes = 16; lanes > 0; lanes /= 2) x += shuffle_xor(x, lanes);
  return x;
}

// block_sum is the sum of x over the block's threads, in each of them. Threads is their number, a
// multiple of 32. memory is shared, for Threads/32 values, and the block is past its last use.
template <int Threads, class T>
TILE T block_sum(T x, T *memory) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) memory[threadIdx.x / 32] = x;
  sync_block();
  T sum = 0;
  UNROLL
  for (int i = 0; i < Threads / 32; i++) sum += memory[i];
  sync_block();
  return sum;
}
