/* What the others stand on: vectors of numbers, the types of weights, threads, and what Python hands over. */

#pragma once

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef uint16_t half_vec __attribute__((vector_size(2 * LANES), aligned(2)));
#define INLINE static inline __attribute__((always_inline))

#ifdef _OPENMP
#include <omp.h>
static int thread_number(void) { return omp_get_thread_num(); }
static int num_threads_here(void) { return omp_get_num_threads(); }
#else
static int thread_number(void) { return 0; }
static int num_threads_here(void) { return 1; }
#endif

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE __builtin_ia32_pause();
#elif defined(__aarch64__)
#define PAUSE __asm__ volatile("yield");
#else
#define PAUSE
#endif

/* Where the threads of one call meet. A round has dozens of barriers, and OpenMP's own take seven times as long. */
typedef struct {
    _Alignas(64) atomic_int num_waiting;
    _Alignas(64) atomic_int num_passed;
} Team;

#define SPINS 128 /* then others may want the processor */

typedef struct {
    const void *input_norm, *q, *q_bias, *k, *k_bias, *v, *v_bias, *o, *post_norm, *gate, *up, *down;
    /* Of an MTP layer only. */
    const void *hidden_norm, *token_norm, *input_proj, *final_norm;
    void *keys, *values; /* [S, G, C, E] */
} Layer;

typedef struct {
    int64_t is_bfloat16, is_packed, num_layers, hidden_size, num_heads, num_key_heads, head_dim, feed_forward, num_ids;
    int64_t num_threads, num_stop_ids, num_places, num_drafts, max_drafts;
    double eps;
    const Layer *layers; /* the main ones, then the MTP layers */
    const void *embedding, *norm, *head;
    const int64_t *stop_ids;
    const float *rope; /* [C, E]: cosines, then sines, of every position */
    /* The state of every slot; see rows.py. */
    int64_t *tokens, *num_tokens;
    const int64_t *max_tokens;
    void *hidden;
    int64_t *filled, *report;
    float *logprobs;
    const int64_t *seed;
    const float *temperature, *top_p;
    const int64_t *top_k;
    Team *team;
} Model;

static void barrier(const Model *m) {
    Team *team = m->team;
    int passed = atomic_load_explicit(&team->num_passed, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->num_waiting, 1, memory_order_acq_rel) == num_threads_here() - 1) {
        atomic_store_explicit(&team->num_waiting, 0, memory_order_relaxed);
        atomic_store_explicit(&team->num_passed, passed + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&team->num_passed, memory_order_acquire) == passed; spins++)
        if (spins < SPINS) {
            PAUSE
        } else {
            sched_yield();
        }
}

enum { RUNNING, STOP, LENGTH };
enum { FINISH, NUM_NEW, NUM_ACCEPTED, FIRST_TOKEN };
enum { DRAFT, ACCEPT, SAMPLE };

/* -- Numbers -- */

INLINE float from_half(uint16_t bits) {
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
}

INLINE uint16_t to_half(float value) { /* to nearest, ties to even; a NaN stays one */
    uint32_t word;
    memcpy(&word, &value, 4);
    if (value != value) return 0x7fc0;
    return (uint16_t)((word + 0x7fff + ((word >> 16) & 1)) >> 16);
}

INLINE float load(const void *from, int64_t i, int bfloat16) {
    return bfloat16 ? from_half(((const uint16_t *)from)[i]) : ((const float *)from)[i];
}

INLINE void store(void *to, int64_t i, float value, int bfloat16) {
    if (bfloat16)
        ((uint16_t *)to)[i] = to_half(value);
    else
        ((float *)to)[i] = value;
}

INLINE vec load_vec(const void *from, int64_t i, int bfloat16) {
    if (bfloat16) return (vec)(__builtin_convertvector(*(const half_vec *)((const uint16_t *)from + i), uvec) << 16);
    return *(const vec *)((const float *)from + i);
}

