/* Drawing tokens and verifying drafts; sampling.py and rounds.py say the same in PyTorch. */

#pragma once

#include "block.h"

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
        while (kept < limit && (!kept || mass < top_p * total)) mass += p[heap[num - ++kept]];
    } else {
        double mass = 0;
        while (kept < limit && (!kept || top_p >= 1.0f || mass < top_p * total)) {
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
static void verify(const Model *m, Scratch *s, int64_t b, const float *logits, float *proposal) {
    int64_t v = m->num_ids, drafts = m->num_drafts, first = m->num_tokens[b], accepted = 0;
    int64_t *tokens = m->tokens + b * m->num_places + first, *report = m->report + b * (FIRST_TOKEN + m->max_drafts + 1);
    float *logprobs = m->logprobs + b * (m->max_drafts + 1), *p = s->probabilities + thread_number() * v;
    for (int done = 0; !done; accepted += !done, logits += v, proposal += v) {
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
