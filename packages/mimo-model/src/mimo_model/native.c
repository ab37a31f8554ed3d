/* One decoding round on a CPU in one call: drafts, verification, sampling (mimo_model/native.py compiles and calls it).

Weights are read once a round, in their own type (float32 or bfloat16); all arithmetic is float32. Every product of a
row of weights with a token's vector is summed in the same order whatever else is in the batch, so a token's logits do
not depend on its batch-mates nor on how many drafts are verified with it.

Shapes as in engine.py: B running requests, T tokens of one, K drafts, D hidden, H query heads, G key-value heads, E head
width, F feed-forward, V tokenizer ids, C places of a slot. N = tokens of all requests in one forward. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef uint16_t half_vec __attribute__((vector_size(2 * LANES), aligned(2)));
#define INLINE static inline __attribute__((always_inline))
#define TILE 4   /* tokens whose products with a row of weights are summed side by side */
#define CHAINS 2 /* sums of one product that run side by side */
#define AHEAD 4096 /* bytes: how far weights are asked for in advance */

typedef struct {
    const void *input_norm, *q, *q_bias, *k, *k_bias, *v, *v_bias, *o, *post_norm, *gate, *up, *down;
    /* Of an MTP layer only. */
    const void *hidden_norm, *token_norm, *input_proj, *final_norm;
    void *keys, *values; /* [S, G, C, E] */
} Layer;

typedef struct {
    int64_t is_bfloat16, num_layers, hidden_size, num_heads, num_key_heads, head_dim, feed_forward, num_ids;
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
} Model;

enum { RUNNING, STOP, LENGTH };
enum { FINISH, NUM_NEW, NUM_ACCEPTED, FIRST_TOKEN };
enum { DRAFT, ACCEPT, SAMPLE };

/* -- Types of weights -- */

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

typedef float vec8 __attribute__((vector_size(32)));
typedef float vec4 __attribute__((vector_size(16)));

INLINE float sum(vec v) { /* always in this order */
    vec8 halves[2];
    vec4 quarters[2];
    memcpy(halves, &v, sizeof v);
    vec8 half = halves[0] + halves[1];
    memcpy(quarters, &half, sizeof half);
    vec4 quarter = quarters[0] + quarters[1];
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

/* -- Linear layers -- */

/* out[r][t] = w[r] · x[t] for constant numbers of rows and tokens. */
INLINE void tile(int rows, int tokens, const void *w, const float *x, int64_t width, int bf16, float out[2][TILE]) {
    vec total[2][TILE][CHAINS] = {{{{0}}}};
    int64_t i = 0;
    for (; i + CHAINS * LANES <= width; i += CHAINS * LANES)
        for (int c = 0; c < CHAINS; c++) {
            int64_t at = i + c * LANES;
            vec x_i[TILE];
            for (int t = 0; t < tokens; t++) x_i[t] = *(const vec *)(x + t * width + at);
            for (int r = 0; r < rows; r++) {
                vec w_i = load_vec(w, r * width + at, bf16);
                __builtin_prefetch((const char *)w + (r * width + at) * (bf16 ? 2 : 4) + AHEAD);
                for (int t = 0; t < tokens; t++) total[r][t][c] += w_i * x_i[t];
            }
        }
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < tokens; t++) {
            float rest = 0;
            for (int64_t j = i; j < width; j++) rest += load(w, r * width + j, bf16) * x[t * width + j];
            out[r][t] = sum(total[r][t][0] + total[r][t][1]) + rest;
        }
}

#define TILES(ROWS, TOKENS) \
    static void tile_##ROWS##_##TOKENS(const void *w, const float *x, int64_t width, int bf16, float out[2][TILE]) { \
        if (bf16) \
            tile(ROWS, TOKENS, w, x, width, 1, out); \
        else \
            tile(ROWS, TOKENS, w, x, width, 0, out); \
    }
