// product_f32.cuh multiplies matrices of float32 by fmaf, for gemm_f32.cu and conv_f32.cu. They say
// what the matrices are.
//
// A block computes a tile of C = A·B. It copies tiles of A and B, kDepth deep, to shared memory,
// and adds up their products in registers. While it multiplies one pair of tiles, the next is on
// its way from global memory to registers. From there it goes to a second place in shared memory.
// Each value of C is one sum in the order of k.
//
// An operand says where its elements are. The outer index is the row of A or the column of B:
//
//	kAlongK             whether neighbours in memory are neighbours in k, or in the outer index
//	vector              whether neighbours can be read 4 at once: whether the address is a
//	                    multiple of 16, and all extents in their direction are multiples of 4
//	place(outer)        what is to know of an outer index, which may be out of bounds
//	depth(k)            what is to know of a k, which is in bounds
//	find(place, depth)  the element, or null if it is zero
#pragma once
#include "epilogue.cuh"

constexpr int kDepth = 16;

// A Matrix is an operand that lies in memory as a matrix whose rows are stride values apart.
template <bool AlongK>
struct Matrix {
  static constexpr bool kAlongK = AlongK;
  typedef const float *Place;
  typedef u64 Depth;

  const float *data;
  u64 stride;
  int count;  // outer indices
  int vector;
  const Epilogue<float> *paired = nullptr;  // what says how outer indices are paired, or null

  TILE Place place(int outer) const {
    if (outer >= count) return nullptr;
    if (AlongK && paired) outer = paired->natural<2>(outer);
    return data + (AlongK ? outer * stride : outer);
  }
  TILE Depth depth(int k) const { return AlongK ? k : k * stride; }
  TILE const float *find(Place p, Depth d) const { return p ? p + d : nullptr; }
};

// A Feed brings the tiles of an operand to shared memory. Outer is their size. A thread brings
// Count times 4 values that are neighbours in memory.
//
// In shared memory a tile is [kDepth][Outer]. The outer indices of row k are exchanged as
// swizzle(k) says. So threads that transpose what they bring write to different banks. 4 values
// that are read at once stay together.
TILE int swizzle(int k) { return k / 4 % 4 * 8; }

template <int Outer, int Threads, class Operand>
struct Feed {
  static constexpr bool kAlongK = Operand::kAlongK;
  static constexpr int Units = (kAlongK ? kDepth : Outer) / 4;  // of 4 neighbours
  static constexpr int Count = Outer * kDepth / 4 / Threads, Step = Threads / Units;
  static_assert(Threads % Units == 0 && Count > 0, "threads bring whole units");

  typename Operand::Place place[kAlongK ? Count : 1];
  float value[Count][4];
  int first;  // the tile's first outer index

  TILE int unit() const { return threadIdx.x % Units * 4; }
  TILE int row(int i) const { return threadIdx.x / Units + i * Step; }

  TILE void begin(const Operand &x, int outer) {
    first = outer;
    UNROLL
    for (int i = 0; i < (kAlongK ? Count : 1); i++)
      place[i] = x.place(first + (kAlongK ? row(i) : unit()));
  }

  // load reads the tile that begins at k. What is at end and behind it counts as zero.
  TILE void load(const Operand &x, int k, int end) {
    UNROLL
    for (int i = 0; i < Count; i++) {
      UNROLL
      for (int j = 0; j < 4; j++) value[i][j] = 0;
    }
    if constexpr (kAlongK) {
      if (x.vector) {
        if (k + unit() >= end) return;
        const auto depth = x.depth(k + unit());
        UNROLL
        for (int i = 0; i < Count; i++)
          if (const float *from = x.find(place[i], depth)) unpack(*(const Vector *)from, value[i]);
        return;
      }
      UNROLL
      for (int j = 0; j < 4; j++) {
        if (k + unit() + j >= end) break;
        const auto depth = x.depth(k + unit() + j);
        UNROLL
        for (int i = 0; i < Count; i++)
          if (const float *from = x.find(place[i], depth)) value[i][j] = *from;
      }
    } else {
      UNROLL
      for (int i = 0; i < Count; i++) {
        if (k + row(i) >= end) break;
        const auto depth = x.depth(k + row(i));
        if (x.vector) {
          if (const float *from = x.find(place[0], depth)) unpack(*(const Vector *)from, value[i]);
          continue;
        }
        UNROLL
        for (int j = 0; j < 4; j++)
          if (const float *from = x.find(x.place(first + unit() + j), depth)) value[i][j] = *from;
      }
    }
  }

