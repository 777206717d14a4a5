// attention.cuh has what the kernels of attention share: the sizes of heads, tiles in shared memory
// and products of them. Operands are [N,L,Heads·D] in bf16.
#pragma once
#include "tile.cuh"

// HEAD_SIZES applies x to each size of heads that there are kernels for. The emulation is for tests
// and has fewer: the miniature's (8, 16, 24, 32), Stable Diffusion's (40, 64, 80, 160), and one for
// each other choice of tiles. Sanitizers take long to compile, and do without the third group.
#if defined(__CUDACC__)
#define HEAD_SIZES(x)                                                              \
  x(8) x(16) x(24) x(32) x(40) x(48) x(56) x(64) x(72) x(80) x(88) x(96) x(104)    \
      x(112) x(120) x(128) x(136) x(144) x(152) x(160) x(192) x(256)
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HEAD_SIZES(x) x(8) x(16) x(24) x(32) x(40) x(64) x(80) x(160)
#else
#define HEAD_SIZES(x) \
  x(8) x(16) x(24) x(32) x(40) x(64) x(80) x(160) x(72) x(96) x(128) x(136) x(192) x(256)
#endif

// UNROLLED(n) unrolls a loop n times. More would take more registers than there are.
#if defined(__CUDACC__)
#define PRAGMA(x) _Pragma(#x)
#define UNROLLED(n) PRAGMA(unroll n)
#else
#define UNROLLED(n) UNROLL
#endif

constexpr float kLog2E = 1.44269504f, kLn2 = 0.69314718f;

// steps_of is n as a multiple of 16, which is what mma sums over.
TILE constexpr int steps_of(int n) { return (n + 15) / 16 * 16; }

// stride_of is how far apart rows of n values are in shared memory. It is an odd number of 16-byte
// units, so that 8 rows that are loaded together are in different banks.
TILE constexpr int stride_of(int n) { return (n / 8 | 1) * 8; }

// A Pair is two values that are moved at once.
struct alignas(8) Pair {
  float x, y;
};

// A Part is the rows of one head of one sample.
template <class T>
struct Part {
  T *at;
  int rows, width;  // width is what is between rows
};

template <class T>
TILE Part<T> part(T *of, int n, int head, int heads, int rows, int d) {
  return {of + ((u64)n * rows * heads + head) * d, rows, heads * d};
}

// fetch begins to copy n rows of D values, from the first on, with Threads threads. Rows that are
// not there are zeros. Where addresses are no multiples of 16, it is done when fetch returns.
template <int D, int Threads>
TILE void fetch(bf16 *to, int stride, Part<const bf16> from, int first, int n, bool aligned) {
  constexpr int Units = D / 8;
  for (int i = threadIdx.x; i < n * Units; i += Threads) {
    const int row = i / Units, unit = i % Units;
    const bool valid = first + row < from.rows;
    bf16 *at = to + row * stride + unit * 8;
    const bf16 *x = from.at + (u64)(valid ? first + row : 0) * from.width + unit * 8;
    if (aligned) {
      copy16(at, x, valid);
    } else {
      for (int k = 0; k < 8; k++) at[k] = valid ? x[k] : 0;
    }
  }
}

// store copies rows of D values from shared memory, with the lanes of a warp. Rows that are not
// there are left out.
template <int D>
TILE void store(Part<bf16> to, int first, int n, const bf16 *from, int stride, bool aligned) {
  constexpr int Units = D / 8;
  for (int i = threadIdx.x % 32; i < n * Units; i += 32) {
    const int row = i / Units, unit = i % Units;
    if (first + row >= to.rows) break;
    bf16 *at = to.at + (u64)(first + row) * to.width + unit * 8;
    const bf16 *x = from + row * stride + unit * 8;
    if (aligned) {
      *(Vector *)at = *(const Vector *)x;
    } else {
      for (int k = 0; k < 8; k++) at[k] = x[k];
    }
  }
}

// clear_padding writes zeros behind the D values of rows, up to a multiple of 16. No copy writes
// there, but products read it.
template <int D, int Threads>
TILE void clear_padding(bf16 *rows, int stride, int n) {
  if constexpr (D % 16 != 0) {
    for (int i = threadIdx.x; i < n; i += Threads) *(Vector *)(rows + i * stride + D) = Vector{};
  }
}

// turn waits for a tile and begins to fetch the next one into the other of two buffers.
template <class Fetch>
TILE void turn(int tile, int last, Fetch fetch) {
  copy_wait<0>();
  sync_block();  // the tile is there, and nobody reads the other buffer any more
  if (tile + 1 < last) fetch(tile + 1);
  copy_commit();
}

// walk does the tiles from first to before last, those before middle in one way and the rest in
// another. While it does one, the next is fetched. When it returns all copies are done, and nobody
// reads shared memory any more.
template <class Fetch, class Before, class From>
TILE void walk(int first, int middle, int last, Fetch fetch, Before before, From from) {
  if (first < last) fetch(first);
  copy_commit();
  int tile = first;
  for (; tile < middle; tile++) turn(tile, last, fetch), before(tile);
  for (; tile < last; tile++) turn(tile, last, fetch), from(tile);
  turn(last, last, fetch);
}

