/* A transformer block on a few tokens of several requests. Each function leaves a barrier behind it. */

#pragma once

#include "linear.h"

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
    barrier(m);
}

static void project(const Model *m, const void *w, const float *x, float *y, int64_t num, int64_t width, int64_t rows,
                    int add) {
    linear(m, w, 0, x, y, num, width, rows, rows, add);
    barrier(m);
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
    if (with_queries) linear(m, l->q, l->q_bias, x, qkv, num, width, all, q, 0);
    linear(m, l->k, l->k_bias, x, qkv + q, num, width, all, k, 0);
    linear(m, l->v, l->v_bias, x, qkv + q + k, num, width, all, k, 0);
    barrier(m);
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
    barrier(m);
}

/* scores[q * stride + i] = x[q] · keys[i] for `num` keys from `at` on; `scores` has room for a multiple of four. */
INLINE void dots(int queries, const float *x, const void *keys, int64_t at, int64_t num, int64_t width, int bf16,
                 float *scores, int64_t stride) {
    for (int64_t i = 0; i < num; i += 4) {
        vec total[TILE][4];
        int64_t row[4], c = 0;
        for (int k = 0; k < 4; k++) row[k] = at + (i + k < num ? i + k : num - 1) * width;
        for (int q = 0; q < queries; q++)
            for (int k = 0; k < 4; k++) total[q][k] = (vec){0};
        for (; c + LANES <= width; c += LANES) {
            vec key[4];
            for (int k = 0; k < 4; k++) key[k] = load_vec(keys, row[k] + c, bf16);
            for (int q = 0; q < queries; q++)
                for (int k = 0; k < 4; k++) total[q][k] += *(const vec *)(x + q * width + c) * key[k];
        }
        if (c < width)
#pragma GCC unroll 4
            for (int q = 0; q < queries; q++)
#pragma GCC unroll 4
                for (int k = 0; k < 4; k++)
                    total[q][k] += load_part(x, q * width + c, width - c, 0) * load_part(keys, row[k] + c, width - c, bf16);
#pragma GCC unroll 4
        for (int q = 0; q < queries; q++) {
            vec4 sums = four_sums(quarter(total[q][0]), quarter(total[q][1]), quarter(total[q][2]), quarter(total[q][3]));
            memcpy(scores + q * stride + i, &sums, sizeof sums);
        }
    }
}

/* to[q * width] = the sum of the rows of values from `at` on, each times its weight: so many vectors of every row. */
INLINE void weighted_vectors(int queries, int vectors, const float *weights, int64_t stride, const void *values,
                             int64_t at, int64_t num, int64_t width, int bf16, float *to) {
    vec total[TILE][4];
    for (int q = 0; q < queries; q++)
        for (int v = 0; v < vectors; v++) total[q][v] = (vec){0};
    for (int64_t i = 0; i < num; i++) {
        vec value[4];
        for (int v = 0; v < vectors; v++) value[v] = load_vec(values, at + i * width + v * LANES, bf16);
        for (int q = 0; q < queries; q++)
            for (int v = 0; v < vectors; v++) total[q][v] += weights[q * stride + i] * value[v];
    }
    for (int q = 0; q < queries; q++)
        for (int v = 0; v < vectors; v++) *(vec *)(to + q * width + v * LANES) = total[q][v];
}

INLINE void weighted_sums(int queries, const float *weights, int64_t stride, const void *values, int64_t at, int64_t num,
                          int64_t width, int bf16, float *to) {
    int64_t c = 0;
#define VECTORS(N) \
    for (; c + N * LANES <= width; c += N * LANES) \
        weighted_vectors(queries, N, weights, stride, values, at + c, num, width, bf16, to + c);
    VECTORS(4)
    VECTORS(2)
    VECTORS(1)
    for (int q = 0; q < queries && c < width; q++) {
        vec total = {0};
        for (int64_t i = 0; i < num; i++)
            total += weights[q * stride + i] * load_part(values, at + i * width + c, width - c, bf16);
        for (int64_t j = c; j < width; j++) to[q * width + j] = total[j - c];
    }
}

/* Both for a constant number of queries and type of keys and values. */
#define ATTENTION(QUERIES) \
    static void dots_##QUERIES(const float *x, const void *keys, int64_t at, int64_t num, int64_t width, int bf16, \
                               float *scores, int64_t stride) { \
        if (bf16) \
            dots(QUERIES, x, keys, at, num, width, 1, scores, stride); \
        else \
            dots(QUERIES, x, keys, at, num, width, 0, scores, stride); \
    } \
    static void weighted_##QUERIES(const float *weights, int64_t stride, const void *values, int64_t at, int64_t num, \
                                   int64_t width, int bf16, float *to) { \
        if (bf16) \
            weighted_sums(QUERIES, weights, stride, values, at, num, width, 1, to); \
        else \
            weighted_sums(QUERIES, weights, stride, values, at, num, width, 0, to); \
    }
ATTENTION(1) ATTENTION(2) ATTENTION(3) ATTENTION(4)

typedef void (*Dots)(const float *, const void *, int64_t, int64_t, int64_t, int, float *, int64_t);
typedef void (*Weighted)(const float *, int64_t, const void *, int64_t, int64_t, int64_t, int, float *);
static const Dots dots_of[TILE] = {dots_1, dots_2, dots_3, dots_4};
static const Weighted weighted_sums_of[TILE] = {weighted_1, weighted_2, weighted_3, weighted_4};

