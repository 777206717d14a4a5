// product_bf16.cuh multiplies matrices of bf16 on tensor cores, with float32 sums, for gemm_bf16.cu
// and conv_bf16.cu. The factors lie in memory as matrices do, or as convolutions read them: see
// Matrix, Windows and Weights.
//
// A block computes a tile of C. It walks over K in steps of kDepth. The parts of A and B that a
// step needs are copied to shared memory kStages−1 steps ahead. A product of few tiles is cut along
// K too: each block then writes partial sums, which gemm_sum_bf16 adds in order.
#pragma once
#include "epilogue.cuh"

namespace product_bf16 {

constexpr int kDepth = 32;  // of a step along K
constexpr int kStages = 4;  // steps whose parts of A and B are in shared memory
constexpr int kGemmThreads = 128;
constexpr int kRaster = 8;  // rows of tiles that are done together, so that caches hold their parts

// A Grid is a set of positions (n,i,j) in images [N,h,w,c], numbered row by row. Position (i,j) is
// at the pixel (i·step+y, j·step+x). It stands for that pixel, or for the window that begins there.
// Pixels of a window may lie outside the image.
struct Grid {
  Division image, row;  // by how many positions an image has, and a row of it
  int h, w;
  int step, y, x;
};

// A Pixel has its number among those of all images, and its row and column.
struct Pixel {
  int number;
  int y, x;
};

TILE Pixel pixel_of(const Grid &g, int position) {
  const int n = g.image.of(position), rest = position - n * g.image.by;
  const int i = g.row.of(rest), j = rest - i * g.row.by;
  const int y = i * g.step + g.y, x = j * g.step + g.x;
  return {(n * g.h + y) * g.w + x, y, x};
}

// An Output is what becomes of a product: C[i,j] = product + bias[j], or +=, with an epilogue if C
// is bf16. Columns of B are paired for GEGLU, so that a warp has values with their gates. The
// number of ints is even, so that there is no padding.
struct Output {
  void *c;
  const float *bias;  // or null
  Epilogue<bf16> epilogue;
  u64 partial;        // values from the partial sums of one part of K to those of the next
  int n;              // columns
  int floats;         // whether C is float32
  int units;          // whether 8 values can be moved at once, from columns that are multiples of 8
  int accumulate;
  int scattered;  // whether row i of C belongs to pixel i of the grid
  Grid grid;
};
static_assert(sizeof(Grid) == 44 && sizeof(Output) == 88 + sizeof(Epilogue<bf16>), "no padding");

// A Gemm is a product of A[m,k] and B[k,n].
struct Gemm {
  const bf16 *a, *b;
  Output out;
  int m, k;
  int steps;             // along K, of a block
  int a_units, b_units;  // whether 8 values of A or B can be moved at once
  // Of convolutions:
  Grid windows;
  Division channels, columns;  // of a window [rows,columns,channels]
  // Of the gradient by a convolution's input. Tap (r,s) of a window is that of the weights
  // [channels,height,width,n] at (y − step·r, x − step·s).
  int height, width, step, y, x;
};

// A factor tells where its values are. Each stands at an index along the side of C, its outer
// index, and at one along K, its inner index. What belongs to one of the indices is computed once
// for many values. AlongK says that values of neighbouring inner indices lie side by side in
// memory, otherwise those of outer indices do. An inner index from end on gives zero.

// A Matrix is A, or else B, as it lies in memory.
template <bool AlongK, bool IsA>
struct Matrix {
  static constexpr bool kAlongK = AlongK;
  using Outer = int;
  using Inner = int;
  const Gemm &p;
  int end;

  TILE int size() const { return IsA ? p.m : p.out.n; }
  TILE bool units() const { return IsA ? p.a_units : p.b_units; }
  TILE Outer outer(int i) const {
    const bool paired = !IsA && AlongK && p.out.epilogue.half;
    return paired ? p.out.epilogue.natural<8>(i) : i;
  }
  TILE Inner inner(int k) const { return k; }
  TILE const bf16 *at(Outer i, Inner k, bool &valid) const {
    valid = k < end;
    if (!valid) k = 0;
    const bf16 *from = IsA ? p.a : p.b;
    return from + (AlongK ? (long long)i * p.k + k : (long long)k * size() + i);
  }
};

// Windows are those of a convolution. They are the rows of A, or, with IsA false, of B.
template <bool IsA>
struct Windows {
  static constexpr bool kAlongK = IsA;
  // A Place is that of a pixel where a window begins, or of a value of a window.
  struct Place {
    int pixel;    // its number
    int yx;       // y·2¹⁶ + x
    int channel;  // of a value
  };
  using Outer = Place;
  using Inner = Place;
  const Gemm &p;
  int end;

