/* The order of work in a segment: from its last stage back to the first that has what it needs, and on again. */
#include "nas_rows.h"

#include "nas_words.h"

NAS_RARE nas_layer nas_rows_record(const nas_rows *stage, const nas_layer *layer, const uint8_t *arena)
{
    const uint32_t index = (uint32_t)(layer - stage->layers);
    nas_layer one = *layer;
    one.scratch = stage->scratch;
    if (NAS_ROWS_UNPACKED(stage, index)) {
        one.weights = (const uint32_t *)(const void *)(arena + nas_rows_weights(stage, index));
        one.weight_bits = NAS_TILE_BITS;
    }
    return one;
}

static uint32_t bytes_of(uint32_t width, uint32_t channels, uint32_t bits)
{
    return width * channels * bits / 8U;
}

/* Bytes of a tensor with its padding to whole words. */
static uint32_t words_of(uint32_t elements, uint32_t bits)
{
    return (elements * bits + 31U) / 32U * 4U;
}

static uint32_t in_bytes(const nas_layer *layer)
{
    return bytes_of(layer->in_width, layer->in_channels, layer->in_bits);
}

static uint32_t out_bytes(const nas_layer *layer)
{
    return bytes_of(layer->out_width, layer->out_channels, layer->out_bits);
}

static const nas_layer *window_of(const nas_rows *stage)
{
    return stage->layers + (stage->flags & NAS_ROWS_TAKE) + ((stage->flags & NAS_ROWS_SIDE) != 0);
}

/* Rows in the ring, and rows of the source that entered; they differ where rows of the ring are made of several. */
static uint16_t *counts_of(const nas_rows *stage, const nas_call *call)
{
    return (uint16_t *)(void *)(call->arena + stage->state);
}

/* Whether rows of the ring are made of several rows of the source. */
static int takes_window(const nas_rows *stage)
{
    return (stage->flags & NAS_ROWS_TAKE) != 0 && stage->layers->kernel > 1U;
}

static uint32_t entered(const nas_rows *stage, const nas_call *call)
{
    return counts_of(stage, call)[takes_window(stage)];
}

/* Input rows first .. past - 1 make an output row. */
static uint32_t past_of(const nas_layer *layer, uint32_t row)
{
    const uint32_t past = row * layer->stride + layer->kernel - layer->pad_top;
    return past < layer->in_height ? past : layer->in_height;
}

static uint32_t first_of(const nas_layer *layer, uint32_t row)
{
    const uint32_t top = row * layer->stride;
    return top > layer->pad_top ? top - layer->pad_top : 0U;
}

/* The first row of a line that has `slots` places, when `count` rows came. A line from which a window reads begins where one of
 * its output rows does: as many rows as its stride make room at once. */
static NAS_RARE uint32_t first_in_line(uint32_t slots, uint32_t count, const nas_layer *window)
{
    const uint32_t first = count > slots ? count - slots : 0U;
    return first != 0U && window != NULL ? first + window->stride - 1U - (first + window->pad_top + window->stride - 1U) % window->stride : first;
}

/* Returns where the next row goes; if the line is full, its rows move. */
static NAS_RARE uint32_t next_in_line(
    const nas_call *call, uint32_t base, uint32_t slots, uint32_t count, const nas_layer *window, uint32_t bytes)
{
    const uint32_t first = first_in_line(slots, count + 1U, window), moved = (first - first_in_line(slots, count, window)) * bytes;
    uint32_t at = base;
    for (uint32_t row = first; row < count; row++, at += bytes) {
        if (moved != 0U) {
            memcpy(call->arena + at, call->arena + at + moved, bytes);
        }
    }
    return at;
}

/* Whether a depth-wise layer makes two rows at once, over the two oldest of a ring that has one more than its kernel. */
static uint32_t in_pairs(const nas_rows *stage)
{
    return (stage->flags & NAS_ROWS_PROJECT) != 0 && stage->slots > window_of(stage)->kernel;
}

