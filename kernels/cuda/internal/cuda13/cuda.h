/* Headers of CUDA 13 with five calls as CUDA 12 has them, which gorgonia.org/cu makes. Drivers keep
 * the old symbols. This folder goes before that of CUDA's cuda.h: -I cuda13 -I .../include. With
 * headers of CUDA 12 it changes nothing. */
#include_next <cuda.h>

#if CUDA_VERSION >= 13000 && !defined(KUDOS_CUDA12_CALLS)
#define KUDOS_CUDA12_CALLS

#undef cuCtxCreate
#undef cuMemAdvise
#undef cuMemPrefetchAsync
#undef cuGraphAddDependencies
#undef cuGraphGetEdges
#define cuCtxCreate cuCtxCreate_v2
#define cuMemAdvise kudos_cuMemAdvise
#define cuMemPrefetchAsync kudos_cuMemPrefetchAsync
#define cuGraphAddDependencies kudos_cuGraphAddDependencies
#define cuGraphGetEdges kudos_cuGraphGetEdges

/* The driver has the old form of the last four under the name without a version. */
CUresult CUDAAPI cuCtxCreate_v2(CUcontext *, unsigned int, CUdevice);
CUresult CUDAAPI kudos_cuMemAdvise(CUdeviceptr, size_t, CUmem_advise, CUdevice)
    __asm__("cuMemAdvise");
CUresult CUDAAPI kudos_cuMemPrefetchAsync(CUdeviceptr, size_t, CUdevice, CUstream)
    __asm__("cuMemPrefetchAsync");
CUresult CUDAAPI kudos_cuGraphAddDependencies(CUgraph, const CUgraphNode *, const CUgraphNode *,
                                              size_t) __asm__("cuGraphAddDependencies");
CUresult CUDAAPI kudos_cuGraphGetEdges(CUgraph, CUgraphNode *, CUgraphNode *, size_t *)
    __asm__("cuGraphGetEdges");

#endif
