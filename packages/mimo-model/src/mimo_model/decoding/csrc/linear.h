/* y = W x + bias for a few tokens.

Every product of a row of weights with a token's vector is summed in the same order whatever else is in the batch.
Large weights are read as they are, a row of W as one dot product. Small ones (`is_packed`) come as float32 in blocks of
BLOCK rows, transposed, so that a block's sums lie side by side in a vector: [rows / BLOCK, width, BLOCK], padded with
zeros. A short row is done before a dot product's parts are added up. */

#pragma once

#include "types.h"

#define TILE 4      /* tokens whose products with a row of weights are summed side by side */
#define CHAINS 2    /* sums of one product that run side by side */
#define AHEAD 2048  /* bytes: how far weights are asked for in advance */
#define BLOCK LANES /* rows of a packed block */
#define WIDE 8      /* tokens that meet packed blocks at once */

/* -- Weights as they are -- */

/* out[t * rows + r] = w[r] · x[t], for constant numbers of rows and tokens. */
INLINE void tile(int rows, int tokens, const void *w, const float *x, int64_t width, int bf16, float *out) {
    vec total[CHAINS][2 * TILE];
    for (int j = 0; j < rows * tokens; j++) total[0][j] = total[1][j] = (vec){0};
    int64_t i = 0;
    for (; i + CHAINS * LANES <= width; i += CHAINS * LANES)
        for (int c = 0; c < CHAINS; c++) {
            int64_t at = i + c * LANES;
            vec x_i[TILE];
            for (int t = 0; t < tokens; t++) x_i[t] = *(const vec *)(x + t * width + at);
            for (int r = 0; r < rows; r++) {
                vec w_i = load_vec(w, r * width + at, bf16);
                /* Once, not to stay: the next round reads them after all the others. */
                __builtin_prefetch((const char *)w + (r * width + at) * (bf16 ? 2 : 4) + AHEAD, 0, 0);
                for (int t = 0; t < tokens; t++) total[c][t * rows + r] += w_i * x_i[t];
            }
        }
    vec4 quarters[2 * TILE];
    for (int j = 0; j < rows * tokens; j++) quarters[j] = quarter(total[0][j] + total[1][j]);
    for (int j = 0; j < rows * tokens; j += 4) {
        if (rows * tokens - j >= 4) {
            vec4 sums = four_sums(quarters[j], quarters[j + 1], quarters[j + 2], quarters[j + 3]);
            memcpy(out + j, &sums, sizeof sums);
        } else {
            for (int last = j; last < rows * tokens; last++) out[last] = sum_of_quarter(quarters[last]);
        }
    }
    if (i < width)
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < tokens; t++) {
                float rest = 0;
                for (int64_t j = i; j < width; j++) rest += load(w, r * width + j, bf16) * x[t * width + j];
                out[t * rows + r] += rest;
            }
}

#define TILES(ROWS, TOKENS) \
    static void tile_##ROWS##_##TOKENS(const void *w, const float *x, int64_t width, int bf16, float *out) { \
        if (bf16) \
            tile(ROWS, TOKENS, w, x, width, 1, out); \
        else \
            tile(ROWS, TOKENS, w, x, width, 0, out); \
    }
TILES(1, 1) TILES(1, 2) TILES(1, 3) TILES(1, 4) TILES(2, 1) TILES(2, 2) TILES(2, 3) TILES(2, 4)

typedef void (*Tile)(const void *, const float *, int64_t, int, float *);
static const Tile one_row[] = {tile_1_1, tile_1_2, tile_1_3, tile_1_4};
static const Tile two_rows[] = {tile_2_1, tile_2_2, tile_2_3, tile_2_4};