  TILE int size() const { return IsA ? p.m : p.out.n; }
  TILE bool units() const { return IsA ? p.a_units : p.b_units; }
  TILE Place window(int i) const {
    const Pixel at = pixel_of(p.windows, i);
    return {at.number, at.y * 65536 + at.x, 0};
  }
  TILE Place value(int i) const {
    const int tap = p.channels.of(i), r = p.columns.of(tap), s = tap - r * p.columns.by;
    return {r * p.windows.w + s, r * 65536 + s, i - tap * p.channels.by};
  }
  TILE Outer outer(int i) const { return IsA ? window(i) : value(i); }
  TILE Inner inner(int k) const {
    Place place = IsA ? value(k) : window(k);
    if (k >= end) place.yx = -(1 << 30);  // above every image
    return place;
  }
  TILE const bf16 *at(const Outer &o, const Inner &i, bool &valid) const {
    const int yx = o.yx + i.yx, x = (short)yx, y = (yx - x) >> 16;
    valid = (u32)y < (u32)p.windows.h && (u32)x < (u32)p.windows.w;
    const int pixel = o.pixel + i.pixel, channel = o.channel + i.channel;
    const long long at = (long long)pixel * p.channels.by + channel;
    return (IsA ? p.a : p.b) + (valid ? at : 0);
  }
};

// Weights are B for the gradient by a convolution's input. Row k = (r,s,o) belongs to tap (r,s) of
// the window and to channel o of it.
struct Weights {
  static constexpr bool kAlongK = false;
  using Outer = int;
  using Inner = int;  // the row in memory, or below 0
  const Gemm &p;
  int end;

  TILE int size() const { return p.out.n; }
  TILE bool units() const { return p.b_units; }
  TILE Outer outer(int i) const { return i; }
  TILE Inner inner(int k) const {
    const int tap = p.channels.of(k), r = p.columns.of(tap), s = tap - r * p.columns.by;
    const int o = k - tap * p.channels.by;
    return k < end ? (o * p.height + p.y - p.step * r) * p.width + p.x - p.step * s : -1;
  }
  TILE const bf16 *at(Outer i, Inner row, bool &valid) const {
    valid = row >= 0;
    return p.b + (valid ? (long long)row * p.out.n + i : 0);
  }
};

// place is where unit i, 8 values, of a row of a tile in shared memory begins. Rows are along K and
// 4 units long, or along C and Size/8 units. Units are exchanged so that ldmatrix finds those of 8
// rows in different banks.
template <bool AlongK, int Size>
TILE int place(int row, int i) {
  if (AlongK) return row * kDepth + (i ^ row / 2 % 4) * 8;
  return row * Size + (i ^ row % 8) * 8;
}

// A Loader copies tiles of a factor to shared memory. Size is the tile's along C. Each thread
// copies the same places of all tiles. With Elements, tiles are copied value by value if they must.
template <class Factor, int Size, bool Elements>
struct Loader {
  static constexpr bool kAlongK = Factor::kAlongK;
  static constexpr int kUnits = kAlongK ? kDepth / 8 : Size / 8;  // of a row
  static constexpr int kRows = kGemmThreads / kUnits;             // that are copied at once
  static constexpr int kCopies = (kAlongK ? Size : kDepth) / kRows;
  static_assert(kRows % 8 == 0, "a thread's places are alike in all rows");

  Factor factor;
  int first, row, unit;
  typename Factor::Outer outer[kAlongK ? kCopies : 1];

  TILE Loader(const Gemm &p, int first, int end)
      : factor{p, end}, first(first), row(threadIdx.x / kUnits), unit(threadIdx.x % kUnits) {
    UNROLL
    for (int i = 0; i < (kAlongK ? kCopies : 1); i++)
      outer[i] = outer_of(kAlongK ? row + i * kRows : unit * 8);
  }

