/* Depth-wise convolution in place, row by row: the output may lie over the input.
 *
 * Before an output row is written, the input rows it needs are copied, packed, into a ring of k rows; rows that the row
 * before needed too are there already. Then for each four channels: expand to planes, multiply, and where results have less
 * than 8 bits, pack. Results of 8 bits go straight to the output; others are first kept as bytes in their planes, over
 * columns that are no longer needed. The memory plan says whether the last row must come first (NAS_BACKWARD).
 *
 * Scratch, in this order: ring, planes, weights. Wide loads may go a few bytes beyond the ring, and the multiplying loops a
 * pair of columns beyond the planes. What they find there is never used.
 */
#include "nas_depthwise_rows.h"

#include "nas_depthwise_planes.h"
#include "nas_depthwise_streams.h"

NAS_RARE void nas_depthwise_part(const nas_depthwise_job *job, uint8_t *output, uint32_t index, nas_depthwise_multiply *multiply)
{
    const nas_layer *const layer = job->layer;
    const uint32_t channels = layer->in_channels, bits = layer->out_bits;
    for (uint32_t channel = 0U; channel < channels; channel += NAS_PLANES) {
        const uint32_t held = channels - channel < NAS_PLANES ? channels - channel : NAS_PLANES;
        if (channel == 0U || bits != 8U) { /* results in the planes may have replaced padding */
            nas_depthwise_pad(job);
        }
        job->expand(job, channel);
        if (bits == 8U) {
            multiply(job, channel, held, output + index + channel);
        } else {
            multiply(job, channel, held, job->planes);
            nas_depthwise_pack(job, output, (index + channel) * bits, held);
        }
    }
}

/* An output row whose input is in the ring. More than one part only if the padding is unusually wide. */
static NAS_RARE void output_row(nas_depthwise_job *job, uint8_t *output, uint32_t row, nas_depthwise_multiply *multiply)
{
    const nas_layer *const layer = job->layer;
    const uint32_t kernel = layer->kernel, stride = layer->stride, channels = layer->in_channels, columns = layer->out_width;
    const uint32_t most = (job->plane / (2U * job->rows) - kernel) / stride + 1U; /* results of which the planes hold all columns */
    job->from = job->ring + job->slot * (job->row_bits / 8U);
    for (uint32_t o = 0U; o < columns; o += most) {
        const int32_t left = (int32_t)(o * stride) - layer->pad_left; /* input column that is column 0 of the planes */
        job->count = columns - o < most ? columns - o : most;
        job->wanted = (job->count - 1U) * stride + kernel;
        job->begin = left < 0 ? (uint32_t)-left : 0U;
        job->stop = layer->in_width - left < (int32_t)job->wanted ? (uint32_t)(layer->in_width - left) : job->wanted;
        job->pairs = job->stop / 2U - (job->begin + 1U) / 2U;
        job->start = (uint32_t)(left + (int32_t)job->begin) * channels * layer->in_bits;
        nas_depthwise_part(job, output, (row * columns + o) * channels, multiply);
    }
}

/* Output row `out_height` alone, to the output's first byte; its input rows lie in the ring at `input`. The unpacked weights lie
 * below the ring, from the first row on; scratch holds the planes. */
static NAS_RARE void one_row(nas_depthwise_job *job, uint8_t *arena, nas_depthwise_multiply *multiply)
{
    const nas_layer *const layer = job->layer;
    const uint32_t row = layer->out_height, slots = layer->shortcut_bits, pair = job->rows - layer->kernel;
    const int32_t top = (int32_t)(row * layer->stride) - layer->pad_top, bottom = top + (int32_t)job->rows;
    const int32_t first = top < 0 ? 0 : top, end = bottom > layer->in_height ? layer->in_height : bottom;
    job->ring = arena + layer->input;
    job->planes = arena + layer->scratch;
    job->weights = (int8_t *)(job->ring - ((uint32_t)layer->kernel * layer->kernel * layer->in_channels + 3U) / 4U * 4U);
    job->back = job->ring;
    job->wrap = job->ring + slots * (job->row_bits / 8U);
    job->below = pair != 0U && row + 1U < layer->in_height ? job->row_bits / 8U : 0U;
    if (row == 0U) {
        nas_depthwise_unpack(job);
    }
    job->first = (uint32_t)(first - top);
    job->past = (uint32_t)(end - top);
    job->slot = ((uint32_t)first + pair * layer->pad_top) % slots;
    output_row(job, arena + layer->output, 0U, multiply);
}

NAS_RARE void nas_depthwise_rows(const nas_layer *layer, uint8_t *arena, nas_depthwise_multiply *multiply)
{
    const uint32_t kernel = layer->kernel, rows = layer->out_height, pitch = layer->in_width + layer->in_width % 2U + kernel / 2U * 2U;
    nas_depthwise_job job;
    job.layer = layer;
    job.expand = nas_depthwise_expander(layer);
    job.row_bits = (uint32_t)layer->in_width * layer->in_channels * layer->in_bits;
    job.rows = kernel + ((layer->flags & NAS_ONE_ROW) != 0 && layer->shortcut_bits > kernel);
    job.plane = 2U * job.rows * pitch;
    job.ring = arena + layer->scratch;
    job.planes = job.ring + 4U * ((kernel * job.row_bits + 31U) / 32U);
    job.weights = (int8_t *)(job.planes + NAS_PLANES * job.plane);
    job.back = job.ring;
    job.wrap = job.ring + kernel * (job.row_bits / 8U);
    job.step = layer->out_bits == 8U ? layer->in_channels : 2U * kernel * layer->stride;
    job.apart = layer->out_bits == 8U ? 1U : job.plane;
    job.below = 0U;
    if ((layer->flags & NAS_ONE_ROW) != 0) {
        one_row(&job, arena, multiply);
        return;
    }
    nas_depthwise_unpack(&job);

    int32_t from = 0, below = 0; /* input rows from .. below - 1 are in the ring */
    for (uint32_t n = 0U; n < rows; n++) {
        const uint32_t row = (layer->flags & NAS_BACKWARD) != 0 ? rows - 1U - n : n;
        const int32_t top = (int32_t)(row * layer->stride) - layer->pad_top, bottom = top + (int32_t)kernel;
        const int32_t first = top < 0 ? 0 : top, end = bottom > layer->in_height ? layer->in_height : bottom;
        for (int32_t r = first; r < end; r++) {
            if (r < from || r >= below) {
                nas_depthwise_fetch(&job, arena + layer->input, (uint32_t)r);
            }
        }
        from = first;
        below = end;
        job.first = (uint32_t)(first - top);
        job.past = (uint32_t)(end - top);
        job.slot = (uint32_t)first % kernel;
        output_row(&job, arena + layer->output, row, multiply);
    }
}
