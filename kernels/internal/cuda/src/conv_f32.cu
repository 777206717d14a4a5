// Convolutions of float32 images and their gradients, as products of matrices. x is [N,H,W,In], w
// is [Out,KH,KW,In], y is [N,OH,OW,Out]. No matrix of patches is ever stored: the threads that
// bring tiles to shared memory find its elements in the images.
#include "product_f32.cuh"

constexpr int kNowhere = -(1 << 30);  // is left of every image

// A Window is what each pixel of a grid sees of an image: pixel (i,j) of [gh,gw] sees, through tap
// (a,b), pixel (i·step+y+a, j·step+x+b) of an image [h,w,c], or zeros outside of it. As a matrix it
// has a row for each pixel of all grids, and a column for each tap and channel.
struct Window {
  const float *image;
  int pixels;  // of all grids
  int gh, gw;
  int h, w, c;
  int step, y, x;
  int cols;  // taps in a row

  struct Pixel {
    int lines;  // of the images before
    int h, w;   // where the first tap leads
  };
  struct Tap {
    int h, w, c;
  };

  TILE Pixel pixel(int i) const {
    if (i >= pixels) return {0, 0, kNowhere};
    const int line = i / gw, n = line / gh;
    return {n * h, (line - n * gh) * step + y, (i - line * gw) * step + x};
  }
  TILE Tap tap(int k) const {
    const int tap = k / c, row = tap / cols;
    return {row, tap - row * cols, k - tap * c};
  }
  TILE const float *at(const Pixel &p, const Tap &t) const {
    const int row = p.h + t.h, col = p.w + t.w;
    if (row < 0 || row >= h || col < 0 || col >= w) return nullptr;
    return image + (u64)((p.lines + row) * w + col) * c + t.c;
  }
};

// A Patches is a window as the left operand. A PatchColumns is one as the right operand, whose
// outer index is the column.
struct Patches {
  static constexpr bool kAlongK = true;
  typedef Window::Pixel Place;
  typedef Window::Tap Depth;
  Window window;
  int vector;
  TILE Place place(int row) const { return window.pixel(row); }
  TILE Depth depth(int k) const { return window.tap(k); }
  TILE const float *find(const Place &p, const Depth &d) const { return window.at(p, d); }
};

struct PatchColumns {
  static constexpr bool kAlongK = false;
  typedef Window::Tap Place;
  typedef Window::Pixel Depth;
  Window window;
  int count;  // columns
  int vector;
  TILE Place place(int col) const {
    if (col < count) return window.tap(col);
    return {0, kNowhere, 0};
  }
  TILE Depth depth(int k) const { return window.pixel(k); }
  TILE const float *find(const Place &p, const Depth &d) const { return window.at(d, p); }
};

struct ConvF32 {
  float *to;
  const float *x, *w, *bias;  // x is the image with windows, w the other operand
  float *parts;
  Epilogue<float> epilogue;
  u64 size;
  int rows, cols, k;  // of the product
  int per_part;       // how deep a part of k is, a multiple of kDepth
  int gh, gw, h, width, c, step, top, left, kw;  // see Window; top and left are padding
  int vector_x, vector_w, vector_to;

  TILE Window window(int pixels) const {
    return {x, pixels, gh, gw, h, width, c, step, -top, -left, kw};
  }
  TILE Result result() const { return {to, bias, parts, epilogue, size, cols, 0, vector_to}; }
};

// forward is patches(x)·wᵀ.
template <class T>
TILE void forward(const ConvF32 &p) {
  const Patches a{p.window(p.rows), p.vector_x};
  const Matrix<true> b{p.w, (u64)p.k, p.cols, p.vector_w};
  multiply<T, true>(a, b, p.result(), p.rows, p.k, p.per_part, [](int row) { return row; });
}