INLINE vec load_part(const void *from, int64_t i, int64_t num, int bfloat16) { /* zeros after the first `num` */
    vec part = {0};
    for (int64_t j = 0; j < num; j++) part[j] = load(from, i + j, bfloat16);
    return part;
}

typedef float vec8 __attribute__((vector_size(32)));
typedef float vec4 __attribute__((vector_size(16)));
typedef int32_t ivec4 __attribute__((vector_size(16)));
#ifdef __clang__
#define SHUFFLE(A, B, ...) __builtin_shufflevector(A, B, __VA_ARGS__)
#else
#define SHUFFLE(A, B, ...) __builtin_shuffle(A, B, (ivec4){__VA_ARGS__})
#endif

INLINE vec4 quarter(vec v) {
    vec8 halves[2];
    vec4 quarters[2];
    memcpy(halves, &v, sizeof v);
    vec8 half = halves[0] + halves[1];
    memcpy(quarters, &half, sizeof half);
    return quarters[0] + quarters[1];
}

INLINE float sum_of_quarter(vec4 q) { return (q[0] + q[2]) + (q[1] + q[3]); }

INLINE float sum(vec v) { return sum_of_quarter(quarter(v)); }

INLINE vec4 four_sums(vec4 a, vec4 b, vec4 c, vec4 d) { /* of quarters, each in the order of `sum` */
    vec4 ab = SHUFFLE(a, b, 0, 1, 4, 5) + SHUFFLE(a, b, 2, 3, 6, 7);
    vec4 cd = SHUFFLE(c, d, 0, 1, 4, 5) + SHUFFLE(c, d, 2, 3, 6, 7);
    return SHUFFLE(ab, cd, 0, 2, 4, 6) + SHUFFLE(ab, cd, 1, 3, 5, 7);
}

INLINE vec choose(ivec first, vec a, vec b) { return (vec)(((ivec)a & first) | ((ivec)b & ~first)); }
INLINE vec larger(vec a, vec b) { return choose(a > b, a, b); }
INLINE vec smaller(vec a, vec b) { return choose(a < b, a, b); }

INLINE vec exp_vec(vec x) { /* relative error about 1e-7; 0 below -87, and what 88 gives above 88 */
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    ivec small = (ivec)(x < -87.0f);
    x = smaller(x, (vec){0} + 88.0f);
    vec shifted = x * 1.44269504f + round, n = shifted - round;
    ivec exponent = ((ivec)shifted - 0x4B400000) << 23;
    x = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec y = 1.9875691500e-4f * x + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    y = y * x * x + x + 1.0f;
    return (vec)(((ivec)y + exponent) & ~small);
}

/* In place: p[i] = exp((p[i] - max) * scale); returns their sum. */
static double exp_all(float *p, int64_t num, float max, float scale) {
    double total = 0;
    for (int64_t start = 0; start < num; start += 1024) {
        int64_t stop = start + 1024 < num ? start + 1024 : num, i = start;
        vec part = {0};
        for (; i + LANES <= stop; i += LANES) {
            vec y = exp_vec((*(vec *)(p + i) - max) * scale);
            *(vec *)(p + i) = y;
            part += y;
        }
        if (i < stop) {
            vec last = {0};
            for (int64_t j = i; j < stop; j++) last[j - i] = (p[j] - max) * scale;
            last = exp_vec(last);
            for (int64_t j = i; j < stop; j++) p[j] = last[j - i], total += last[j - i];
        }
        total += sum(part);
    }
    return total;
}

static float largest(const float *p, int64_t num) {
    vec most = (vec){0} - INFINITY;
    int64_t i = 0;
    for (; i + LANES <= num; i += LANES) most = larger(*(const vec *)(p + i), most);
    float max = -INFINITY;
    for (int lane = 0; lane < LANES; lane++) max = most[lane] > max ? most[lane] : max;
    for (; i < num; i++) max = p[i] > max ? p[i] : max;
    return max;
}

INLINE int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