TILES(1, 1) TILES(1, 2) TILES(1, 3) TILES(1, 4) TILES(2, 1) TILES(2, 2) TILES(2, 3) TILES(2, 4)

typedef void (*Tile)(const void *, const float *, int64_t, int, float[2][TILE]);
static const Tile one_row[] = {tile_1_1, tile_1_2, tile_1_3, tile_1_4};
static const Tile two_rows[] = {tile_2_1, tile_2_2, tile_2_3, tile_2_4};

/* Rows `begin` to `end` of y[n] (+)= w x[n] + bias, for n of `num`; y[n] is `stride` wide. */
static void linear(const void *w, const void *bias, const float *x, float *y, int64_t num, int64_t width, int64_t stride,
                   int64_t begin, int64_t end, int bf16, int add) {
    float out[2][TILE];
    for (int64_t row = begin; row < end;) {
        /* Few tokens wait for memory, which one stream reads fastest; many for arithmetic, with less to load. */
        int rows = num > TILE && end - row >= 2 ? 2 : 1;
        const char *w_row = (const char *)w + row * width * (bf16 ? 2 : 4);
        for (int64_t n = 0; n < num; n += TILE) {
            int tokens = num - n < TILE ? (int)(num - n) : TILE;
            (rows == 2 ? two_rows : one_row)[tokens - 1](w_row, x + n * width, width, bf16, out);
            for (int t = 0; t < tokens; t++)
                for (int r = 0; r < rows; r++) {
                    float *to = y + (n + t) * stride + row + r;
                    float value = bias ? out[r][t] + load(bias, row + r, bf16) : out[r][t];
                    *to = add ? *to + value : value;
                }
        }
        row += rows;
    }
}

/* This thread's share of `total` rows, in pairs. */
typedef struct {
    int64_t begin, end;
} Share;

static int thread_number(void);
static int num_threads_here(void);

static Share share(int64_t total) {
    int64_t pairs = (total + 1) / 2, num = num_threads_here(), me = thread_number();
    int64_t begin = pairs * me / num * 2, end = pairs * (me + 1) / num * 2;
    return (Share){begin < total ? begin : total, end < total ? end : total};
}

#ifdef _OPENMP
#include <omp.h>
static int thread_number(void) { return omp_get_thread_num(); }
static int num_threads_here(void) { return omp_get_num_threads(); }
#define BARRIER _Pragma("omp barrier")
#else
static int thread_number(void) { return 0; }
static int num_threads_here(void) { return 1; }
#define BARRIER
#endif

INLINE Share within(Share all, int64_t begin, int64_t end) { /* the part of `all` in [begin, end), counted from begin */
    int64_t from = all.begin > begin ? all.begin : begin, to = all.end < end ? all.end : end;
    return (Share){from - begin, to > from ? to - begin : from - begin};
}

/* -- Parts of a block; each leaves a barrier behind it -- */

static void rms_norm_row(const Model *m, const float *x, const void *weight, float *y) {
    int64_t width = m->hidden_size, i = 0;
    vec squares = {0};
    float rest = 0;
    for (; i + LANES <= width; i += LANES) {
        vec x_i = *(const vec *)(x + i);
        squares += x_i * x_i;
    }
    for (; i < width; i++) rest += x[i] * x[i];
    float scale = 1.0f / sqrtf((sum(squares) + rest) / (float)width + (float)m->eps);
    for (i = 0; i < width; i++) y[i] = x[i] * scale * load(weight, i, (int)m->is_bfloat16);
}

static void rms_norm(const Model *m, const float *x, const void *weight, float *y, int64_t num) {
    for (int64_t n = thread_number(); n < num; n += num_threads_here())
        rms_norm_row(m, x + n * m->hidden_size, weight, y + n * m->hidden_size);
    BARRIER
}

static void project(const Model *m, const void *w, const float *x, float *y, int64_t num, int64_t width, int64_t rows,
                    int add) {
    Share mine = share(rows);
    linear(w, 0, x, y, num, width, rows, mine.begin, mine.end, (int)m->is_bfloat16, add);
    BARRIER
}

