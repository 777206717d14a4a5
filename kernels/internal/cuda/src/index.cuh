// index.cuh reads numbers of rows and classes, which are stored as float32.
#pragma once
#include "tile.cuh"

// index_of is x as a number of one of n things, or −1 if it is the number of none: if x is not
// whole, out of range or not a number.
TILE int index_of(float x, int n) {
  if (!(x >= 0 && x < 2147483648.0f)) return -1;
  const int i = (int)x;
  return i < n && (float)i == x ? i : -1;
}

TILE float not_a_number() { return float_of(0x7fc00000); }