/* The slot in which a depth-wise layer finds a row. */
static uint32_t slot_of(const nas_rows *stage, uint32_t row)
{
    const nas_layer *const window = window_of(stage);
    return in_pairs(stage) ? (row + window->pad_top) % stage->slots : row % window->kernel;
}

static NAS_RARE uint32_t ring_place(const nas_rows *stage, const nas_call *call)
{
    const uint32_t bytes = in_bytes(window_of(stage)), count = counts_of(stage, call)[0];
    if ((stage->flags & NAS_ROWS_PROJECT) != 0) {
        return stage->ring + slot_of(stage, count) * bytes;
    }
    return next_in_line(call, stage->ring, stage->slots, count, window_of(stage), bytes);
}

/* Where the row of the source that enters next goes; it is asked once for each. */
static NAS_RARE uint32_t entry_place(const nas_rows *stage, const nas_call *call)
{
    const uint32_t count = entered(stage, call), bytes = in_bytes(stage->layers);
    if ((stage->flags & NAS_ROWS_TAKE) == 0) {
        return ring_place(stage, call);
    }
    return takes_window(stage) ? next_in_line(call, stage->source, stage->waiting, count, NULL, bytes)
                               : stage->source + count % stage->waiting * bytes;
}

/* Where a row of the source lies that is still needed. */
static NAS_RARE uint32_t source_row(const nas_rows *stage, const nas_call *call, uint32_t row)
{
    const uint32_t bytes = in_bytes(stage->layers);
    if ((stage->flags & NAS_ROWS_WHOLE) != 0) {
        return stage->source + row * bytes;
    }
    if ((stage->flags & NAS_ROWS_TAKE) == 0) {
        return stage->ring + slot_of(stage, row) * bytes;
    }
    return stage->source + (takes_window(stage) ? row - first_in_line(stage->waiting, entered(stage, call), NULL) : row % stage->waiting) * bytes;
}

/* One output row of a layer from the rows at `from`, the first of which is `first`. */
static NAS_RARE void run_row(const nas_layer *layer, const nas_rows *stage, const nas_call *call, uint32_t row, uint32_t from, uint32_t first, uint32_t to)
{
    nas_layer one = nas_rows_record(stage, layer, call->arena);
    one.in_height = (uint16_t)(past_of(layer, row) - first);
    one.pad_top = (uint8_t)(layer->pad_top + first - row * layer->stride);
    one.out_height = 1;
    one.input = from;
    one.output = to;
    one.run(&one, call->arena);
}

/* The same of a 1x1 layer: some rows that lie one behind the other. */
static NAS_RARE void run_1x1(const nas_layer *layer, const nas_rows *stage, const nas_call *call, uint32_t from, uint32_t to, uint32_t rows)
{
    nas_layer one = nas_rows_record(stage, layer, call->arena);
    one.in_height = one.out_height = (uint16_t)rows;
    one.input = from;
    one.output = to;
    one.run(&one, call->arena);
}

/* Tell of rows that lie one behind the other. */
static NAS_RARE void tell(const nas_call *call, const nas_layer *layer, uint32_t row, uint32_t rows, uint32_t at)
{
    for (; rows != 0U; rows--, row++, at += out_bytes(layer)) {
        nas_tell(call, layer, row, 1U, call->arena + at);
    }
}

/* The source rows that entered go into the ring, where they are not yet there. */
static NAS_RARE void enter(const nas_rows *stage, const nas_call *call, uint32_t rows)
{
    uint16_t *const counts = counts_of(stage, call);
    if (takes_window(stage)) {
        counts[1]++;
        return;
    }
    if ((stage->flags & NAS_ROWS_TAKE) != 0) {
        const uint32_t to = ring_place(stage, call);
        run_1x1(stage->layers, stage, call, source_row(stage, call, counts[0]), to, rows);
        tell(call, stage->layers, counts[0], rows, to);
    }
    counts[0] = (uint16_t)(counts[0] + rows);
}