/* Turns each pair (i, i + E/2) of the given heads by the position's angle. */
static void rotate(const Model *m, float *heads, int64_t num_heads, int64_t position) {
    int64_t e = m->head_dim;
    const float *cosines = m->rope + position * e, *sines = cosines + e / 2;
    for (float *head = heads; head < heads + num_heads * e; head += e)
        for (int64_t i = 0; i < e / 2; i++) {
            float a = head[i], b = head[i + e / 2];
            head[i] = a * cosines[i] - b * sines[i];
            head[i + e / 2] = b * cosines[i] + a * sines[i];
        }
}

/* Queries (where asked for), keys and values of N tokens; keys and values go into the cache. qkv[n]: (H + 2 G) E. */
static void attend_prepare(const Model *m, const Layer *l, const float *x, float *qkv, const int64_t *slots,
                           const int64_t *positions, int64_t num, int with_queries) {
    int bf16 = (int)m->is_bfloat16;
    int64_t width = m->hidden_size, e = m->head_dim, q = m->num_heads * e, k = m->num_key_heads * e, all = q + 2 * k;
    Share mine = share(with_queries ? all : 2 * k), part;
    if (with_queries) {
        part = within(mine, 0, q);
        linear(l->q, l->q_bias, x, qkv, num, width, all, part.begin, part.end, bf16, 0);
    } else {
        mine.begin += q, mine.end += q;
    }
    part = within(mine, q, q + k);
    linear(l->k, l->k_bias, x, qkv + q, num, width, all, part.begin, part.end, bf16, 0);
    part = within(mine, q + k, all);
    linear(l->v, l->v_bias, x, qkv + q + k, num, width, all, part.begin, part.end, bf16, 0);
    BARRIER
    for (int64_t n = thread_number(); n < num; n += num_threads_here()) {
        float *row = qkv + n * all;
        int64_t first = with_queries ? 0 : m->num_heads;
        rotate(m, row + first * e, m->num_heads + m->num_key_heads - first, positions[n]);
        for (int64_t g = 0; g < m->num_key_heads; g++) {
            int64_t place = ((slots[n] * m->num_key_heads + g) * m->num_places + positions[n]) * e;
            for (int64_t i = 0; i < e; i++) {
                store(l->keys, place + i, row[q + g * e + i], bf16);
                store(l->values, place + i, row[q + k + g * e + i], bf16);
            }
        }
    }
    BARRIER
}

INLINE float dot(const float *a, const void *b, int64_t at, int64_t width, int bf16) {
    vec total = {0};
    float rest = 0;
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) total += *(const vec *)(a + i) * load_vec(b, at + i, bf16);
    for (; i < width; i++) rest += a[i] * load(b, at + i, bf16);
    return sum(total) + rest;
}

INLINE void add_scaled(float *to, float by, const void *from, int64_t at, int64_t width, int bf16) {
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) *(vec *)(to + i) += by * load_vec(from, at + i, bf16);
    for (; i < width; i++) to[i] += by * load(from, at + i, bf16);
}

INLINE vec exp_vec(vec x) { /* relative error about 1e-7; 0 below -87 */
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    ivec small = (ivec)(x < -87.0f);
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
    float max = -INFINITY;
    for (int64_t i = 0; i < num; i++) max = p[i] > max ? p[i] : max;
    return max;
}