/* Floats that a thread needs for `attend_together`. */
static int64_t attention_scratch(const Model *m) { return TILE * (m->num_places + LANES + 2 * m->head_dim); }

/* Attention of `tokens` successive tokens of one request, from n on, for `heads` query heads, from h on, of one key head:
softmax over keys 0 … positions[n]. At most TILE queries, which meet each key and value together. */
static void attend_together(const Model *m, const Layer *l, const float *qkv, float *out, int64_t slot,
                            const int64_t *positions, int64_t n, int tokens, int64_t h, int heads, float *memory) {
    int64_t e = m->head_dim, width = m->num_heads * e, all = width + 2 * m->num_key_heads * e, stride = m->num_places + LANES;
    int64_t key_head = h / (m->num_heads / m->num_key_heads);
    int64_t at = (slot * m->num_key_heads + key_head) * m->num_places * e, longest = positions[n + tokens - 1] + 1;
    int64_t whole = (longest + LANES - 1) / LANES * LANES; /* vectors of scores */
    float *queries = memory + TILE * stride, *to = queries + TILE * e, scale = 1.0f / sqrtf((float)e), share[TILE];
    int bf16 = (int)m->is_bfloat16, num = tokens * heads;
    for (int t = 0; t < tokens; t++)
        memcpy(queries + t * heads * e, qkv + (n + t) * all + h * e, sizeof(float) * (size_t)(heads * e));
    dots_of[num - 1](queries, l->keys, at, longest, e, bf16, memory, stride);
    for (int q = 0; q < num; q++) {
        float *scores = memory + q * stride;
        for (int64_t i = positions[n + q / heads] + 1; i < whole; i++) scores[i] = -INFINITY;
        share[q] = (float)(1.0 / exp_all(scores, whole, largest(scores, whole), scale));
    }
    weighted_sums_of[num - 1](memory, stride, l->values, at, longest, e, bf16, to);
    for (int q = 0; q < num; q++)
        for (int64_t i = 0; i < e; i++) out[(n + q / heads) * width + (h + q % heads) * e + i] = to[q * e + i] * share[q];
}

static void attend(const Model *m, const Layer *l, const float *qkv, float *out, const int64_t *slots,
                   const int64_t *positions, int64_t num, float *memory) {
    int64_t group = m->num_heads / m->num_key_heads, job = 0;
    memory += thread_number() * attention_scratch(m);
    for (int64_t n = 0, tokens = 1; n < num; n += tokens, tokens = 1) {
        while (tokens < TILE && n + tokens < num && slots[n + tokens] == slots[n]
               && positions[n + tokens] == positions[n] + tokens)
            tokens++;
        int64_t most = TILE / tokens;
        for (int64_t h = 0, heads; h < m->num_heads; h += heads) {
            heads = group - h % group < most ? group - h % group : most;
            if (job++ % num_threads_here() == thread_number())
                attend_together(m, l, qkv, out, slots[n], positions, n, (int)tokens, h, (int)heads, memory);
        }
    }
    barrier(m);
}

static void feed_forward(const Model *m, const Layer *l, const float *x, float *inner, float *up, float *y, int64_t num) {
    int64_t width = m->hidden_size, f = m->feed_forward;
    Share mine = share(m, num, f);
    linear(m, l->gate, 0, x, inner, num, width, f, f, 0);
    linear(m, l->up, 0, x, up, num, width, f, f, 0);
    for (int64_t n = mine.tokens.begin; n < mine.tokens.end; n++) {
        int64_t i = mine.rows.begin;
        float *gate = inner + n * f, *by = up + n * f;
        for (; i + LANES <= mine.rows.end; i += LANES) {
            vec g = *(vec *)(gate + i);
            *(vec *)(gate + i) = g / (1.0f + exp_vec(-g)) * *(vec *)(by + i);
        }
        for (; i < mine.rows.end; i++) gate[i] = gate[i] / (1.0f + exp_vec((vec){0} - gate[i])[0]) * by[i];
    }
    barrier(m);
    project(m, l->down, inner, y, num, f, width, 1);
}

/* -- Scratch memory -- */

/* Scratch memory, in floats; `scratch_size` says how much. */
typedef struct {
    float *x, *normed, *qkv, *mixed, *inner, *up, *scores, *pairs, *logits, *proposals, *probabilities;
    int64_t *slots, *positions, *ids, *last;
    int32_t *order;
} Scratch;

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
    TAKE(scores, float, m->num_threads * attention_scratch(m))
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
    barrier(m);
}

/* x += attention(norm(x)), x += mlp(norm(x)), for tokens whose queries, keys and values are in qkv and the cache. */
static void rest_of_block(const Model *m, const Layer *l, Scratch *s, float *x, int64_t num) {
    attend(m, l, s->qkv, s->mixed, s->slots, s->positions, num, s->scores);
    project(m, l->o, s->mixed, x, num, m->num_heads * m->head_dim, m->hidden_size, 1);
    rms_norm(m, x, l->post_norm, s->normed, num);
    feed_forward(m, l, s->normed, s->inner, s->up, x, num);
}