/* Rows of the source, of which those before `past` are needed, from where all of it is. Returns 0 if the caller has none. */
static NAS_RARE int fetch(const nas_rows *stage, const nas_call *call, uint32_t past)
{
    const uint32_t row = counts_of(stage, call)[0];
    uint32_t rows = 1U;
    if (in_pairs(stage) && (stage->flags & NAS_ROWS_WHOLE) != 0) { /* as many as lie one behind the other */
        const uint32_t room = stage->slots - slot_of(stage, row);
        rows = past - row < room ? past - row : room;
    }
    if ((stage->flags & NAS_ROWS_TAKE) == 0) { /* else it is read where it lies */
        const uint32_t bytes = in_bytes(stage->layers), to = ring_place(stage, call);
        const uint8_t *const from =
            (stage->flags & NAS_ROWS_IMAGE) != 0 ? call->image(call->image_context, row) : call->arena + stage->source + row * bytes;
        if (from == NULL) {
            return 0;
        }
        memcpy(call->arena + to, from, rows * bytes);
    }
    enter(stage, call, rows);
    return 1;
}

/* A row of the ring from several rows of the source. */
static NAS_RARE void take(const nas_rows *stage, const nas_call *call)
{
    const nas_layer *const layer = stage->layers;
    uint16_t *const counts = counts_of(stage, call);
    const uint32_t row = counts[0], first = first_of(layer, row), to = ring_place(stage, call);
    run_row(layer, stage, call, row, source_row(stage, call, first), first, to);
    tell(call, layer, row, 1U, to);
    counts[0]++;
}

/* Copy to a lower address; the two may overlap. */
static NAS_RARE void move_down(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    const uint32_t apart = (uint32_t)(from - to);
    while (apart != 0U && bytes != 0U) {
        const uint32_t part = bytes < apart ? bytes : apart;
        memcpy(to, from, part);
        to += part;
        from += part;
        bytes -= part;
    }
}

/* Copy to a higher address; the two may overlap. */
static NAS_RARE void move_up(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    const uint32_t apart = (uint32_t)(to - from);
    while (apart != 0U && bytes != 0U) {
        const uint32_t part = bytes < apart ? bytes : apart;
        bytes -= part;
        memcpy(to + bytes, from + bytes, part);
    }
}

/* A row of the output, or two where they lie one behind the other. A sum with the source is made where that row lies, which
 * nothing needs any more, and then brought to its place; it is not wider. Only a depth-wise layer whose ring holds that row still
 * needs it: there it is copied before. Returns how many rows there are. */
static NAS_RARE uint32_t emit(const nas_rows *stage, const nas_call *call, uint32_t row, uint32_t to, uint32_t most)
{
    const nas_layer *const window = window_of(stage), *last = window;
    uint8_t *const arena = call->arena;
    const uint32_t first = first_of(window, row), pairs = in_pairs(stage);
    uint32_t at = to, rows = 1U, filtered = stage->filtered;
    if ((stage->flags & NAS_ROWS_PROJECT) != 0) {
        if (pairs != 0U) { /* both, even if one is asked for now */
            filtered = stage->ring + row % stage->slots * in_bytes(window);
            rows = row + 1U < window->out_height ? 2U : 1U;
        }
        if (pairs == 0U || row % 2U == 0U) {
            nas_layer one = nas_rows_record(stage, window, arena);
            one.flags |= NAS_ONE_ROW;
            one.shortcut_bits = pairs != 0U ? stage->slots : window->kernel;
            one.out_height = (uint16_t)row;
            one.input = stage->ring;
            one.output = filtered;
            one.run(&one, arena);
            tell(call, window, row, rows, filtered);
        }
        rows = rows < most ? rows : most;
        last++;
    }
    const uint32_t bytes = rows * out_bytes(last);
    if ((stage->flags & NAS_ROWS_SIDE) != 0) {
        const nas_layer *const side = stage->layers + 1;
        run_1x1(side, stage, call, source_row(stage, call, row * side->stride), to, 1U);
        tell(call, side, row, 1U, to);
    } else if ((last->flags & NAS_ADD_SHORTCUT) != 0) {
        at = source_row(stage, call, row);
        if ((stage->flags & (NAS_ROWS_TAKE | NAS_ROWS_WHOLE)) == 0) {
            memcpy(arena + to, arena + at, bytes);
            at = to;
        }
    }
    if (last != window) {
        run_1x1(last, stage, call, filtered, at, rows);
    } else if (stage->slots == 0U) {
        run_row(window, stage, call, row, stage->source + first * in_bytes(window), first, at);
    } else {
        const uint32_t place = first - first_in_line(stage->slots, counts_of(stage, call)[0], window);
        run_row(window, stage, call, row, stage->ring + place * in_bytes(window), first, at);
    }
    if (at != to) {
        if ((stage->flags & NAS_ROWS_OVER) != 0) {
            move_down(arena + to, arena + at, bytes);
        } else {
            memcpy(arena + to, arena + at, bytes);
        }
    }
    tell(call, last, row, rows, to);
    return rows;
}