// A Factor is a left factor: Rows·16 rows of Depth values, for a warp. If it is Held, it is loaded
// once and stays in registers. Otherwise each product loads it.
template <int Rows, int Depth, bool Held>
struct Factor {
  const bf16 *at;  // what the lane points at
  u32 held[Held ? Rows : 1][Held ? Depth / 16 : 1][4];

  TILE Factor(const bf16 *rows, int lane)
      : at(rows + lane % 16 * stride_of(Depth) + lane / 16 * 8) {}

  TILE void hold() {
    if constexpr (Held) {
      UNROLL
      for (int d = 0; d < Depth / 16; d++) {
        UNROLL
        for (int r = 0; r < Rows; r++) load4(held[r][d], at + r * 16 * stride_of(Depth) + d * 16);
      }
    }
  }

  // columns is f = the fragments of columns 16·d to 16·d+15.
  TILE void columns(u32 (&f)[Rows][4], int d) const {
    UNROLL
    for (int r = 0; r < Rows; r++) {
      if constexpr (Held) {
        UNROLL
        for (int i = 0; i < 4; i++) f[r][i] = held[r][d][i];
      } else {
        load4(f[r], at + r * 16 * stride_of(Depth) + d * 16);
      }
    }
  }
};

// transposed_product is c = a·bᵀ, where b has N rows. Those from limit on, a multiple of 16, are
// not multiplied, and c has zeros there.
template <int N, int Rows, int Depth, bool Held>
TILE void transposed_product(float (&c)[Rows][N / 8][4], const Factor<Rows, Depth, Held> &a,
                             const bf16 *b, int limit, int lane) {
  constexpr int Stride = stride_of(Depth);
  b += (lane / 16 * 8 + lane % 8) * Stride + lane / 8 % 2 * 8;
  UNROLL
  for (int r = 0; r < Rows; r++) {
    UNROLL
    for (int j = 0; j < N / 8; j++) c[r][j][0] = c[r][j][1] = c[r][j][2] = c[r][j][3] = 0;
  }
  UNROLL
  for (int d = 0; d < Depth / 16; d++) {
    u32 f[Rows][4], g[4];
    a.columns(f, d);
    UNROLL
    for (int j = 0; j < N / 16; j++) {
      if (16 * j >= limit) continue;
      load4(g, b + j * 16 * Stride + d * 16);
      UNROLL
      for (int r = 0; r < Rows; r++) {
        mma(c[r][2 * j], f[r], g[0], g[1]);
        mma(c[r][2 * j + 1], f[r], g[2], g[3]);
      }
    }
  }
}

// rounded_columns is a = columns 16·j to 16·j+15 of the result c of a product, as fragments of a
// left factor.
template <int Rows, int Columns>
TILE void rounded_columns(u32 (&a)[Rows][4], const float (&c)[Rows][Columns][4], int j) {
  UNROLL
  for (int r = 0; r < Rows; r++) {
    UNROLL
    for (int i = 0; i < 4; i++)
      a[r][i] = pack(c[r][2 * j + i / 2][i % 2 * 2], c[r][2 * j + i / 2][i % 2 * 2 + 1]);
  }
}

// add_product is c += a·b, where b has 16 rows, of Columns·8 values, Stride apart.
template <int Stride, int Rows, int Columns>
TILE void add_product(float (&c)[Rows][Columns][4], const u32 (&a)[Rows][4], const bf16 *b,
                      int lane) {
  b += lane % 16 * Stride;
  UNROLL
  for (int i = 0; i + 1 < Columns; i += 2) {
    u32 f[4];
    load4t(f, b + (i + lane / 16) * 8);
    UNROLL
    for (int r = 0; r < Rows; r++) {
      mma(c[r][i], a[r], f[0], f[1]);
      mma(c[r][i + 1], a[r], f[2], f[3]);
    }
  }
  if constexpr (Columns % 2 == 1) {
    u32 f[2];
    load2t(f, b + (Columns - 1) * 8);
    UNROLL
    for (int r = 0; r < Rows; r++) mma(c[r][Columns - 1], a[r], f[0], f[1]);
  }
}

// factor is what row g+8·h of 16 rows is multiplied by.
template <int Rows>
TILE float factor(const float (&by)[Rows][2], int r, int h) { return by[r][h]; }
TILE float factor(float by, int, int) { return by; }

// write_rows writes c, times by, to shared memory as bf16. by is one factor, or one for each row.
template <int Stride, int Rows, int Columns, class By>
TILE void write_rows(bf16 *to, const float (&c)[Rows][Columns][4], const By &by, int lane) {
  UNROLL
  for (int r = 0; r < Rows; r++) {
    UNROLL
    for (int h = 0; h < 2; h++) {
      bf16 *row = to + (r * 16 + h * 8 + lane / 4) * Stride + lane % 4 * 2;
      const float a = factor(by, r, h);
      UNROLL
      for (int i = 0; i < Columns; i++)
        *(u32 *)(row + i * 8) = pack(c[r][i][2 * h] * a, c[r][i][2 * h + 1] * a);
    }
  }
}
