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
    BARRIER
}

static void project(const Model *m, const void *w, const float *x, float *y, int64_t num, int64_t width, int64_t rows,
                    int add) {
    linear(m, w, 0, x, y, num, width, rows, rows, add);
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
    if (with_queries) linear(m, l->q, l->q_bias, x, qkv, num, width, all, q, 0);
    linear(m, l->k, l->k_bias, x, qkv + q, num, width, all, k, 0);
    linear(m, l->v, l->v_bias, x, qkv + q + k, num, width, all, k, 0);
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

/* scores[i] = a · b[i] for `num` rows of b from `at` on; `scores` has room for a multiple of four. */
INLINE void dots(const float *a, const void *b, int64_t at, int64_t num, int64_t width, int bf16, float *scores) {
    for (int64_t i = 0; i < num; i += 4) {
        vec4 parts[4], rests = {0};
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            vec total = {0};
            int64_t row = at + (i + k < num ? i + k : num - 1) * width, c = 0;
            for (; c + LANES <= width; c += LANES) total += *(const vec *)(a + c) * load_vec(b, row + c, bf16);
            for (; c < width; c++) rests[k] += a[c] * load(b, row + c, bf16);
            parts[k] = quarter(total);
        }
        vec4 sums = four_sums(parts[0], parts[1], parts[2], parts[3]) + rests;
        memcpy(scores + i, &sums, sizeof sums);
    }
}

/* to = the sum of b's rows from `at` on, each times its weight: `vectors` vectors of every row, from place c on. */
INLINE void weighted_vectors(int vectors, const float *weights, const void *b, int64_t at, int64_t num, int64_t width,
                             int64_t c, int bf16, float *to) {
    vec total[CHAINS][4];
    for (int v = 0; v < vectors; v++) total[0][v] = total[1][v] = (vec){0};
    for (int64_t i = 0; i + CHAINS <= num; i += CHAINS)
        for (int k = 0; k < CHAINS; k++)
            for (int v = 0; v < vectors; v++)
                total[k][v] += weights[i + k] * load_vec(b, at + (i + k) * width + c + v * LANES, bf16);
    if (num % CHAINS)
        for (int v = 0; v < vectors; v++)
            total[0][v] += weights[num - 1] * load_vec(b, at + (num - 1) * width + c + v * LANES, bf16);
    for (int v = 0; v < vectors; v++) *(vec *)(to + c + v * LANES) = total[0][v] + total[1][v];
}

INLINE void weighted_sum(const float *weights, const void *b, int64_t at, int64_t num, int64_t width, int bf16, float *to) {
    int64_t c = 0;
    for (; c + 4 * LANES <= width; c += 4 * LANES) weighted_vectors(4, weights, b, at, num, width, c, bf16, to);
    for (; c + 2 * LANES <= width; c += 2 * LANES) weighted_vectors(2, weights, b, at, num, width, c, bf16, to);
    for (; c + LANES <= width; c += LANES) weighted_vectors(1, weights, b, at, num, width, c, bf16, to);
    for (; c < width; c++) {
        to[c] = 0;
        for (int64_t i = 0; i < num; i++) to[c] += weights[i] * load(b, at + i * width + c, bf16);
    }
}

/* out[n] of each query head: softmax over keys 0 … positions[n]. scores: room for C of every thread. */
static void attend(const Model *m, const Layer *l, const float *qkv, float *out, const int64_t *slots,
                   const int64_t *positions, int64_t num, float *scores) {
    int64_t e = m->head_dim, q = m->num_heads * e, all = q + 2 * m->num_key_heads * e;
    int64_t group = m->num_heads / m->num_key_heads;
    float *mine = scores + thread_number() * (m->num_places + LANES), scale = 1.0f / sqrtf((float)e);
    int bf16 = (int)m->is_bfloat16;
    /* Heads of one token lie beside each other, so that the keys they share stay in the cache. */
    Range jobs = part(num * m->num_heads, 1);
    for (int64_t job = jobs.begin; job < jobs.end; job++) {
        int64_t n = job / m->num_heads, h = job % m->num_heads, length = positions[n] + 1;
        int64_t at = (slots[n] * m->num_key_heads + h / group) * m->num_places * e;
        const float *query = qkv + n * all + h * e;
        float *to = out + n * q + h * e;
        if (bf16)
            dots(query, l->keys, at, length, e, 1, mine);
        else
            dots(query, l->keys, at, length, e, 0, mine);
        float share = (float)(1.0 / exp_all(mine, length, largest(mine, length), scale));
        if (bf16)
            weighted_sum(mine, l->values, at, length, e, 1, to);
        else
            weighted_sum(mine, l->values, at, length, e, 0, to);
        for (int64_t i = 0; i < e; i++) to[i] *= share;
    }
    BARRIER
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
    BARRIER
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