/* Rows `begin` to `end` of y[n] (+)= w x[n] + bias, for n of `num`; y[n] is `stride` wide. */
static void rows_as_they_are(const void *w, const void *bias, const float *x, float *y, int64_t num, int64_t width,
                             int64_t stride, int64_t begin, int64_t end, int bf16, int add) {
    float out[2 * TILE];
    for (int64_t row = begin; row < end;) {
        /* For few tokens memory is what counts, and one stream is read fastest; for many, the loads of x. */
        int rows = num > TILE && end - row >= 2 ? 2 : 1;
        const char *w_row = (const char *)w + row * width * (bf16 ? 2 : 4);
        for (int64_t n = 0; n < num; n += TILE) {
            int tokens = num - n < TILE ? (int)(num - n) : TILE;
            (rows == 2 ? two_rows : one_row)[tokens - 1](w_row, x + n * width, width, bf16, out);
            for (int t = 0; t < tokens; t++)
                for (int r = 0; r < rows; r++) {
                    float *to = y + (n + t) * stride + row + r;
                    float value = bias ? out[t * rows + r] + load(bias, row + r, bf16) : out[t * rows + r];
                    *to = add ? *to + value : value;
                }
        }
        row += rows;
    }
}

/* -- Packed weights -- */

/* Packs `rows` rows; `out` has room for whole blocks. */
void pack(const void *w, int64_t rows, int64_t width, int64_t bf16, float *out) {
    for (int64_t block = 0; block < rows; block += BLOCK)
        for (int64_t i = 0; i < width; i++)
            for (int64_t r = block; r < block + BLOCK; r++)
                *out++ = r < rows ? load(w, r * width + i, (int)bf16) : 0;
}

/* A matrix's checksum, of so many bytes: one written word always changes it. */
static uint64_t checksum(const char *bytes, int64_t size) {
    uint32_t lanes[64];
    for (int64_t i = 0; i < 64; i++) lanes[i] = (uint32_t)i;
    for (int64_t at = 0; at < size; at += sizeof lanes) {
        uint32_t words[64] = {0};
        int64_t left = size - at;
        if (left >= (int64_t)sizeof words) memcpy(words, bytes + at, sizeof words);
        else memcpy(words, bytes + at, (size_t)left);
        for (int64_t i = 0; i < 64; i++) {
            uint32_t product = (lanes[i] ^ words[i]) * 0x9E3779B1u;
            lanes[i] = product << 13 | product >> 19; /* else what differs in high bits stays there */
        }
    }
    uint64_t sum = 0;
    for (int64_t i = 0; i < 64; i++) sum = (sum ^ lanes[i]) * 0x9E3779B97F4A7C15u;
    return sum;
}

void checksums(const void *const *matrices, const int64_t *sizes, int64_t num, int64_t num_threads, uint64_t *sums) {
    (void)num_threads;
#pragma omp parallel for schedule(dynamic) num_threads((int)num_threads)
    for (int64_t k = 0; k < num; k++) sums[k] = checksum((const char *)matrices[k], sizes[k]);
}

/* out[t * blocks * BLOCK + r] = w[r] · x[t], for constant numbers of tokens and blocks of rows. */
INLINE void packed_tile(int tokens, int blocks, const float *w, const float *x, int64_t width, float *out) {
    vec total[WIDE][4];
    for (int t = 0; t < tokens; t++)
        for (int b = 0; b < blocks; b++) total[t][b] = (vec){0};
#pragma GCC unroll 2
    for (int64_t i = 0; i < width; i++) {
        vec w_i[4];
        for (int b = 0; b < blocks; b++) w_i[b] = *(const vec *)(w + (b * width + i) * BLOCK);
        for (int t = 0; t < tokens; t++) {
            vec x_i = x[t * width + i] - (vec){0};
            for (int b = 0; b < blocks; b++) total[t][b] += w_i[b] * x_i;
        }
    }
    for (int t = 0; t < tokens; t++)
        for (int b = 0; b < blocks; b++) *(vec *)(out + (t * blocks + b) * BLOCK) = total[t][b];
}

#define PACKED(TOKENS, BLOCKS) \
    static void packed_##TOKENS##_##BLOCKS(const float *w, const float *x, int64_t width, float *out) { \
        packed_tile(TOKENS, BLOCKS, w, x, width, out); \
    }