/* out[n] of each query head: softmax over keys 0 … positions[n]. scores: room for C of every thread. */
static void attend(const Model *m, const Layer *l, const float *qkv, float *out, const int64_t *slots,
                   const int64_t *positions, int64_t num, float *scores) {
    int64_t e = m->head_dim, q = m->num_heads * e, all = q + 2 * m->num_key_heads * e;
    int64_t group = m->num_heads / m->num_key_heads;
    float *mine = scores + thread_number() * (m->num_places + LANES), scale = 1.0f / sqrtf((float)e);
    int bf16 = (int)m->is_bfloat16;
    /* Heads of one token lie beside each other, so that the keys they share stay in the cache. */
    Share part = {num * m->num_heads * thread_number() / num_threads_here(),
                  num * m->num_heads * (thread_number() + 1) / num_threads_here()};
    for (int64_t job = part.begin; job < part.end; job++) {
        int64_t n = job / m->num_heads, h = job % m->num_heads, length = positions[n] + 1;
        int64_t at = (slots[n] * m->num_key_heads + h / group) * m->num_places * e;
        const float *query = qkv + n * all + h * e;
        float *to = out + n * q + h * e;
        for (int64_t i = 0; i < length; i++)
            mine[i] = bf16 ? dot(query, l->keys, at + i * e, e, 1) : dot(query, l->keys, at + i * e, e, 0);
        double total = exp_all(mine, length, largest(mine, length), scale);
        memset(to, 0, sizeof(float) * (size_t)e);
        for (int64_t i = 0; i < length; i++) {
            if (bf16)
                add_scaled(to, mine[i], l->values, at + i * e, e, 1);
            else
                add_scaled(to, mine[i], l->values, at + i * e, e, 0);
        }
        for (int64_t i = 0; i < e; i++) to[i] = (float)(to[i] / total);
    }
    BARRIER
}

static void feed_forward(const Model *m, const Layer *l, const float *x, float *inner, float *up, float *y, int64_t num) {
    int64_t width = m->hidden_size, f = m->feed_forward;
    int bf16 = (int)m->is_bfloat16;
    Share mine = share(f);
    linear(l->gate, 0, x, inner, num, width, f, mine.begin, mine.end, bf16, 0);
    linear(l->up, 0, x, up, num, width, f, mine.begin, mine.end, bf16, 0);
    for (int64_t n = 0; n < num; n++) {
        int64_t i = mine.begin;
        float *gate = inner + n * f, *by = up + n * f;
        for (; i + LANES <= mine.end; i += LANES) {
            vec g = *(vec *)(gate + i);
            *(vec *)(gate + i) = g / (1.0f + exp_vec(-g)) * *(vec *)(by + i);
        }
        for (; i < mine.end; i++) gate[i] = gate[i] / (1.0f + exp_vec((vec){0} - gate[i])[0]) * by[i];
    }
    BARRIER
    project(m, l->down, inner, y, num, f, width, 1);
}

/* Scratch memory, in floats; `scratch_size` says how much. */
typedef struct {
    float *x, *normed, *qkv, *mixed, *inner, *up, *scores, *pairs, *logits, *proposals, *probabilities;
    int64_t *slots, *positions, *ids, *last;
    int32_t *order;
} Scratch;

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Tokens in one forward at most: verification takes all of a round's, an MTP layer its own so many at a time. */
#define CHUNK 64
static int64_t most_tokens(const Model *m, int64_t batch) { return max64(batch * (m->num_drafts + 1), CHUNK); }

static int64_t carve(const Model *m, int64_t batch, float *memory, Scratch *s) {
    int64_t num = most_tokens(m, batch), e = m->head_dim, at = 0;
#define TAKE(NAME, TYPE, COUNT) s->NAME = (TYPE *)(memory + at), at += ((COUNT) * (int64_t)(sizeof(TYPE) / 4) + 31) / 16 * 16;
    TAKE(x, float, num * m->hidden_size)
    TAKE(normed, float, num * m->hidden_size)
    TAKE(qkv, float, num * (m->num_heads + 2 * m->num_key_heads) * e)
    TAKE(mixed, float, num * max64(m->num_heads * e, m->hidden_size))
    TAKE(inner, float, num * m->feed_forward)
    TAKE(up, float, num * m->feed_forward)
    TAKE(scores, float, m->num_threads * (m->num_places + LANES))
    TAKE(pairs, float, num * 2 * m->hidden_size)
    TAKE(logits, float, batch * (m->num_drafts + 1) * m->num_ids)
    TAKE(proposals, float, batch * (m->num_drafts + 1) * m->num_ids)
    TAKE(probabilities, float, m->num_threads * m->num_ids)
    TAKE(slots, int64_t, num)
    TAKE(positions, int64_t, num)
    TAKE(ids, int64_t, num)
    TAKE(last, int64_t, num)
    TAKE(order, int32_t, m->num_threads * m->num_ids)
    return at;
}