  // outer_of is for an index in the tile. Behind the last one any will do: what is computed from it
  // is dropped.
  TILE typename Factor::Outer outer_of(int i) const {
    return factor.outer(first + i < factor.size() ? first + i : 0);
  }

  TILE void copy(bf16 *tile, int k0) const {
    if (Elements && !factor.units()) {
      copy_elements(tile, k0);
      return;
    }
    if (kAlongK) {
      const typename Factor::Inner inner = factor.inner(k0 + unit * 8);
      UNROLL
      for (int i = 0; i < kCopies; i++) copy_unit(tile, i, outer[kAlongK ? i : 0], inner);
    } else {
      UNROLL
      for (int i = 0; i < kCopies; i++)
        copy_unit(tile, i, outer[0], factor.inner(k0 + row + i * kRows));
    }
  }

  TILE void copy_unit(bf16 *tile, int i, const typename Factor::Outer &o,
                      const typename Factor::Inner &inner) const {
    bool valid;
    const bf16 *from = factor.at(o, inner, valid);
    copy16(tile + place<kAlongK, Size>(row + i * kRows, unit), from, valid);
  }

  TILE void copy_elements(bf16 *tile, int k0) const {
    for (int i = 0; i < kCopies; i++) {
      const int r = row + i * kRows;
      u32 value[8];
      UNROLL
      for (int e = 0; e < 8; e++) {
        const int in = unit * 8 + e;
        bool valid;
        const bf16 *from = factor.at(outer_of(kAlongK ? r : in),
                                     factor.inner(k0 + (kAlongK ? in : r)), valid);
        value[e] = valid ? *from : 0;
      }
      Vector v;
      UNROLL
      for (int e = 0; e < 4; e++) v.word[e] = value[2 * e] | value[2 * e + 1] << 16;
      *(Vector *)(tile + place<kAlongK, Size>(r, unit)) = v;
    }
  }
};

// fragments loads a block of a tile in shared memory, 16 outer indices from i and 16 inner ones
// from k, as four matrices of 8×8. Lanes whose number has the bit outer8 point at the second 8
// outer indices, those with inner8 at the second 8 inner ones.
template <bool AlongK, int Size>
TILE void fragments(u32 (&r)[4], const bf16 *tile, int i, int k, int outer8, int inner8) {
  const int lane = threadIdx.x % 32;
  const int o = i + lane / outer8 % 2 * 8, n = k + lane / inner8 % 2 * 8;
  if (AlongK)
    load4(r, tile + place<true, Size>(o + lane % 8, n / 8));
  else
    load4t(r, tile + place<false, Size>(n + lane % 8, o / 8));
}

// gemm computes a tile of M×N values of C. A warp computes WarpM×WarpN of them. finish(row, column,
// x, ahead) gets 8 values that are side by side, at a column that is a multiple of 8, and what
// finish.ahead(row, column) has read before.
template <class FactorA, class FactorB, int M, int N, int WarpM, int WarpN, bool Elements,
          class Finish>
TILE void gemm(const Gemm &p, Finish finish) {
  constexpr int kRowWarps = M / WarpM, kSteps = kDepth / 16;
  constexpr int kRows = WarpM / 16, kColumns = WarpN / 16;  // blocks of 16 of a warp
  constexpr int kStage = (M + N) * kDepth;
  static_assert(kRowWarps * (N / WarpN) * 32 == kGemmThreads && kSteps == 2, "warps fill the tile");
  constexpr bool kAlongA = FactorA::kAlongK, kAlongB = FactorB::kAlongK;
  SHARED(memory);
  bf16 *stages = (bf16 *)memory;

  // Tiles are numbered down kRaster rows of tiles, then to the right.
  const int rows = (p.m + M - 1) / M, columns = (p.out.n + N - 1) / N;
  const int band = (int)blockIdx.x / (kRaster * columns);
  const int in_band = (int)blockIdx.x - band * kRaster * columns;
  const int height = min(rows - band * kRaster, kRaster);
  const int m0 = (band * kRaster + in_band % height) * M, n0 = in_band / height * N;

  // Behind the last step zeros are copied, which nobody reads: without a branch, copies mix with
  // products.
  const int begin = (int)blockIdx.z * p.steps * kDepth, end = min(begin + p.steps * kDepth, p.k);
  const int steps = (end - begin + kDepth - 1) / kDepth;
  const Loader<FactorA, M, Elements> a(p, m0, end);
  const Loader<FactorB, N, Elements> b(p, n0, end);
  auto copy = [&](int step) {
    bf16 *to = stages + step % kStages * kStage;
    a.copy(to, begin + step * kDepth);
    b.copy(to + M * kDepth, begin + step * kDepth);
    copy_commit();
  };

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warp_m = warp % kRowWarps * WarpM, warp_n = warp / kRowWarps * WarpN;
  u32 fa[2][kRows][4], fb[2][kColumns][4];
  float sum[kRows][2 * kColumns][4];
  UNROLL
  for (int i = 0; i < kRows; i++) {
    UNROLL
    for (int j = 0; j < 2 * kColumns; j++) {
      UNROLL
      for (int e = 0; e < 4; e++) sum[i][j][e] = 0;
    }
  }
  auto load = [&](int to, int step, int k) {
    const bf16 *from = stages + step % kStages * kStage;
    UNROLL
    for (int i = 0; i < kRows; i++)
      fragments<kAlongA, M>(fa[to][i], from, warp_m + i * 16, k, 8, 16);
    UNROLL
    for (int j = 0; j < kColumns; j++)
      fragments<kAlongB, N>(fb[to][j], from + M * kDepth, warp_n + j * 16, k, 16, 8);
  };

  UNROLL
  for (int i = 0; i < kStages - 1; i++) copy(i);
  copy_wait<kStages - 2>();
  sync_block();
  load(0, 0, 0);
  for (int step = 0; step < steps; step++) {
    UNROLL
    for (int k = 0; k < kSteps; k++) {
      // The next fragments are loaded before the present ones are multiplied. The last fragments of
      // a step are loaded before the barrier, so all threads are past that step's memory behind it.
      if (k + 1 < kSteps) {
        load((k + 1) % 2, step, (k + 1) * 16);
        copy(step + kStages - 1);
      } else {
        copy_wait<kStages - 2>();
        sync_block();
        load((k + 1) % 2, step + 1, 0);
      }
      UNROLL
      for (int i = 0; i < kRows; i++) {
        UNROLL
        for (int j = 0; j < kColumns; j++) {
          mma(sum[i][2 * j], fa[k % 2][i], fb[k % 2][j][0], fb[k % 2][j][1]);
          mma(sum[i][2 * j + 1], fa[k % 2][i], fb[k % 2][j][2], fb[k % 2][j][3]);
        }
      }
    }
  }
  copy_wait<0>();
  sync_block();

  // A warp moves its sums from fragments to rows, through shared memory of its own. Units of 8 are
  // exchanged so that 4 rows, of which lanes have the same columns, are in different banks.
  float *own = (float *)memory + warp * WarpM * WarpN;
  UNROLL
  for (int i = 0; i < kRows; i++) {
    UNROLL
    for (int j = 0; j < 2 * kColumns; j++) {
      const int row = i * 16 + lane / 4;
      float *to = own + row * WarpN + (j ^ row % 4) * 8 + lane % 4 * 2;
      to[0] = sum[i][j][0], to[1] = sum[i][j][1];
      to[8 * WarpN] = sum[i][j][2], to[8 * WarpN + 1] = sum[i][j][3];
    }
  }
  sync_warp();

  // A lane has a unit of several rows. What it reads for the next rows is on its way while it does
  // one. Of paired columns a lane does a unit of values with the gates in the unit to the right.
  constexpr int kUnits = WarpN / 8, kAtOnce = 32 / kUnits, kTurns = WarpM / kAtOnce, kAhead = 4;
  const int unit = lane % kUnits, paired = n0 + warp_n + unit * 8;
  if (paired >= p.out.n || (finish.gates() && unit % 2)) return;
  const int column = p.out.epilogue.half ? p.out.epilogue.natural<8>(paired) : paired;
  const int first = lane / kUnits, row0 = m0 + warp_m + first;
  typename Finish::Ahead ahead[kAhead];
  UNROLL
  for (int i = 0; i < kAhead; i++)
    if (i < kTurns && row0 + i * kAtOnce < p.m) ahead[i] = finish.ahead(row0 + i * kAtOnce, column);
  ROLLED
  for (int turn = 0; turn < kTurns; turn++) {
    const int r = first + turn * kAtOnce, row = row0 + turn * kAtOnce;
    if (row >= p.m) break;
    const auto now = ahead[0];
    UNROLL
    for (int i = 0; i < kAhead - 1; i++) ahead[i] = ahead[i + 1];
    const int later = row + kAhead * kAtOnce;
    if (turn + kAhead < kTurns && later < p.m) ahead[kAhead - 1] = finish.ahead(later, column);
    float x[8];
    load_row(x, own + r * WarpN + (unit ^ r % 4) * 8, true, 8);
    if (finish.gates()) {
      float gate[8];
      load_row(gate, own + r * WarpN + ((unit + 1) ^ r % 4) * 8, true, 8);
      finish(row, column, x, gate);
    } else {
      finish(row, column, x, now);
    }
  }
}

// A Store finishes a product by doing what Output says, and storing the result. Functions says
// whether there may be a function to apply.
template <bool Functions>
struct Store {
  const Output &o;
  u64 part;  // of K