  // store writes what load has read to shared memory.
  TILE void store(float *tile) const {
    UNROLL
    for (int i = 0; i < Count; i++) {
      if constexpr (kAlongK) {
        UNROLL
        for (int j = 0; j < 4; j++)
          tile[(unit() + j) * Outer + (row(i) ^ swizzle(unit()))] = value[i][j];
      } else {
        *(Vector *)(tile + row(i) * Outer + (unit() ^ swizzle(row(i)))) = packed(value[i]);
      }
    }
  }
};

// A Tile is a block's part of C, Rows×Cols. Lanes of a warp are 4×8. A thread has TM×TN values, in
// groups of 4×4.
template <int Rows_, int Cols_, int TM_, int TN_>
struct Tile {
  static constexpr int Rows = Rows_, Cols = Cols_, TM = TM_, TN = TN_;
  static constexpr int WarpRows = 4 * TM, WarpCols = 8 * TN;
  static constexpr int Threads = Rows / WarpRows * (Cols / WarpCols) * 32;
  static constexpr int Shared = 2 * kDepth * (Rows + Cols) * 4;

  // row and col are where the first of a thread's 4×4 values in a group are, in the tile.
  static TILE int row(int group) {
    return threadIdx.x / 32 / (Cols / WarpCols) * WarpRows + group * 16 + threadIdx.x % 32 / 8 * 4;
  }
  static TILE int col(int group) {
    return threadIdx.x / 32 % (Cols / WarpCols) * WarpCols + group * 32 + threadIdx.x % 8 * 4;
  }
};
typedef Tile<128, 64, 8, 8> LargeTile;
typedef Tile<64, 64, 8, 4> SmallTile;

// multiply_step adds the product of two tiles in shared memory to sum.
template <class T>
TILE void multiply_step(float (&sum)[T::TM][T::TN], const float *a, const float *b) {
  UNROLL
  for (int k = 0; k < kDepth; k++) {
    float x[T::TM / 4][4], y[T::TN / 4][4];
    UNROLL
    for (int g = 0; g < T::TM / 4; g++)
      unpack(*(const Vector *)(a + k * T::Rows + (T::row(g) ^ swizzle(k))), x[g]);
    UNROLL
    for (int g = 0; g < T::TN / 4; g++)
      unpack(*(const Vector *)(b + k * T::Cols + (T::col(g) ^ swizzle(k))), y[g]);
    UNROLL
    for (int i = 0; i < T::TM; i++) {
      UNROLL
      for (int j = 0; j < T::TN; j++) sum[i][j] = fmaf(x[i / 4][i % 4], y[j / 4][j % 4], sum[i][j]);
    }
  }
}

// A Result is where a product goes. If k is cut into several parts, the sums over each part go to
// parts, and a second kernel adds them. Then there is an epilogue to the second kernel alone.
struct Result {
  float *c;           // [rows,cols]
  const float *bias;  // [cols], or null
  float *parts;       // [parts][size] if there are several parts
  Epilogue<float> epilogue;
  u64 size;           // rows·cols of all of C
  int cols;
  int accumulate;
  int vector;  // whether 4 neighbours can be written at once
};

// put_pairs writes two values at a column of a row, with their gates, or the result of them.
TILE void put_pairs(const float (&x)[2], const float (&gate)[2], const Result &r, float *to,
                    int row, int col) {
  const int half = r.epilogue.half;
  const u64 place = (u64)row * r.cols + col;
  if (!r.epilogue.gates()) {  // these are parts
    store_row(to + place, x, false, 2), store_row(to + place + half, gate, false, 2);
    return;
  }
  float v[2] = {x[0], x[1]}, w[2] = {gate[0], gate[1]};
  UNROLL
  for (int j = 0; j < 2; j++)
    if (r.bias) v[j] += r.bias[col + j], w[j] += r.bias[half + col + j];
  r.epilogue.finish_gated(v, w, place, false);
  store_row(to + (u64)row * half + col, v, false, 2);
}