// weight_grad is dyᵀ·patches(x). w is dy.
template <class T>
TILE void weight_grad(const ConvF32 &p) {
  const Matrix<false> a{p.w, (u64)p.rows, p.rows, p.vector_w};
  const PatchColumns b{p.window(p.k), p.cols, p.vector_x};
  multiply<T, false>(a, b, p.result(), p.rows, p.k, p.per_part, [](int row) { return row; });
}

struct ConvInputGradF32 {
  float *dx;
  const float *dy, *w;
  float *parts;
  Epilogue<float> epilogue;
  u64 size;
  int n, h, width, in;
  int out, kh, kw, oh, ow;
  int stride, top, left;
  int per_part;
  int vector_dy, vector_w, vector_dx;
};

// Taps are those taps of a kernel through which one pixel contributes to the result. They are
// stride apart. The last one leads to the result's lowest position.
struct Taps {
  int last, count, position;
};

// taps_at finds the taps of a pixel. at is where it is, counted from the edge of the padding.
TILE Taps taps_at(int kernel, int stride, int at) {
  const int first = at % stride;
  if (first >= kernel) return {0, 0, 0};
  const int count = (kernel - 1 - first) / stride + 1, last = first + (count - 1) * stride;
  return {last, count, (at - last) / stride};
}

// A Flipped is w as the right operand for some taps, the last one first. k is the tap and o, the
// outer index is the channel of x.
struct Flipped {
  static constexpr bool kAlongK = false;
  typedef int Place;
  typedef u64 Depth;
  const float *w;
  Taps rows, cols;
  int in, out, kh, kw, stride;
  int vector;
  TILE Place place(int channel) const { return channel; }
  TILE Depth depth(int k) const {
    const int tap = k / out, o = k - tap * out, i = tap / cols.count, j = tap - i * cols.count;
    const int a = rows.last - i * stride, b = cols.last - j * stride;
    return (((u64)o * kh + a) * kw + b) * in;
  }
  TILE const float *find(Place channel, Depth d) const {
    return channel < in ? w + d + channel : nullptr;
  }
};

// input_grad is, for the pixels (y + i·stride, x + j·stride) of all images, the windows of dy that
// they contribute to times w. The grid's y says which of stride² y and x. All of these pixels
// contribute through the same taps.
template <class T>
TILE void input_grad(const ConvInputGradF32 &p) {
  const int y = blockIdx.y / p.stride, x = blockIdx.y % p.stride;
  const Taps rows = taps_at(p.kh, p.stride, y + p.top), cols = taps_at(p.kw, p.stride, x + p.left);
  const int gh = (p.h - y + p.stride - 1) / p.stride, gw = (p.width - x + p.stride - 1) / p.stride;
  if (gh <= 0 || gw <= 0) return;
  const int pixels = p.n * gh * gw, k = rows.count * cols.count * p.out;
  const Patches a{{p.dy, pixels, gh, gw, p.oh, p.ow, p.out, 1, rows.position, cols.position,
                   cols.count},
                  p.vector_dy};
  const Flipped b{p.w, rows, cols, p.in, p.out, p.kh, p.kw, p.stride, p.vector_w};
  const Result r{p.dx, nullptr, p.parts, p.epilogue, p.size, p.in, 0, p.vector_dx};
  multiply<T, false>(a, b, r, pixels, k, p.per_part, [&](int row) {
    if (p.stride == 1) return row;
    const int line = row / gw, n = line / gh;
    return (n * p.h + (line - n * gh) * p.stride + y) * p.width + (row - line * gw) * p.stride + x;
  });
}

// CONV defines a kernel for each size of tiles.
#define CONV(name, Params)                                                           \
  KERNEL(conv_##name##_large_f32, Params, LargeTile::Threads, 3) { name<LargeTile>(p); } \
  KERNEL(conv_##name##_small_f32, Params, SmallTile::Threads, 4) { name<SmallTile>(p); }

CONV(forward, ConvF32)
CONV(weight_grad, ConvF32)
CONV(input_grad, ConvInputGradF32)
