// Linear layers of 1 to 4 tokens in bfloat16, with RMSNorm in front and SwiGLU or bias and residual behind: the formula
// is in norm_linear.py, and so is the choice between this and Triton's kernel.
//
// A warp sums two rows of W: neighbours, or a gate row and its up row. Every lane keeps DEPTH steps of 16 bytes of each
// row on their way, straight into registers, so a processor with 20 warps has 80 KiB of weights in flight and nothing
// waits at a barrier. W passes L1 by; x and the norm's weight, which every warp reads, stay there. The norm is one
// number per token, summed beside the products and applied to them at the end.
//
// Compiled with -DNUM_TOKENS=1…4 -DIS_GATED=0|1 -DHAS_NORM=0|1. No header: bfloat16 is the upper half of a float.

#define DEPTH 4
#define WARPS_PER_BLOCK 4
#define BLOCKS_PER_PROCESSOR (NUM_TOKENS == 1 ? 7 : 5)  // what the registers are to leave room for
#define VALUES 8  // of 16 bytes
#define STEP (32 * VALUES)

struct alignas(16) Vector {
    unsigned int words[4];
};

__device__ __forceinline__ Vector load_once(const unsigned short* address) {
    Vector loaded;
#ifdef __CUDACC_RTC__
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(loaded.words[0]), "=r"(loaded.words[1]), "=r"(loaded.words[2]), "=r"(loaded.words[3])
                 : "l"(address));
#else
    loaded = *reinterpret_cast<const Vector*>(address);
#endif
    return loaded;
}

__device__ __forceinline__ float value(const Vector& vector, int index) {
    unsigned int word = vector.words[index / 2];
    return __uint_as_float(index % 2 ? word & 0xffff0000u : word << 16);
}

__device__ __forceinline__ float widen(unsigned short bits) { return __uint_as_float((unsigned int)bits << 16); }

// To the nearest, ties to even; NaN stays NaN.
__device__ __forceinline__ unsigned short narrow(float wide) {
    unsigned int bits = __float_as_uint(wide);
    if (wide != wide) return 0x7fc0;
    return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

__device__ __forceinline__ float sum_of_warp(float part) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) part += __shfl_xor_sync(0xffffffffu, part, distance);
    return part;
}

// bias and residual may be null. Strides and sizes count values; size and the strides are multiples of 8.
extern "C" __global__ void __launch_bounds__(32 * WARPS_PER_BLOCK, BLOCKS_PER_PROCESSOR)
    norm_linear(const unsigned short* __restrict__ x, const unsigned short* __restrict__ norm_weight,
                const unsigned short* __restrict__ weight, const unsigned short* __restrict__ bias,
                const unsigned short* __restrict__ residual, unsigned short* __restrict__ y, double eps,
                long long num_outputs, long long size, long long x_stride, long long weight_stride,
                long long residual_stride) {
    const int lane = threadIdx.x % 32;
    const long long warp = (long long)blockIdx.x * WARPS_PER_BLOCK + threadIdx.x / 32;
    const long long first = IS_GATED ? warp : 2 * warp;
    if (first >= num_outputs) return;
    // The last warp of an odd number of rows sums its row twice and stores it once.
    const long long second = IS_GATED ? num_outputs + warp : (first + 1 < num_outputs ? first + 1 : first);
    const int width = (int)size;
    const int start = lane * VALUES;
    const unsigned short* first_row = weight + first * weight_stride;
    const unsigned short* second_row = weight + second * weight_stride;

    Vector ahead[DEPTH][2];
#pragma unroll
    for (int step = 0; step < DEPTH; ++step)
        if (start + step * STEP < width) {
            ahead[step][0] = load_once(first_row + start + step * STEP);
            ahead[step][1] = load_once(second_row + start + step * STEP);
        }

    float totals[2][NUM_TOKENS] = {};
    float squares[NUM_TOKENS] = {};
    for (int group = start; group < width; group += DEPTH * STEP) {
#pragma unroll
        for (int step = 0; step < DEPTH; ++step) {
            const int column = group + step * STEP;
            if (column < width) {
                const Vector current[2] = {ahead[step][0], ahead[step][1]};
                const int next = column + DEPTH * STEP;
                if (next < width) {
                    ahead[step][0] = load_once(first_row + next);
                    ahead[step][1] = load_once(second_row + next);
                }
#if HAS_NORM
                const Vector norm = *reinterpret_cast<const Vector*>(norm_weight + column);
#endif
#pragma unroll
                for (int token = 0; token < NUM_TOKENS; ++token) {
                    const Vector inputs = *reinterpret_cast<const Vector*>(x + token * x_stride + column);
#pragma unroll
                    for (int index = 0; index < VALUES; ++index) {
                        float input = value(inputs, index);
#if HAS_NORM
                        squares[token] += input * input;
                        input *= value(norm, index);
#endif
                        totals[0][token] += input * value(current[0], index);
                        totals[1][token] += input * value(current[1], index);
                    }
                }
            }
        }
    }

#pragma unroll
    for (int token = 0; token < NUM_TOKENS; ++token) {
        float sums[2] = {sum_of_warp(totals[0][token]), sum_of_warp(totals[1][token])};
#if HAS_NORM
        const float scale = rsqrtf(sum_of_warp(squares[token]) / (float)size + (float)eps);
        sums[0] *= scale;
        sums[1] *= scale;
#endif
        if (lane != 0) continue;
#if IS_GATED
        y[token * num_outputs + first] = narrow(sums[0] / (1.0f + expf(-sums[0])) * sums[1]);
#else
        for (int row = 0; row < 2 && first + row < num_outputs; ++row) {
            float output = sums[row];
            if (bias) output += widen(bias[first + row]);
            if (residual) output += widen(residual[token * residual_stride + first + row]);
            y[token * num_outputs + first + row] = narrow(output);
        }
#endif
    }
}