  TILE bool gates() const { return Functions && o.epilogue.gates(); }

  // An Ahead is where 8 values are stored, and what is added to them.
  struct Ahead {
    u64 at;
    Epilogue<bf16>::Ahead epilogue;
  };
  TILE Ahead ahead(int row, int column) const {
    const u64 i = o.scattered ? pixel_of(o.grid, row).number : row, at = i * o.n + column;
    return {at, o.epilogue.ahead(at, o.units)};
  }

  TILE void operator()(int row, int column, float (&x)[8], const Ahead &ahead) const {
    const bool units = o.units;
    const int n = o.n - column;
    add_bias(x, column);
    o.epilogue.template finish<Functions>(x, row, column, o.n, ahead.at, ahead.epilogue, units, n);
    if (o.floats)
      store((float *)o.c + part * o.partial + ahead.at, x, units, n);
    else
      store((bf16 *)o.c + ahead.at, x, units, n);
  }

  // This is for 8 values and their gates. All of them are there.
  TILE void operator()(int row, int column, float (&x)[8], float (&gate)[8]) const {
    const int half = o.epilogue.half;
    add_bias(x, column), add_bias(gate, half + column);
    o.epilogue.finish_gated(x, gate, (u64)row * o.n + column, o.units);
    store_row((bf16 *)o.c + (u64)row * half + column, x, o.units, 8);
  }

