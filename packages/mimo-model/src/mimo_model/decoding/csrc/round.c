/* One decoding round on a CPU in one call: drafts, verification, sampling (mimo_model/native.py compiles and calls it).

Weights are read once a round; all arithmetic is float32. A token's logits do not depend on its batch-mates, nor on how
many drafts are verified with it.

Shapes as in engine.py: B running requests, T tokens of one, K drafts, D hidden, H query heads, G key-value heads, E head
width, F feed-forward, V tokenizer ids, C places of a slot. N = tokens of all requests in one forward. */

#include "sampling.h"

/* The main layers for the N tokens whose slots, positions and ids are in the scratch memory: s->x, and the cache; the
cache alone where `only_cache` says so. */
static void trunk(const Model *m, Scratch *s, int64_t num, int only_cache) {
    embed(m, s->ids, s->x, num);
    for (int64_t i = 0; i < m->num_layers; i++) {
        const Layer *l = m->layers + i;
        int is_end = only_cache && i == m->num_layers - 1;
        rms_norm(m, s->x, l->input_norm, s->normed, num);
        attend_prepare(m, l, s->normed, s->qkv, s->slots, s->positions, num, !is_end);
        if (is_end) return;
        rest_of_block(m, l, s, s->x, num);
    }
    if (m->max_drafts)
        for (int64_t n = thread_number(); n < num; n += num_threads_here())
            for (int64_t i = 0; i < m->hidden_size; i++)
                store(m->hidden, (s->slots[n] * m->num_places + s->positions[n]) * m->hidden_size + i,
                      s->x[n * m->hidden_size + i], (int)m->is_bfloat16);
}

/* Brings MTP layer k (from 1) up to x_n on every request, and drafts x_{n + k} with it. */
static void draft_layer(const Model *m, Scratch *s, int64_t first, int64_t batch, int64_t k) {
    const Layer *l = m->layers + m->num_layers + k - 1;
    int64_t width = m->hidden_size, heads = m->num_heads * m->head_dim, all = heads + 2 * m->num_key_heads * m->head_dim;
    int bf16 = (int)m->is_bfloat16;
    int64_t b = first, end = first + batch, next = m->filled[b * m->max_drafts + k - 1];
    while (b < end) {
        /* As many entries as fit, request by request; the last one of a request drafts. */
        int64_t num = 0, num_last = 0, first_request = b;
        while (b < end && num < CHUNK) {
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
                if (b < end) next = m->filled[b * m->max_drafts + k - 1];
            }
        }
        barrier(m);
        embed(m, s->ids, s->x, num);
        for (int64_t n = thread_number(); n < num; n += num_threads_here()) {
            float *hidden = s->mixed + n * width, *pair = s->pairs + n * 2 * width;
            int64_t at = (s->slots[n] * m->num_places + s->positions[n]) * width;
            for (int64_t i = 0; i < width; i++) hidden[i] = load(m->hidden, at + i, bf16);
            rms_norm_row(m, hidden, l->hidden_norm, pair);
            rms_norm_row(m, s->x + n * width, l->token_norm, pair + width);
        }
        barrier(m);
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
        barrier(m);
        linear(m, l->q, l->q_bias, s->normed, s->qkv, num_last, width, all, heads, 0);
        barrier(m);
        for (int64_t i = thread_number(); i < num_last; i += num_threads_here())
            rotate(m, s->qkv + i * all, m->num_heads, s->positions[i]);
        barrier(m);
        rest_of_block(m, l, s, s->x, num_last);
        rms_norm(m, s->x, l->final_norm, s->normed, num_last);
        project(m, m->head, s->normed, s->logits, num_last, width, m->num_ids, 0);
        for (int64_t i = thread_number(); i < num_last; i += num_threads_here()) {
            int64_t request = first_request + i;
            draft(m, s, request, m->num_tokens[request] + k - 1, s->logits + i * m->num_ids,
                  s->proposals + ((request - first) * (m->num_drafts + 1) + k - 1) * m->num_ids);
        }
        barrier(m);
    }
}

static void verify_all(const Model *m, Scratch *s, int64_t first, int64_t batch) {
    int64_t steps = m->num_drafts + 1, num = batch * steps;
    for (int64_t n = thread_number(); n < num; n += num_threads_here()) {
        s->slots[n] = first + n / steps;
        s->positions[n] = m->num_tokens[s->slots[n]] - 1 + n % steps;
        s->ids[n] = m->tokens[s->slots[n] * m->num_places + s->positions[n]];
    }
    barrier(m);
    trunk(m, s, num, 0);
    rms_norm(m, s->x, m->norm, s->normed, num);
    project(m, m->head, s->normed, s->logits, num, m->hidden_size, m->num_ids, 0);
    for (int64_t b = thread_number(); b < batch; b += num_threads_here())
        verify(m, s, first + b, s->logits + b * steps * m->num_ids, s->proposals + b * steps * m->num_ids);
}

/* One round for the requests in slots `first` to `first + batch`. memory: `scratch_size` floats. */
void decode_round(Model *m, int64_t first, int64_t batch, float *memory) {
    Scratch s;
    Team team = {0};
    m->team = &team;
    carve(m, batch, memory, &s);
#pragma omp parallel num_threads((int)m->num_threads)
    {
        for (int64_t k = 1; k <= m->num_drafts; k++) draft_layer(m, &s, first, batch, k);
        verify_all(m, &s, first, batch);
    }
}

/* Reads the prompts in these slots into the cache, all but their last tokens, which the first round reads. */
void prefill(Model *m, int64_t first, int64_t batch, float *memory) {
    Scratch s;
    Team team = {0};
    m->team = &team;
    carve(m, batch, memory, &s);
#pragma omp parallel num_threads((int)m->num_threads)
    for (int64_t b = first, next = 0; b < first + batch;) {
        int64_t num = 0;
        while (b < first + batch && num < CHUNK) {
            for (; next < m->num_tokens[b] - 1 && num < CHUNK; next++, num++)
                if (thread_number() == 0) {
                    s.slots[num] = b;
                    s.positions[num] = next;
                    s.ids[num] = m->tokens[b * m->num_places + next];
                }
            if (next == m->num_tokens[b] - 1) b++, next = 0;
        }
        barrier(m);
        if (num) trunk(m, &s, num, m->max_drafts == 0); /* MTP layers read the hidden states */
        barrier(m);
    }
}