// put_product writes a thread's values. row_of is the row of C that a row of the product goes to.
// Functions says whether there may be a function to apply. Of paired columns, 4 neighbours are two
// values and their gates.
template <class T, bool Functions, class RowOf>
TILE void put_product(const float (&sum)[T::TM][T::TN], const Result &r, int row, int rows, int col,
                      RowOf row_of) {
  const bool whole = gridDim.z == 1;
  float *const to = whole ? r.c : r.parts + blockIdx.z * r.size;
  UNROLL
  for (int i = 0; i < T::TM; i++) {
    const int at = row + T::row(i / 4) + i % 4;
    if (at >= rows) continue;
    const u64 place = (u64)row_of(at) * r.cols;
    if (Functions && r.epilogue.half) {
      UNROLL
      for (int g = 0; g < T::TN / 4; g++) {
        const float x[2] = {sum[i][4 * g], sum[i][4 * g + 1]};
        const float gate[2] = {sum[i][4 * g + 2], sum[i][4 * g + 3]};
        const int first = col + T::col(g);
        if (first < r.cols) put_pairs(x, gate, r, to, at, r.epilogue.natural<2>(first));
      }
      continue;
    }
    float *const line = to + place;
    Epilogue<float>::Ahead ahead[T::TN / 4];
    UNROLL
    for (int g = 0; g < T::TN / 4; g++) {
      const int first = col + T::col(g);
      if (first < r.cols) ahead[g] = r.epilogue.ahead(place + first, r.vector);
    }
    UNROLL
    for (int g = 0; g < T::TN / 4; g++) {
      const int first = col + T::col(g);
      float v[4];
      UNROLL
      for (int j = 0; j < 4; j++) {
        v[j] = sum[i][4 * g + j];
        if (!whole || first + j >= r.cols) continue;
        if (r.accumulate) v[j] += line[first + j];
        if (r.bias) v[j] += r.bias[first + j];
      }
      if (first >= r.cols) continue;
      r.epilogue.finish<Functions>(v, at, first, r.cols, place + first, ahead[g], r.vector,
                                   r.cols - first);
      store_row(line + first, v, r.vector, r.cols - first);
    }
  }
}

// multiply computes the block's part of C = A·B. Of the grid, x is the tile, tiles of a row being
// neighbours, and z the part of k, per_part deep.
template <class T, bool Functions, class A, class B, class RowOf>
TILE void multiply(const A &a, const B &b, const Result &r, int rows, int k, int per_part,
                   RowOf row_of) {
  SHARED(memory);
  float *const tiles = (float *)memory;
  constexpr int Size = kDepth * (T::Rows + T::Cols);
  const int across = (r.cols + T::Cols - 1) / T::Cols;
  const int row = blockIdx.x / across * T::Rows, col = blockIdx.x % across * T::Cols;
  if (row >= rows) return;
  const int begin = blockIdx.z * per_part, end = min(k, begin + per_part);

  float sum[T::TM][T::TN];
  UNROLL
  for (int i = 0; i < T::TM; i++) {
    UNROLL
    for (int j = 0; j < T::TN; j++) sum[i][j] = 0;
  }
  Feed<T::Rows, T::Threads, A> fa;
  Feed<T::Cols, T::Threads, B> fb;
  fa.begin(a, row);
  fb.begin(b, col);
  if (begin < end) {
    fa.load(a, begin, end);
    fb.load(b, begin, end);
    fa.store(tiles);
    fb.store(tiles + kDepth * T::Rows);
  }
  int now = 0;
  sync_block();
  for (int at = begin; at < end; at += kDepth) {
    const bool more = at + kDepth < end;
    if (more) {
      fa.load(a, at + kDepth, end);
      fb.load(b, at + kDepth, end);
    }
    multiply_step<T>(sum, tiles + now * Size, tiles + now * Size + kDepth * T::Rows);
    if (more) {
      now ^= 1;  // nobody reads these tiles since the last barrier
      fa.store(tiles + now * Size);
      fb.store(tiles + now * Size + kDepth * T::Rows);
      sync_block();
    }
  }
  put_product<T, Functions>(sum, r, row, rows, col, row_of);
}