PACKED(1, 1) PACKED(2, 1) PACKED(3, 1) PACKED(4, 1) PACKED(5, 1) PACKED(6, 1) PACKED(7, 1) PACKED(8, 1)
PACKED(1, 2) PACKED(2, 2) PACKED(3, 2) PACKED(4, 2) PACKED(5, 2) PACKED(6, 2) PACKED(7, 2) PACKED(8, 2)
PACKED(1, 3) PACKED(1, 4)

typedef void (*PackedTile)(const float *, const float *, int64_t, float *);
static const PackedTile packed_tiles[4][WIDE] = {
    {packed_1_1, packed_2_1, packed_3_1, packed_4_1, packed_5_1, packed_6_1, packed_7_1, packed_8_1},
    {packed_1_2, packed_2_2, packed_3_2, packed_4_2, packed_5_2, packed_6_2, packed_7_2, packed_8_2},
    {packed_1_3},
    {packed_1_4},
};

static void packed_rows(const float *w, const void *bias, const float *x, float *y, int64_t num, int64_t width,
                        int64_t stride, int64_t begin, int64_t end, int bf16, int add) {
    float out[WIDE * 2 * BLOCK] __attribute__((aligned(64)));
    int64_t most = num == 1 ? 4 * BLOCK : 2 * BLOCK;
    for (int64_t row = begin; row < end;) {
        int64_t rows = end - row < most ? end - row : most, blocks = (rows + BLOCK - 1) / BLOCK;
        for (int64_t n = 0; n < num; n += WIDE) {
            int64_t tokens = num - n < WIDE ? num - n : WIDE;
            packed_tiles[blocks - 1][tokens - 1](w + row * width, x + n * width, width, out);
            for (int64_t t = 0; t < tokens; t++) {
                float *to = y + (n + t) * stride + row, *from = out + t * blocks * BLOCK;
                if (bias)
                    for (int64_t r = 0; r < rows; r++) from[r] += load(bias, row + r, bf16);
                if (add)
                    for (int64_t r = 0; r < rows; r++) to[r] += from[r];
                else
                    memcpy(to, from, sizeof(float) * (size_t)rows);
            }
        }
        row += rows;
    }
}

/* -- Either -- */

typedef struct {
    int64_t begin, end;
} Range;

typedef struct {
    Range tokens, rows;
} Share;

static Range part(int64_t total, int64_t size) { /* this thread's, in whole pieces of `size` */
    int64_t pieces = (total + size - 1) / size, num = num_threads_here(), me = thread_number();
    int64_t begin = pieces * me / num * size, end = pieces * (me + 1) / num * size;
    return (Range){begin < total ? begin : total, end < total ? end : total};
}

/* This thread's share of a matrix's products: some of its rows, or where few blocks of rows meet many tokens, of those. */
static Share share(const Model *m, int64_t num, int64_t rows) {
    if (m->is_packed && num >= WIDE * num_threads_here()) return (Share){part(num, WIDE), {0, rows}};
    return (Share){{0, num}, part(rows, m->is_packed ? BLOCK : 2)};
}

/* This thread's share of y[n] (+)= w x[n] + bias, for n of `num`; y[n] is `stride` wide. Leaves no barrier. */
static void linear(const Model *m, const void *w, const void *bias, const float *x, float *y, int64_t num, int64_t width,
                   int64_t stride, int64_t rows, int add) {
    Share mine = share(m, num, rows);
    int bf16 = (int)m->is_bfloat16;
    x += mine.tokens.begin * width, y += mine.tokens.begin * stride, num = mine.tokens.end - mine.tokens.begin;
    if (m->is_packed)
        packed_rows((const float *)w, bias, x, y, num, width, stride, mine.rows.begin, mine.rows.end, bf16, add);
    else
        rows_as_they_are(w, bias, x, y, num, width, stride, mine.rows.begin, mine.rows.end, bf16, add);
}