int64_t scratch_size(const Model *m, int64_t batch) {
    Scratch s;
    return carve(m, batch, 0, &s);
}

static void embed(const Model *m, const int64_t *ids, float *x, int64_t num) {
    for (int64_t n = thread_number(); n < num; n += num_threads_here())
        for (int64_t i = 0; i < m->hidden_size; i++)
            x[n * m->hidden_size + i] = ids[n] < 0 ? 0 : load(m->embedding, ids[n] * m->hidden_size + i, (int)m->is_bfloat16);
    BARRIER
}

/* x += attention(norm(x)), x += mlp(norm(x)), for tokens whose queries, keys and values are in qkv and the cache. */
static void rest_of_block(const Model *m, const Layer *l, Scratch *s, float *x, int64_t num) {
    attend(m, l, s->qkv, s->mixed, s->slots, s->positions, num, s->scores);
    project(m, l->o, s->mixed, x, num, m->num_heads * m->head_dim, m->hidden_size, 1);
    rms_norm(m, x, l->post_norm, s->normed, num);
    feed_forward(m, l, s->normed, s->inner, s->up, x, num);
}

/* -- Sampling; sampling.py says it in torch -- */

static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static double uniform(int64_t seed, int64_t position, int stream) {
    const uint64_t golden = 0x9E3779B97F4A7C15u;
    uint64_t state = mix((uint64_t)seed * golden + (uint64_t)stream);
    return (double)(mix(state + (uint64_t)position * golden) >> 12) * 0x1p-52;
}

static int64_t argmax(const float *p, int64_t num) { /* the first of equals */
    float max = largest(p, num);
    for (int64_t i = 0; i < num; i++)
        if (p[i] == max) return i;
    return 0; /* all NaN */
}

static int64_t draw(const float *p, int64_t num, double chance) {
    double total = 0, before = 0;
    for (int pass = 0; pass < 2; pass++) {
        double target = chance * total, sum_of_chunks = 0;
        for (int64_t start = 0; start < num; start += 1024) {
            int64_t stop = start + 1024 < num ? start + 1024 : num, i = start;
            vec part = {0};
            double rest = 0;
            for (; i + LANES <= stop; i += LANES) part += *(const vec *)(p + i);
            for (; i < stop; i++) rest += p[i];
            double chunk = (double)sum(part) + rest;
            if (pass && sum_of_chunks + chunk > target) {
                int64_t found = -1;
                before = sum_of_chunks;
                for (i = start; i < stop; i++)
                    if (p[i] > 0) {
                        found = i;
                        before += p[i];
                        if (before > target) break;
                    }
                if (found >= 0) return found;
            }
            sum_of_chunks += chunk;
        }
        total = sum_of_chunks;
    }
    for (int64_t i = num - 1; i > 0; i--) /* the sum was rounded down to the target */
        if (p[i] > 0) return i;
    return 0;
}

INLINE int before(const float *p, int32_t a, int32_t b) { return p[a] > p[b] || (p[a] == p[b] && a < b); }

static void sift(const float *p, int32_t *heap, int64_t size, int64_t at) {
    int32_t item = heap[at];
    for (int64_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && before(p, heap[child + 1], heap[child])) child++;
        if (!before(p, heap[child], item)) break;
        heap[at] = heap[child];
    }
    heap[at] = item;
}