  TILE void add_bias(float (&x)[8], int column) const {
    if (!o.bias) return;
    float more[8];
    load_row(more, o.bias + column, o.units, o.n - column);
    UNROLL
    for (int e = 0; e < 8; e++) x[e] += more[e];
  }

  template <class T>
  TILE void store(T *to, float (&x)[8], bool units, int n) const {
    if (o.accumulate) {
      float more[8];
      load_row(more, to, units, n);
      UNROLL
      for (int e = 0; e < 8; e++) x[e] += more[e];
    }
    store_row(to, x, units, n);
  }
};

}  // namespace product_bf16

// GEMMS defines a kernel for each tile. The last one is for factors that are not read in units of 8
// values. The tiles are those of gemm_bf16.go. functions says whether there are functions to apply.
#define GEMMS(name, A, B, functions)                                                  \
  KERNEL(name##_128x128_bf16, Gemm, kGemmThreads, 2) {                                \
    gemm<A, B, 128, 128, 64, 64, false>(p, Store<functions>{p.out, blockIdx.z});      \
  }                                                                                   \
  KERNEL(name##_128x64_bf16, Gemm, kGemmThreads, 3) {                                 \
    gemm<A, B, 128, 64, 64, 32, false>(p, Store<functions>{p.out, blockIdx.z});       \
  }                                                                                   \
  KERNEL(name##_64x64_bf16, Gemm, kGemmThreads, 4) {                                  \
    gemm<A, B, 64, 64, 32, 32, false>(p, Store<functions>{p.out, blockIdx.z});        \
  }                                                                                   \
  KERNEL(name##_elements_bf16, Gemm, kGemmThreads, 2) {                               \
    gemm<A, B, 64, 64, 32, 32, true>(p, Store<functions>{p.out, blockIdx.z});         \
  }