/* Kernels write sums and pools over what begins at the same byte; where both end at the same byte, one of the two is moved. */
NAS_RARE void nas_rows_layer(const nas_layer *layer, const nas_call *call)
{
    uint8_t *const output = call->arena + layer->output;
    if ((layer->flags & NAS_AT_END) == 0 || (layer->shortcut_bits == 0U && layer->weights != NULL)) {
        layer->run(layer, call->arena);
    } else {
        nas_layer one = *layer;
        const uint32_t elements = (uint32_t)layer->out_height * layer->out_width * layer->out_channels;
        const uint32_t taken = (uint32_t)layer->in_height * layer->in_width * layer->in_channels;
        const uint32_t after = words_of(elements, layer->out_bits);
        const uint32_t before = layer->shortcut_bits != 0U ? words_of(elements, layer->shortcut_bits) : words_of(taken, layer->in_bits);
        if (before < after) {
            move_down(output, output + (after - before), before);
        }
        one.output -= before > after ? before - after : 0U;
        one.run(&one, call->arena);
        move_up(output, call->arena + one.output, after);
    }
    nas_tell(call, layer, 0U, layer->out_height, output);
}

NAS_RARE const nas_rows *nas_rows_run(const nas_rows *first, const nas_call *call)
{
    const nas_rows *stage = first, *last;
    for (;; stage++) {
        uint16_t *const counts = counts_of(stage, call);
        counts[0] = stage->slots == 0U ? window_of(stage)->in_height : 0U;
        counts[1] = takes_window(stage) && (stage->flags & NAS_ROWS_WHOLE) != 0 ? stage->layers->in_height : 0U;
        if ((stage->flags & NAS_ROWS_LAST) != 0) {
            break;
        }
    }
    last = stage;
    const nas_layer *const made = last->layers + NAS_ROWS_LAYERS(last) - 1;
    const uint32_t bytes = out_bytes(made), output = (last->flags & NAS_ROWS_OVER) != 0 ? last->source : made->output;
    for (uint32_t row = 0; row < made->out_height;) {
        const uint32_t wanted = stage == last ? row : entered(stage + 1, call);
        const uint32_t past = past_of(window_of(stage), wanted | in_pairs(stage));
        if (counts_of(stage, call)[0] >= past) {
            if (stage == last) {
                row += emit(stage, call, wanted, output + row * bytes, 2U);
            } else {
                (void)emit(stage, call, wanted, entry_place(stage + 1, call), 1U);
                enter(++stage, call, 1U);
            }
        } else if (takes_window(stage) && entered(stage, call) >= past_of(stage->layers, counts_of(stage, call)[0])) {
            take(stage, call);
        } else if (stage != first) {
            stage--;
        } else if (!fetch(stage, call, past)) {
            return NULL;
        }
    }
    move_up(call->arena + made->output, call->arena + output, made->out_height * bytes);
    return last + 1;
}