/* Keeps the top_k likeliest (0: all), of these the fewest that reach top_p; the rest becomes 0. */
static void restrict_to(float *p, int64_t num, int64_t top_k, float top_p, double total, int32_t *heap) {
    int64_t limit = top_k > 0 && top_k < num ? top_k : num, kept = 0, size = num;
    for (int64_t i = 0; i < num; i++) heap[i] = (int32_t)i;
    for (int64_t i = num / 2 - 1; i >= 0; i--) sift(p, heap, num, i);
    if (limit < num && top_p < 1.0f) { /* top_p is a share of what top_k keeps: add that up first */
        total = 0;
        for (int64_t i = 0; i < limit; i++) {
            int32_t best = heap[0];
            heap[0] = heap[--size], heap[size] = best;
            sift(p, heap, size, 0);
            total += p[best];
        }
        double mass = 0;
        while (kept < limit && mass < top_p * total) mass += p[heap[num - ++kept]];
    } else {
        double mass = 0;
        while (kept < limit && (top_p >= 1.0f || mass < top_p * total)) {
            int32_t best = heap[0];
            heap[0] = heap[--size], heap[size] = best;
            sift(p, heap, size, 0);
            mass += p[best];
            kept++;
        }
    }
    /* The kept ones lie at the end of the array. */
    double mass = 0;
    for (int64_t i = 0; i < kept; i++) mass += p[heap[num - 1 - i]];
    float scale = (float)(1.0 / mass);
    for (int64_t i = 0; i < num - kept; i++) p[heap[i]] = 0;
    for (int64_t i = 0; i < kept; i++) p[heap[num - 1 - i]] *= scale;
}

static double log_sum_exp(const float *logits, int64_t num, float *scratch) {
    float max = largest(logits, num);
    memcpy(scratch, logits, sizeof(float) * (size_t)num);
    return log(exp_all(scratch, num, max, 1.0f)) + (double)max;
}

/* Turns raw logits into what is drawn from, in `p`; returns log Σ exp(logits / temperature). */
static double distribution(const Model *m, int64_t b, const float *logits, float *p, int32_t *heap) {
    float scale = 1.0f / m->temperature[b], max = largest(logits, m->num_ids);
    memcpy(p, logits, sizeof(float) * (size_t)m->num_ids);
    double total = exp_all(p, m->num_ids, max, scale);
    if ((m->top_k[b] > 0 && m->top_k[b] < m->num_ids) || m->top_p[b] < 1.0f) {
        restrict_to(p, m->num_ids, m->top_k[b], m->top_p[b], total, heap);
    } else {
        float by = (float)(1.0 / total);
        for (int64_t i = 0; i < m->num_ids; i++) p[i] *= by;
    }
    return log(total) + (double)max * scale;
}

/* The model's draft of x at `place`; its proposal distribution goes to `p` when it was sampled. */
static void draft(const Model *m, Scratch *s, int64_t b, int64_t place, const float *logits, float *p) {
    int64_t token;
    if (m->temperature[b] > 0) {
        distribution(m, b, logits, p, s->order + thread_number() * m->num_ids);
        token = draw(p, m->num_ids, uniform(m->seed[b], place, DRAFT));
    } else {
        token = argmax(logits, m->num_ids);
    }
    m->tokens[b * m->num_places + place] = token;
}

/* Accepts a prefix of a request's drafts and adds one token more (Leviathan's rule); ends the request where it must. */
static void verify(const Model *m, Scratch *s, int64_t b) {
    int64_t v = m->num_ids, drafts = m->num_drafts, first = m->num_tokens[b], accepted = 0;
    int64_t *tokens = m->tokens + b * m->num_places + first, *report = m->report + b * (FIRST_TOKEN + m->max_drafts + 1);
    float *logprobs = m->logprobs + b * (m->max_drafts + 1), *p = s->probabilities + thread_number() * v;
    for (int done = 0; !done; accepted += !done) {
        const float *logits = s->logits + (b * (drafts + 1) + accepted) * v;
        float *proposal = s->proposals + (b * (drafts + 1) + accepted) * v;
        int64_t place = first + accepted, token = accepted < drafts ? tokens[accepted] : -1;
        double log_total, scale = 1.0;
        if (m->temperature[b] > 0) {
            scale = 1.0f / m->temperature[b];
            log_total = distribution(m, b, logits, p, s->order + thread_number() * v);
            done = token < 0 || !(uniform(m->seed[b], place, ACCEPT) * proposal[token] < p[token]);
            if (done) {
                double excess = 0;
                for (int64_t i = 0; i < v && token >= 0; i++) {
                    proposal[i] = p[i] > proposal[i] ? p[i] - proposal[i] : 0;
                    excess += proposal[i];
                }
                /* Equal distributions leave no excess; a rejection there comes from rounding alone. */
                token = draw(excess > 0 ? proposal : p, v, uniform(m->seed[b], place, SAMPLE));
            }
        } else {
            int64_t best = argmax(logits, v);
            log_total = log_sum_exp(logits, v, p);
            done = best != token;
            token = best;
        }
        tokens[accepted] = report[FIRST_TOKEN + accepted] = token;
        logprobs[accepted] = (float)((double)logits[token] * scale - log_total);
    }
    for (int64_t k = 0; k < drafts; k++) {
        /* Entry i of layer k + 1 stands on x_{i + k + 1}: right as far as these were accepted. */
        int64_t right = first + accepted - k - 1;
        m->filled[b * m->max_drafts + k] = right < first - 1 ? right : first - 1;
    }
    int64_t room = m->max_tokens[b] - first, num_new = accepted + 1 < room ? accepted + 1 : room;
    int64_t finish = num_new == room ? LENGTH : RUNNING;
    for (int64_t t = 0; t < num_new && finish != STOP; t++)
        for (int64_t i = 0; i < m->num_stop_ids; i++)
            if (tokens[t] == m->stop_ids[i]) finish = STOP, num_new = t + 1;
    m->num_tokens[b] = first + num_new;
    report[FINISH] = finish, report[NUM_NEW] = num_new, report[NUM_ACCEPTED] = accepted;
}

/* -- The round -- */

/* Brings MTP layer k (from 1) up to x_n on every request, and drafts x_{n + k} with it. */
static void draft_layer(const Model *m, Scratch *s, int64_t batch, int64_t k) {
    const Layer *l = m->layers + m->num_layers + k - 1;
    int64_t width = m->hidden_size, heads = m->num_heads * m->head_dim, all = heads + 2 * m->num_key_heads * m->head_dim;
    int bf16 = (int)m->is_bfloat16;
    int64_t b = 0, next = m->filled[k - 1];
    while (b < batch) {
        /* As many entries as fit, request by request; the last one of a request drafts. */
        int64_t num = 0, num_last = 0, first_request = b;
        while (b < batch && num < CHUNK) {
            int64_t newest = m->num_tokens[b] - 2;
            if (next < 0) next = 0;
            if (next > newest) next = newest;
            for (; next <= newest && num < CHUNK; next++, num++)
                if (thread_number() == 0) {
                    s->slots[num] = b;
                    s->positions[num] = next;
                    s->ids[num] = next ? m->tokens[b * m->num_places + next + k] : -1;
                }
            if (next > newest) {
                if (thread_number() == 0) s->last[num_last] = num - 1;
                num_last++, b++;
                if (b < batch) next = m->filled[b * m->max_drafts + k - 1];
            }
        }
        BARRIER
        embed(m, s->ids, s->x, num);
        for (int64_t n = thread_number(); n < num; n += num_threads_here()) {
            float *hidden = s->mixed + n * width, *pair = s->pairs + n * 2 * width;
            int64_t at = (s->slots[n] * m->num_places + s->positions[n]) * width;
            for (int64_t i = 0; i < width; i++) hidden[i] = load(m->hidden, at + i, bf16);
            rms_norm_row(m, hidden, l->hidden_norm, pair);
            rms_norm_row(m, s->x + n * width, l->token_norm, pair + width);
        }
        BARRIER
        project(m, l->input_proj, s->pairs, s->x, num, 2 * width, width, 0);
        rms_norm(m, s->x, l->input_norm, s->normed, num);
        attend_prepare(m, l, s->normed, s->qkv, s->slots, s->positions, num, 0);
        if (!num_last) continue;
        /* Only the last entries go through the rest of the block; they move to the front, with their queries. */
        if (thread_number() == 0)
            for (int64_t i = 0; i < num_last; i++) {
                int64_t from = s->last[i];
                memmove(s->x + i * width, s->x + from * width, sizeof(float) * (size_t)width);
                memmove(s->normed + i * width, s->normed + from * width, sizeof(float) * (size_t)width);
                s->slots[i] = s->slots[from];
                s->positions[i] = s->positions[from];
            }
        BARRIER
        Share mine = share(heads);
        linear(l->q, l->q_bias, s->normed, s->qkv, num_last, width, all, mine.begin, mine.end, bf16, 0);
        BARRIER
        for (int64_t i = thread_number(); i < num_last; i += num_threads_here())
            rotate(m, s->qkv + i * all, m->num_heads, s->positions[i]);
        BARRIER
        rest_of_block(m, l, s, s->x, num_last);
        rms_norm(m, s->x, l->final_norm, s->normed, num_last);
        project(m, m->head, s->normed, s->logits, num_last, width, m->num_ids, 0);
        for (int64_t i = thread_number(); i < num_last; i += num_threads_here()) {
            int64_t request = first_request + i;
            draft(m, s, request, m->num_tokens[request] + k - 1, s->logits + i * m->num_ids,
                  s->proposals + (request * (m->num_drafts + 1) + k - 1) * m->num_ids);
        }
        BARRIER
    }
}

static void verify_all(const Model *m, Scratch *s, int64_t batch) {
    int64_t steps = m->num_drafts + 1, num = batch * steps, width = m->hidden_size;
    for (int64_t n = thread_number(); n < num; n += num_threads_here()) {
        s->slots[n] = n / steps;
        s->positions[n] = m->num_tokens[n / steps] - 1 + n % steps;
        s->ids[n] = m->tokens[s->slots[n] * m->num_places + s->positions[n]];
    }
    BARRIER
    embed(m, s->ids, s->x, num);
    for (int64_t i = 0; i < m->num_layers; i++) {
        const Layer *l = m->layers + i;
        rms_norm(m, s->x, l->input_norm, s->normed, num);
        attend_prepare(m, l, s->normed, s->qkv, s->slots, s->positions, num, 1);
        rest_of_block(m, l, s, s->x, num);
    }
    if (m->max_drafts)
        for (int64_t n = thread_number(); n < num; n += num_threads_here())
            for (int64_t i = 0; i < width; i++)
                store(m->hidden, (s->slots[n] * m->num_places + s->positions[n]) * width + i, s->x[n * width + i],
                      (int)m->is_bfloat16);
    rms_norm(m, s->x, m->norm, s->normed, num);
    project(m, m->head, s->normed, s->logits, num, width, m->num_ids, 0);
    for (int64_t b = thread_number(); b < batch; b += num_threads_here()) verify(m, s, b);
}

/* One round for the first `batch` slots. scratch: `scratch_size` floats. */
void decode_round(const Model *m, int64_t batch, float *scratch) {
    Scratch s;
    carve(m, batch, scratch, &s);
#pragma omp parallel num_threads((int)m->num_threads)
    {
        for (int64_t k = 1; k <= m->num_drafts; k++) draft_layer(m, &s, batch, k);
        verify_all(m, &s, batch);
    }
}
